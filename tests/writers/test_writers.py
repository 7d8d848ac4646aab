"""Writers: the written files, read again, and the files that remain after an error."""

import codecs
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


def make_face(seed=0, labels=EMOTIONS, **more):
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(labels)))
    emotions = dict(zip(labels, shares.tolist(), strict=True))
    return Face((1.25, 2.5, 30.0, 40.125), 0.987654321, emotions, **more)


def make_frame(source="photo.jpg", number=0, size=(60, 50)):
    width, height = size
    pixels = np.full((height, width, 3), 90, np.uint8)
    kind = "video" if source.endswith(".mp4") else "image"
    return Frame(pixels, source, number, number / 8, model="default", detector="yunet", kind=kind)


def sample_results():
    """Four frames: with two faces, without faces, with eight emotions, and with the number 3."""
    return [
        Result(
            make_frame(NAMES[0]),
            [make_face(0), make_face(1, face_id=1, flags=("too_small", "low_confidence"))],
        ),
        Result(make_frame(NAMES[1]), []),
        Result(make_frame(NAMES[2]), [make_face(2, EMOTIONS_AND_CONTEMPT)]),
        Result(make_frame(NAMES[3], 3), [make_face(3)]),
    ]


def write_all(path, results):
    with writers.open_writer(path) as write:
        for result in results:
            write(result)


def write_and_fail(path, results):
    with writers.open_writer(path) as write:
        for result in results:
            write(result)
        raise TypeError


def file_names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_writer_creates_its_output(tmp_path):
    for name in registry.names("mien.writers"):
        path = tmp_path / ("out" if name == "folder" else f"out.{name}")
        write_all(path, [Result(make_frame(), [make_face()])])
        assert path.exists()


def test_jsonl_contains_the_records(tmp_path):
    path = tmp_path / "out.jsonl"
    write_all(path, sample_results())
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [result.to_dict() for result in sample_results()]
    assert "顔" in lines[1]


def read_table(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_table_has_a_row_per_face_and_one_for_a_frame_without_faces(tmp_path, kind):
    path = tmp_path / f"out.{kind}"
    write_all(path, sample_results())
    rows = read_table(path)
    assert [row["source"] for row in rows] == [NAMES[0], *NAMES]  # the first image has two faces
    without_faces = rows[2]
    assert without_faces["width"] in (60, "60")
    for column in ("face_id", "x", "happy", "contempt", "dominant_emotion", "flags"):
        assert without_faces[column] in (None, "")
    assert rows[1]["flags"] == "too_small low_confidence"
    assert rows[0]["contempt"] in (None, "")
    shares = [float(rows[3][name]) for name in EMOTIONS_AND_CONTEMPT]
    assert shares == list(make_face(2, EMOTIONS_AND_CONTEMPT).emotions.values())
    assert [float(rows[0][name]) for name in "xywh"] == [1.25, 2.5, 30.0, 40.125]
    assert float(rows[0]["face_confidence"]) == 0.987654321
    assert float(rows[4]["seconds"]) == 0.375  # frame 3 at 8 per second


def test_csv_and_parquet_are_equal(tmp_path):
    for kind in ("csv", "parquet"):
        write_all(tmp_path / f"out.{kind}", sample_results())
    texts, typed = (read_table(tmp_path / f"out.{kind}") for kind in ("csv", "parquet"))
    for text, values in zip(texts, typed, strict=True):
        assert list(text) == list(values)
        assert [("" if v is None else str(v)) for v in values.values()] == list(text.values())


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "'=", "''@"])
def test_csv_marks_texts_that_a_spreadsheet_would_evaluate(tmp_path, first):
    names = [f"{first}1+1.png", "'tis.png", "a=1.png"]
    results = [Result(make_frame(name), [make_face()]) for name in names]
    for kind in TABLES:
        write_all(tmp_path / f"out.{kind}", results)
    written = [row["source"] for row in read_table(tmp_path / "out.csv")]
    assert written == [f"'{names[0]}", *names[1:]]
    assert [row["source"] for row in read_table(tmp_path / "out.parquet")] == names
    lines = (tmp_path / "out.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["source"] for line in lines] == names


def test_numbers_below_zero_are_not_marked_in_csv(tmp_path):
    face = replace(make_face(), box=(-1.5, -2.0, 30.0, 40.0))
    write_all(tmp_path / "out.csv", [Result(make_frame(), [face])])
    (row,) = read_table(tmp_path / "out.csv")
    assert (row["x"], row["y"]) == ("-1.5", "-2.0")


def test_parquet_has_typed_columns(tmp_path):
    write_all(tmp_path / "out.parquet", sample_results())
    kinds = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "out.parquet")}
    assert (kinds["source"], kinds["frame"], kinds["happy"]) == ("string", "int64", "double")


def test_parquet_writes_several_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.writers.parquet.BATCH_ROWS", 4)
    write_all(
        tmp_path / "out.parquet",
        [Result(make_frame(f"{k}.png"), [make_face(k)]) for k in range(10)],
    )
    assert [row["source"] for row in read_table(tmp_path / "out.parquet")] == [
        f"{k}.png" for k in range(10)
    ]
    assert pq.read_metadata(tmp_path / "out.parquet").num_row_groups == 3


def test_image_is_written_with_annotations(tmp_path):
    result = Result(make_frame(size=(512, 500)), [make_face()])
    write_all(tmp_path / "out.png", [result])
    with Image.open(tmp_path / "out.png") as image:
        assert np.array_equal(np.asarray(image), draw(result.frame.pixels, result))
    for name in ("out.jpg", "out.JPEG", "out.jpeg"):
        write_all(tmp_path / name, [result])
        with Image.open(tmp_path / name) as image:
            assert (image.format, image.size) == ("JPEG", (512, 500))


def test_image_output_rejects_a_second_frame(tmp_path):
    with pytest.raises(UserError, match="only one image"):
        write_all(tmp_path / "out.png", sample_results()[:2])
    assert file_names(tmp_path) == []


def test_folder_gets_an_image_for_each_frame(tmp_path):
    results = [
        Result(make_frame("a/x.jpg"), [make_face()]),
        Result(make_frame("b/x.png"), []),
        Result(make_frame("clip.gif"), []),
        Result(make_frame("clip.gif", 1), []),
        Result(make_frame("clip.gif", 12), []),
        Result(make_frame("c/clip.gif"), []),
        Result(make_frame("c/clip.gif", 1), []),
        Result(make_frame(""), []),
    ]
    write_all(tmp_path / "new" / "out", results)
    assert file_names(tmp_path / "new" / "out") == sorted(
        [
            "x.png", "x(2).png", "clip.png", "clip-0001.png", "clip-0012.png",
            "clip(2).png", "clip(2)-0001.png", "image.png",
        ]
    )  # fmt: skip


def test_names_of_video_frames_are_in_the_order_of_the_frames(tmp_path):
    write_all(
        tmp_path, [Result(make_frame("clip.mp4", number, (2, 2)), []) for number in (0, 30, 60)]
    )
    assert file_names(tmp_path) == ["clip-0000.png", "clip-0030.png", "clip-0060.png"]
    write_all(
        tmp_path, [Result(make_frame("b/clip.mp4", number, (2, 2)), []) for number in (0, 30)]
    )
    second = [name for name in file_names(tmp_path) if name.startswith("clip(2)")]
    assert second == ["clip(2)-0000.png", "clip(2)-0030.png"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from(["x", "x(2)", "x-0001", "y"]), st.integers(1, 3)
        ),
        max_size=8,
        unique_by=lambda source: source[:2],
    )
)
@settings(max_examples=40, deadline=None)
def test_images_in_a_folder_have_unique_names(tmp_path_factory, sources):
    out = tmp_path_factory.mktemp("out")
    results = [
        Result(make_frame(f"{folder}/{stem}.gif", number, (2, 2)), [])
        for folder, stem, length in sources
        for number in range(length)
    ]
    write_all(out, results)
    assert len(file_names(out)) == len(results)


def test_image_is_not_written_over_its_source(tmp_path):
    source = tmp_path / "photo.png"
    Image.new("RGB", (9, 9)).save(source)
    before = source.read_bytes()
    with pytest.raises(UserError, match="is the input file"):
        write_all(source, [Result(make_frame(str(source)), [make_face()])])
    assert source.read_bytes() == before


def test_existing_files_in_a_folder_are_kept(tmp_path):
    for name in ("a.png", "b.png", "b(2).png", "clip-0001.png"):
        (tmp_path / name).write_bytes(b"existing")
    (tmp_path / "dangling.png").symlink_to("nowhere")
    sources = ["a.jpg", "a.png", "b.jpg", "dangling.jpg"]
    write_all(tmp_path, [Result(make_frame(source), []) for source in sources])
    write_all(tmp_path, [Result(make_frame("clip.gif"), []), Result(make_frame("clip.gif", 1), [])])
    created = [
        "a(2).png", "a(3).png", "b(3).png", "dangling(2).png", "clip.png", "clip(2)-0001.png"
    ]  # fmt: skip
    existing = ["a.png", "b.png", "b(2).png", "clip-0001.png"]
    assert file_names(tmp_path) == sorted([*created, *existing, "dangling.png"])
    assert all((tmp_path / name).read_bytes() == b"existing" for name in existing)


def test_writing_to_a_folder_twice_keeps_both_results(tmp_path):
    for _ in range(2):
        write_all(tmp_path / "out", sample_results())
    assert len(file_names(tmp_path / "out")) == 2 * len(sample_results())


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("existing", [False, True])
def test_error_keeps_the_partial_file(tmp_path, kind, existing):
    path = tmp_path / f"out.{kind}"
    if existing:
        path.write_bytes(b"existing")
    with pytest.raises(TypeError):
        write_and_fail(path, sample_results()[:2])
    expected = [path.name, f"{path.name}.part"] if existing else [f"{path.name}.part"]
    assert file_names(tmp_path) == expected
    assert [result.to_dict() for result in sample_results()[:2]] == list(
        partial_file.read_records(path)
    )
    assert not existing or path.read_bytes() == b"existing"


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(
    "incomplete_line", [b"", b'{"source": "half a li', "half an ä".encode()[:-1]]
)
def test_table_can_be_resumed(tmp_path, kind, incomplete_line):
    path = tmp_path / f"out.{kind}"
    with pytest.raises(TypeError):
        write_and_fail(path, sample_results()[:2])
    with open(f"{path}.part", "ab") as file:
        file.write(incomplete_line)
    assert len(list(partial_file.synchronize_and_read([path]))) == 2
    with writers.open_writer(path, resume=True) as write:
        for result in sample_results()[2:]:
            write(result)
    write_all(tmp_path / f"whole.{kind}", sample_results())
    assert file_names(tmp_path) == [path.name, f"whole.{kind}"]
    assert path.read_bytes() == (tmp_path / f"whole.{kind}").read_bytes()


def test_two_tables_resume_from_the_same_frame(tmp_path):
    paths = [tmp_path / "a.jsonl", tmp_path / "b.csv"]
    for path, count in zip(paths, (3, 2), strict=True):
        with pytest.raises(TypeError):
            write_and_fail(path, sample_results()[:count])
    assert len(list(partial_file.synchronize_and_read(paths))) == 2
    assert [len(list(partial_file.read_records(path))) for path in paths] == [2, 2]


@pytest.mark.parametrize("state", ["missing", "empty", "half a line", "finished"])
def test_a_table_whose_partial_file_has_no_records_gets_those_of_another(tmp_path, state):
    paths = [tmp_path / "a.jsonl", tmp_path / "b.csv"]
    for path in paths:
        with pytest.raises(TypeError):
            write_and_fail(path, sample_results())
    part = tmp_path / "a.jsonl.part"
    if state == "finished":
        part.rename(paths[0])
    elif state == "missing":
        part.unlink()
    else:
        part.write_text("" if state == "empty" else '{"source": "half')
    expected = [each.to_dict() for each in sample_results()]
    assert list(partial_file.synchronize_and_read(paths)) == expected
    for path in paths:
        assert list(partial_file.read_records(path)) == expected


@pytest.mark.parametrize("kind", TABLES)
def test_partial_file_is_not_overwritten(tmp_path, kind):
    part = tmp_path / f"out.{kind}.part"
    part.write_bytes(b"existing")
    with pytest.raises(UserError, match="--resume"):
        write_all(tmp_path / f"out.{kind}", sample_results())
    assert file_names(tmp_path) == [part.name]
    assert part.read_bytes() == b"existing"


def test_partial_file_is_locked(tmp_path):
    path = tmp_path / "out.jsonl"
    with writers.open_writer(path) as write:
        write(sample_results()[0])
        with (
            pytest.raises(UserError, match="another run"),
            writers.open_writer(path, resume=True),
        ):
            pass
        with pytest.raises(UserError, match="another run"):
            list(partial_file.synchronize_and_read([path]))
        write(sample_results()[1])
    assert len(path.read_text().splitlines()) == 2


def test_resume_without_a_partial_file_starts_from_the_beginning(tmp_path):
    assert list(partial_file.synchronize_and_read([tmp_path / "out.csv"])) == []
    with writers.open_writer(tmp_path / "out.csv", resume=True) as write:
        write(sample_results()[0])
    assert file_names(tmp_path) == ["out.csv"]


def test_video_output_cannot_be_resumed(tmp_path):
    with pytest.raises(UserError, match=r"Cannot resume .*\.csv, \.jsonl, \.parquet"):
        writers.open_writer(tmp_path / "out.mp4", resume=True)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_error_leaves_no_incomplete_image(tmp_path, kind):
    with pytest.raises(TypeError):
        write_and_fail(tmp_path / f"out.{kind}", sample_results()[:1])
    assert file_names(tmp_path) == []


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "png", "jpg"])
def test_error_before_the_first_result_keeps_the_existing_file(tmp_path, kind):
    path = tmp_path / f"out.{kind}"
    path.write_bytes(b"existing")
    with pytest.raises(TypeError):
        write_and_fail(path, [])
    assert path.read_bytes() == b"existing"
    assert file_names(tmp_path) == [path.name]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "png", "jpg"])
def test_existing_file_is_replaced_only_at_the_end(tmp_path, kind):
    path = tmp_path / f"out.{kind}"
    path.write_bytes(b"existing")
    with writers.open_writer(path) as write:
        write(sample_results()[0])
        assert path.read_bytes() == b"existing"
    assert path.read_bytes() != b"existing"
    assert file_names(tmp_path) == [path.name]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_table_without_frames_creates_no_file(tmp_path, kind):
    path = tmp_path / f"out.{kind}"
    write_all(path, [])
    assert file_names(tmp_path) == []
    path.write_bytes(b"existing")
    write_all(path, [])
    assert path.read_bytes() == b"existing"


@pytest.mark.skipif(os.name == "nt", reason="umask is POSIX")
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "png"])
def test_output_has_default_permissions(tmp_path, kind):
    old = os.umask(0o022)
    try:
        write_all(tmp_path / f"out.{kind}", sample_results()[:1])
    finally:
        os.umask(old)
    assert (tmp_path / f"out.{kind}").stat().st_mode & 0o777 == 0o644


@pytest.fixture
def tiny_disk(tmp_path):
    """A folder on a disk of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("only root may mount a disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def noise_result(number):
    """A result whose image is not compressible and whose source has a long name."""
    pixels = np.random.default_rng(number).integers(0, 256, (200, 200, 3), np.uint8)
    return Result(
        replace(make_frame(f"{'x' * 300}/{number}.png"), pixels=pixels), [make_face(number)]
    )


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "png", "folder"])
def test_full_disk_is_an_error_and_complete_lines_are_kept(tiny_disk, kind):
    path = tiny_disk / ("out" if kind == "folder" else f"out.{kind}")
    results = [noise_result(k) for k in range(1 if kind == "png" else 900)]
    with pytest.raises(UserError, match=r"Cannot write .*: No space left on device\.") as caught:
        write_all(path, results)
    assert "\n" not in str(caught.value)
    remaining = {"png": [], "folder": ["out"]}.get(kind, [f"{path.name}.part"])
    assert file_names(tiny_disk) == remaining
    if kind in TABLES:
        records = list(partial_file.read_records(path))
        assert records == [result.to_dict() for result in results[: len(records)]]
        assert len(records) > 50  # of about 800 bytes each, on a disk of 64 kB


@pytest.mark.parametrize("kind", ["mp4", "html"])
def test_video_that_fills_the_disk_is_an_error_and_leaves_no_file(tiny_disk, kind):
    rng = np.random.default_rng(0)
    clip = [rng.integers(0, 256, (240, 320, 3), np.uint8) for _ in range(100)]
    results = [
        Result(Frame(pixels, "x.mp4", k, k / 25), [make_face()]) for k, pixels in enumerate(clip)
    ]
    with pytest.raises(UserError, match=r"Cannot write .*: No space left on device\."):
        write_all(tiny_disk / f"out.{kind}", results)
    assert file_names(tiny_disk) == []


@pytest.mark.parametrize("suffix", ["jsnl", "cvs", "parqet", "pgn"])
def test_unknown_suffix_suggests_the_nearest(tmp_path, suffix):
    with pytest.raises(UserError, match="Did you mean") as caught:
        writers.open_writer(tmp_path / f"out.{suffix}")
    assert ".jsonl" in str(caught.value)
    assert file_names(tmp_path) == []


@pytest.mark.parametrize("name", [".jsonl", ".png", ".hidden", "-"])
def test_path_without_a_file_name_is_an_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for path in (name, tmp_path / name):
        with pytest.raises(UserError, match=r"Cannot write .*: give a file, such as") as caught:
            writers.open_writer(path)
        assert "\n" not in str(caught.value)
    assert file_names(tmp_path) == []
    (tmp_path / ".hidden").mkdir()
    write_all(tmp_path / ".hidden", sample_results()[:1])
    assert file_names(tmp_path / ".hidden") == ["photo.png"]


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="nowhere not found"):
        writers.open_writer(tmp_path / "nowhere" / "out.csv")


# With the suffix, these names have 253 to 259 bytes; most file systems allow at most 255.
@pytest.mark.parametrize(
    "stem", ["x" * 251, "漢" * 83, "é" * 125, "x" * 255], ids=["ascii", "cjk", "accents", "longest"]
)
def test_long_names_are_shortened_where_needed(tmp_path, stem):
    images = [Result(make_frame(f"{stem}{suffix}"), []) for suffix in (".png", ".jpg")]
    frames = [Result(make_frame(f"{stem}.mp4", k), []) for k in range(2)]
    write_all(tmp_path, [*images, *frames])
    names = file_names(tmp_path)
    assert len(names) == 4
    assert all(name[:70] == stem[:70] for name in names)
    assert all(len(os.fsencode(name)) <= 255 for name in names)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "png", "html", "mp4"])
def test_an_output_may_have_the_longest_possible_name(tmp_path, suffix):
    name = "x" * (254 - len(suffix)) + f".{suffix}"
    write_all(tmp_path / name, [Result(make_frame("a.mp4"), [])])
    assert file_names(tmp_path) == [name]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "png"])
def test_unwritable_path_is_an_error(tmp_path, kind):
    name = "x" * 300
    with pytest.raises(UserError, match="Cannot write"):
        write_all(tmp_path / f"{name}.{kind}", sample_results()[:1])
    assert file_names(tmp_path) == []


def test_file_with_the_name_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match="Cannot create folder"):
        write_all(tmp_path / "out", [])


def test_folder_with_a_suffix_is_a_folder(tmp_path):
    (tmp_path / "pictures.png").mkdir()
    write_all(tmp_path / "pictures.png", [Result(make_frame("a.gif"), [])])
    assert file_names(tmp_path / "pictures.png") == ["a.png"]


@pytest.mark.parametrize("source", ["plain.png", "顔.png", "Köln, été.png", "Привет 👋.png"])
def test_excel_and_the_usual_readers_read_a_csv_correctly(tmp_path, source):
    path = tmp_path / "faces.csv"
    write_all(path, [Result(make_frame("a.png"), []), Result(make_frame(source), [make_face()])])
    data = path.read_bytes()
    # Excel needs the mark to read UTF-8; ASCII files have none, because it confuses simple tools.
    assert data.startswith(codecs.BOM_UTF8) == (not source.isascii())
    assert data.count(codecs.BOM_UTF8) <= 1
    assert b"\r" not in data
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert [row["source"] for row in csv.DictReader(file)] == ["a.png", source]
    pyarrow_csv = pytest.importorskip("pyarrow.csv")
    assert pyarrow_csv.read_csv(path)["source"].to_pylist() == ["a.png", source]
    duckdb = pytest.importorskip("duckdb")
    assert duckdb.sql(f"select source from '{path}'").fetchall() == [("a.png",), (source,)]


@pytest.mark.parametrize("source", ["plain.png", "顔.png"])
def test_pandas_reads_the_first_column_of_a_csv(tmp_path, source):
    pandas = pytest.importorskip("pandas")
    write_all(tmp_path / "faces.csv", [Result(make_frame(source), [make_face()])])
    for engine in ("c", "python"):
        table = pandas.read_csv(tmp_path / "faces.csv", engine=engine)
        assert table.columns[0] == "source"
        assert table["source"].to_list() == [source]


@pytest.mark.parametrize("block_bytes", [1, 2, 7, 1000, 2**20])
def test_a_byte_order_mark_is_inserted_with_any_block_size(tmp_path, monkeypatch, block_bytes):
    from mien.writers import csv as csv_writer

    monkeypatch.setattr(csv_writer, "BLOCK_BYTES", block_bytes)
    write_all(tmp_path / "faces.csv", [Result(make_frame(f"{k}.png"), []) for k in range(20)])
    plain = (tmp_path / "faces.csv").read_bytes()
    csv_writer._insert_byte_order_mark(tmp_path / "faces.csv")
    assert (tmp_path / "faces.csv").read_bytes() == codecs.BOM_UTF8 + plain


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_smoothed_emotions_have_their_own_columns(tmp_path, suffix):
    import pyarrow.csv
    import pyarrow.parquet

    emotions, smoothed = {"happy": 0.9, "sad": 0.1}, {"happy": 0.6, "sad": 0.4}
    faces = [Face((0, 0, 9, 9), 0.9, emotions, 3, smoothed=smoothed)]
    with writers.open_writer(tmp_path / f"x.{suffix}") as write:
        write(Result(make_frame("clip.mp4", 7), faces))
        write(Result(make_frame("clip.mp4", 8), []))
    read = pyarrow.csv.read_csv if suffix == "csv" else pyarrow.parquet.read_table
    first, second = read(tmp_path / f"x.{suffix}").to_pylist()
    assert (first["happy"], first["smoothed_happy"]) == (0.9, 0.6)
    assert first["smoothed_fear"] in (None, "")
    assert second["smoothed_happy"] is None


def test_the_sql_query_in_the_docs_averages_each_second(tmp_path, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    emotions = {"happy": 0.9, "sad": 0.1}
    with writers.open_writer(tmp_path / "faces.parquet") as write:
        for k in range(30):
            faces = [Face((0, 0, 9, 9), 0.9, emotions, 3, smoothed=emotions)] if k < 20 else []
            write(Result(replace(make_frame("clip.mp4", k), seconds=k / 10), faces))
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    query = re.search(r"```sql\n(.*?)```", text, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    assert duckdb.sql(query).fetchall() == [
        ("clip.mp4", 3, 0.0, 0.9, 0.1), ("clip.mp4", 3, 1.0, 0.9, 0.1)
    ]  # fmt: skip


def test_video_keeps_the_size_of_its_first_frame(tmp_path):
    def halves(number, width, height):
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[: height // 2], pixels[height // 2 :] = (200, 40, 40), (40, 40, 200)
        return Frame(pixels, "photo.jpg", number, number / 10)

    with writers.open_writer(tmp_path / "out.mp4") as write:
        for number, (width, height) in enumerate(((640, 480), (1280, 960), (500, 480), (640, 480))):
            write(Result(halves(number, width, height), []))
    frames = [frame.pixels for frame in video.frames(Source.parse(str(tmp_path / "out.mp4")))]
    assert [pixels.shape for pixels in frames] == [(480, 640, 3)] * 4
    for pixels in frames:
        for row, color in ((100, (200, 40, 40)), (380, (40, 40, 200))):
            assert np.abs(pixels[row, 80:560].mean(0) - color).max() < 12
    # The third frame has another aspect ratio: it is not distorted, but has black bars.
    assert frames[2][:, :60].max() < 30
    assert frames[2][:, 580:].max() < 30
