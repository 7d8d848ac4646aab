"""Results written and read back, and what is left when something goes wrong."""

import csv
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mien import registry, writers
from mien.errors import UserError
from mien.io import partial_file, video
from mien.io.source import Source
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT
from mien.results import Face, Frame, Result
from mien.visualization.annotate import draw
from tests.paths import ROOT

NAMES = ("photo.jpg", "Ünïcödé 顔 🙂.png", 'with, comma "and" quotes.png', "line\nbreak.png")
TABLES = ("jsonl", "csv", "parquet")


def face(seed=0, labels=EMOTIONS, **more):
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(labels)))
    emotions = dict(zip(labels, shares.tolist(), strict=True))
    return Face((1.25, 2.5, 30.0, 40.125), 0.987654321, emotions, **more)


def frame(source="photo.jpg", number=0, size=(60, 50)):
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    kind = "video" if source.endswith(".mp4") else "image"
    return Frame(pixels, source, number, number / 8, "default", "yunet", kind)


def some():
    """A frame with two faces, one without, one with eight emotions, one later in time."""
    return [
        Result(
            frame(NAMES[0]), [face(0), face(1, face_id=1, flags=("too_small", "low_confidence"))]
        ),
        Result(frame(NAMES[1]), []),
        Result(frame(NAMES[2]), [face(2, EMOTIONS_AND_CONTEMPT)]),
        Result(frame(NAMES[3], 3), [face(3)]),
    ]


def put(path, results):
    with writers.open_writer(path) as write:
        for each in results:
            write(each)


def put_and_fail(path, results):
    with writers.open_writer(path) as write:
        for each in results:
            write(each)
        raise TypeError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_sink_of_the_shelf_writes_or_asks_for_another_name(tmp_path):
    for name in registry.names("mien.writers"):
        path = tmp_path / ("out" if name == "folder" else f"out.{name}")
        put(path, [Result(frame(), [face()])])
        assert path.exists()


def test_jsonl_holds_the_records_as_they_are(tmp_path):
    path = tmp_path / "out.jsonl"
    put(path, some())
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [each.to_dict() for each in some()]
    assert "顔" in lines[1]


def table(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_has_a_row_per_face_and_one_for_a_frame_without(tmp_path, kind):
    path = tmp_path / f"out.{kind}"
    put(path, some())
    rows = table(path)
    assert [row["source"] for row in rows] == [NAMES[0], *NAMES]
    nobody = rows[2]
    assert nobody["width"] in (60, "60")
    for column in ("face_id", "x", "happy", "contempt", "dominant_emotion", "flags"):
        assert nobody[column] in (None, "")
    assert rows[1]["flags"] == "too_small low_confidence"
    assert rows[0]["contempt"] in (None, "")
    found = [float(rows[3][name]) for name in EMOTIONS_AND_CONTEMPT]
    assert found == list(face(2, EMOTIONS_AND_CONTEMPT).emotions.values())
    assert [float(rows[0][name]) for name in "xywh"] == [1.25, 2.5, 30.0, 40.125]
    assert float(rows[0]["face_confidence"]) == 0.987654321
    assert float(rows[4]["seconds"]) == 0.375


def test_both_tables_say_the_same(tmp_path):
    for kind in ("csv", "parquet"):
        put(tmp_path / f"out.{kind}", some())
    texts, typed = (table(tmp_path / f"out.{kind}") for kind in ("csv", "parquet"))
    for text, values in zip(texts, typed, strict=True):
        assert list(text) == list(values)
        assert [("" if v is None else str(v)) for v in values.values()] == list(text.values())


def test_parquet_has_types_that_can_be_counted_with(tmp_path):
    put(tmp_path / "out.parquet", some())
    kinds = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "out.parquet")}
    assert (kinds["source"], kinds["frame"], kinds["happy"]) == ("string", "int64", "double")


def test_parquet_takes_more_rows_than_it_keeps_waiting(tmp_path, monkeypatch):
    put(tmp_path / "out.parquet", [Result(frame(f"{k}.png"), [face(k)]) for k in range(10)])
    assert [row["source"] for row in table(tmp_path / "out.parquet")] == [
        f"{k}.png" for k in range(10)
    ]


def test_a_picture_is_written_with_its_faces(tmp_path):
    shown = Result(frame(size=(512, 500)), [face()])
    put(tmp_path / "out.png", [shown])
    with Image.open(tmp_path / "out.png") as image:
        assert np.array_equal(np.asarray(image), draw(shown.frame.pixels, shown))
    for name in ("out.jpg", "out.JPEG", "out.jpeg"):
        put(tmp_path / name, [shown])
        with Image.open(tmp_path / name) as image:
            assert (image.format, image.size) == ("JPEG", (512, 500))


def test_one_picture_cannot_hold_two(tmp_path):
    with pytest.raises(UserError, match="only one image"):
        put(tmp_path / "out.png", some()[:2])
    assert names(tmp_path) == []


def test_a_folder_gets_a_picture_for_each_frame(tmp_path):
    results = [
        Result(frame("a/x.jpg"), [face()]),
        Result(frame("b/x.png"), []),
        Result(frame("clip.gif"), []),
        Result(frame("clip.gif", 1), []),
        Result(frame("clip.gif", 12), []),
        Result(frame("c/clip.gif"), []),
        Result(frame("c/clip.gif", 1), []),
        Result(frame(""), []),
    ]
    put(tmp_path / "new" / "out", results)
    assert names(tmp_path / "new" / "out") == sorted(
        [
            "x.png", "x(2).png", "clip.png", "clip-0001.png", "clip-0012.png",
            "clip(2).png", "clip(2)-0001.png", "image.png",
        ]
    )  # fmt: skip


def test_a_videos_frames_lie_in_their_order(tmp_path):
    put(tmp_path, [Result(frame("clip.mp4", number, (2, 2)), []) for number in (0, 30, 60)])
    assert names(tmp_path) == ["clip-0000.png", "clip-0030.png", "clip-0060.png"]
    put(tmp_path, [Result(frame("b/clip.mp4", number, (2, 2)), []) for number in (0, 30)])
    assert names(tmp_path)[:2] == ["clip(2)-0000.png", "clip(2)-0030.png"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from(["x", "x(2)", "x-0001", "y"]), st.integers(1, 3)
        ),
        max_size=8,
        unique_by=lambda each: each[:2],
    )
)
@settings(max_examples=40, deadline=None)
def test_no_picture_in_a_folder_takes_the_place_of_another(tmp_path_factory, sources):
    out = tmp_path_factory.mktemp("out")
    results = [
        Result(frame(f"{where}/{stem}.gif", number, (2, 2)), [])
        for where, stem, length in sources
        for number in range(length)
    ]
    put(out, results)
    assert len(names(out)) == len(results)


def test_a_picture_is_never_written_over_itself(tmp_path):
    source = tmp_path / "photo.png"
    Image.new("RGB", (9, 9)).save(source)
    before = source.read_bytes()
    with pytest.raises(UserError, match="is the source itself"):
        put(source, [Result(frame(str(source)), [face()])])
    assert source.read_bytes() == before


def test_a_folder_keeps_every_file_it_had(tmp_path):
    for name in ("a.png", "b.png", "b(2).png", "clip-0001.png"):
        (tmp_path / name).write_bytes(b"precious")
    (tmp_path / "dangling.png").symlink_to("nowhere")
    sources = ["a.jpg", "a.png", "b.jpg", "dangling.jpg"]
    put(tmp_path, [Result(frame(source), []) for source in sources])
    put(tmp_path, [Result(frame("clip.gif"), []), Result(frame("clip.gif", 1), [])])
    made = [
        "a(2).png", "a(3).png", "b(3).png", "dangling(2).png", "clip.png", "clip(2)-0001.png"
    ]  # fmt: skip
    had = ["a.png", "b.png", "b(2).png", "clip-0001.png"]
    assert names(tmp_path) == sorted([*made, *had, "dangling.png"])
    assert all((tmp_path / name).read_bytes() == b"precious" for name in had)


def test_the_same_folder_twice_holds_both_results(tmp_path):
    for _ in range(2):
        put(tmp_path / "out", some())
    assert len(names(tmp_path / "out")) == 2 * len(some())


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("had", [False, True])
def test_an_error_in_the_middle_keeps_what_was_found(tmp_path, kind, had):
    path = tmp_path / f"out.{kind}"
    if had:
        path.write_bytes(b"precious")
    with pytest.raises(TypeError):
        put_and_fail(path, some()[:2])
    assert names(tmp_path) == [path.name] * had + [f"{path.name}.part"]
    assert [each.to_dict() for each in some()[:2]] == list(partial_file.read_records(path))
    assert not had or path.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("half", ["", '{"source": "half a li'])
def test_a_table_can_be_gone_on_with(tmp_path, kind, half):
    path = tmp_path / f"out.{kind}"
    with pytest.raises(TypeError):
        put_and_fail(path, some()[:2])
    with open(f"{path}.part", "a") as file:
        file.write(half)
    assert len(list(partial_file.read_common_records([path]))) == 2
    with writers.open_writer(path, resume=True) as write:
        for each in some()[2:]:
            write(each)
    put(tmp_path / f"whole.{kind}", some())
    assert names(tmp_path) == [path.name, f"whole.{kind}"]
    assert path.read_bytes() == (tmp_path / f"whole.{kind}").read_bytes()


def test_two_tables_are_gone_on_with_from_the_same_frame(tmp_path):
    paths = [tmp_path / "a.jsonl", tmp_path / "b.csv"]
    for path, count in zip(paths, (3, 2), strict=True):
        with pytest.raises(TypeError):
            put_and_fail(path, some()[:count])
    assert len(list(partial_file.read_common_records(paths))) == 2
    assert [len(list(partial_file.read_records(path))) for path in paths] == [2, 2]
    (tmp_path / "b.csv.part").unlink()
    with pytest.raises(UserError, match="Cannot resume"):
        list(partial_file.read_common_records(paths))


@pytest.mark.parametrize("kind", TABLES)
def test_what_an_earlier_run_left_is_not_written_over(tmp_path, kind):
    part = tmp_path / f"out.{kind}.part"
    part.write_bytes(b"precious")
    with pytest.raises(UserError, match="--resume"):
        put(tmp_path / f"out.{kind}", some())
    assert names(tmp_path) == [part.name]
    assert part.read_bytes() == b"precious"


def test_only_one_run_goes_on_with_a_table(tmp_path):
    path = tmp_path / "out.jsonl"
    with writers.open_writer(path) as write:
        write(some()[0])
        with (
            pytest.raises(UserError, match="another run"),
            writers.open_writer(path, resume=True),
        ):
            pass
        with pytest.raises(UserError, match="another run"):
            list(partial_file.read_common_records([path]))
        write(some()[1])
    assert len(path.read_text().splitlines()) == 2


def test_nothing_to_go_on_with_is_a_beginning(tmp_path):
    assert list(partial_file.read_common_records([tmp_path / "out.csv"])) == []
    with writers.open_writer(tmp_path / "out.csv", resume=True) as write:
        write(some()[0])
    assert names(tmp_path) == ["out.csv"]


def test_writing_a_video_cannot_be_resumed(tmp_path):
    with pytest.raises(UserError, match=r"Cannot resume .*\.csv, \.jsonl, \.parquet"):
        writers.open_writer(tmp_path / "out.mp4", resume=True)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_an_error_in_the_middle_leaves_no_broken_file(tmp_path, kind):
    with pytest.raises(TypeError):
        put_and_fail(tmp_path / f"out.{kind}", some()[:1])
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "png", "jpg"])
def test_an_error_at_once_leaves_an_existing_file_alone(tmp_path, kind):
    path = tmp_path / f"out.{kind}"
    path.write_bytes(b"precious")
    with pytest.raises(TypeError):
        put_and_fail(path, [])
    assert path.read_bytes() == b"precious"
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "png", "jpg"])
def test_an_existing_file_is_replaced_only_at_the_end(tmp_path, kind):
    path = tmp_path / f"out.{kind}"
    path.write_bytes(b"precious")
    with writers.open_writer(path) as write:
        write(some()[0])
        assert path.read_bytes() == b"precious"
    assert path.read_bytes() != b"precious"
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_table_without_frames_is_no_file(tmp_path, kind):
    path = tmp_path / f"out.{kind}"
    put(path, [])
    assert names(tmp_path) == []
    path.write_bytes(b"precious")
    put(path, [])
    assert path.read_bytes() == b"precious"


@pytest.mark.skipif(os.name == "nt", reason="umask is POSIX")
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "png"])
def test_a_result_is_as_readable_as_any_other_file(tmp_path, kind):
    old = os.umask(0o022)
    try:
        put(tmp_path / f"out.{kind}", some()[:1])
    finally:
        os.umask(old)
    assert (tmp_path / f"out.{kind}").stat().st_mode & 0o777 == 0o644


@pytest.fixture
def tiny_disk(tmp_path):
    """A folder on a disk of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("only root may mount a disk")
    yield place
    subprocess.run(["umount", place], check=True)


def noisy(number):
    pixels = np.random.default_rng(number).integers(0, 256, (200, 200, 3), np.uint8)
    return Result(replace(frame(f"{'x' * 300}/{number}.png"), pixels=pixels), [face(number)])


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "png", "folder"])
def test_a_full_disk_is_said_in_a_sentence_and_whole_lines_are_kept(tiny_disk, kind):
    path = tiny_disk / ("out" if kind == "folder" else f"out.{kind}")
    results = [noisy(k) for k in range(1 if kind == "png" else 900)]
    with pytest.raises(UserError, match=r"Cannot write .*: No space left on device\.$") as caught:
        put(path, results)
    assert "\n" not in str(caught.value)
    kept = {"png": [], "folder": ["out"]}.get(kind, [f"{path.name}.part"])
    assert names(tiny_disk) == kept
    if kind in TABLES:
        found = list(partial_file.read_records(path))
        assert found == [each.to_dict() for each in results[: len(found)]]
        assert len(found) > 50


@pytest.mark.parametrize("kind", ["mp4", "html"])
def test_a_video_that_fills_the_disk_is_said_so_and_leaves_nothing(tiny_disk, kind):
    dice = np.random.default_rng(0)
    clip = [dice.integers(0, 256, (240, 320, 3), np.uint8) for _ in range(100)]
    results = [Result(Frame(pixels, "x.mp4", k, k / 25), [face()]) for k, pixels in enumerate(clip)]
    with pytest.raises(UserError, match=r"Cannot write .*: No space left on device\.$"):
        put(tiny_disk / f"out.{kind}", results)
    assert names(tiny_disk) == []


@pytest.mark.parametrize("suffix", ["jsnl", "cvs", "parqet", "pgn"])
def test_an_unknown_suffix_is_answered_with_the_nearest(tmp_path, suffix):
    with pytest.raises(UserError, match="Did you mean") as caught:
        writers.open_writer(tmp_path / f"out.{suffix}")
    assert ".jsonl" in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", [".jsonl", ".png", ".hidden", "-"])
def test_a_path_without_a_name_is_not_made_a_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for path in (name, tmp_path / name):
        with pytest.raises(UserError, match=r"Cannot write .*: name a file, such as") as caught:
            writers.open_writer(path)
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == []
    (tmp_path / ".hidden").mkdir()
    put(tmp_path / ".hidden", some()[:1])
    assert names(tmp_path / ".hidden") == ["photo.png"]


def test_a_missing_folder_is_said_so(tmp_path):
    with pytest.raises(UserError, match="nowhere not found"):
        writers.open_writer(tmp_path / "nowhere" / "out.csv")


def test_a_source_whose_name_leaves_no_room_for_a_suffix_is_said_so(tmp_path):
    with pytest.raises(UserError, match="File name too long"):
        put(tmp_path, [Result(frame("x" * 254), [])])


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "png"])
def test_a_place_that_cannot_be_written_is_said_so(tmp_path, kind):
    name = "x" * 300
    with pytest.raises(UserError, match="Cannot write"):
        put(tmp_path / f"{name}.{kind}", some()[:1])
    assert names(tmp_path) == []


def test_a_file_in_the_way_of_a_folder_is_said_so(tmp_path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(UserError, match="Cannot create folder"):
        put(tmp_path / "out", [])


def test_a_folder_named_like_a_file_is_a_folder(tmp_path):
    (tmp_path / "pictures.png").mkdir()
    put(tmp_path / "pictures.png", [Result(replace(frame(), source="a.gif"), [])])
    assert names(tmp_path / "pictures.png") == ["a.png"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_smoothed_emotions_have_columns_of_their_own(tmp_path, suffix):
    import pyarrow.csv
    import pyarrow.parquet

    emotions, smoothed = {"happy": 0.9, "sad": 0.1}, {"happy": 0.6, "sad": 0.4}
    faces = [Face((0, 0, 9, 9), 0.9, emotions, 3, smoothed=smoothed)]
    with writers.open_writer(tmp_path / f"x.{suffix}") as write:
        write(Result(frame("clip.mp4", 7), faces))
        write(Result(frame("clip.mp4", 8), []))
    read = pyarrow.csv.read_csv if suffix == "csv" else pyarrow.parquet.read_table
    first, second = read(tmp_path / f"x.{suffix}").to_pylist()
    assert (first["happy"], first["smoothed_happy"]) == (0.9, 0.6)
    assert first["smoothed_fear"] in (None, "")
    assert second["smoothed_happy"] is None


def test_the_query_in_the_docs_runs(tmp_path, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    emotions = {"happy": 0.9, "sad": 0.1}
    with writers.open_writer(tmp_path / "faces.parquet") as write:
        for k in range(30):
            faces = [Face((0, 0, 9, 9), 0.9, emotions, 3, smoothed=emotions)] if k < 20 else []
            write(Result(replace(frame("clip.mp4", k), seconds=k / 10), faces))
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    query = re.search(r"```sql\n(.*?)```", text, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    assert duckdb.sql(query).fetchall() == [
        ("clip.mp4", 3, 0.0, 0.9, 0.1), ("clip.mp4", 3, 1.0, 0.9, 0.1)
    ]  # fmt: skip


def test_a_video_keeps_the_size_of_its_first_frame(tmp_path):
    def halves(number, width, height):
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[: height // 2], pixels[height // 2 :] = (200, 40, 40), (40, 40, 200)
        return Frame(pixels, "photo.jpg", number, number / 10)

    with writers.open_writer(tmp_path / "out.mp4") as write:
        for number, (width, height) in enumerate(((640, 480), (1280, 960), (500, 480), (640, 480))):
            write(Result(halves(number, width, height), []))
    found = [frame.pixels for frame in video.frames(Source.parse(str(tmp_path / "out.mp4")))]
    assert [pixels.shape for pixels in found] == [(480, 640, 3)] * 4
    for pixels in found:
        for row, colour in ((100, (200, 40, 40)), (380, (40, 40, 200))):
            assert np.abs(pixels[row].mean(0) - colour).max() < 12
