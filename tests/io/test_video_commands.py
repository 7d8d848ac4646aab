"""Videos in the command line and the analyzer."""

import json
import re
import threading
from collections import defaultdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import mien as package
from mien.results import Frame
from tests.io.video_files import write_gif
from tests.paths import SHARED
from tests.synthetic import clips, tracking_scores

FER2013 = SHARED / "fer2013"

requires_fer2013 = pytest.mark.skipif(not FER2013.exists(), reason="FER2013 is not available")


def test_kind_of_a_file_is_determined_by_its_content(tmp_path, mien, tiny_model, clip, photo):
    (tmp_path / "clip").write_bytes(clip[0].read_bytes())
    (tmp_path / "photo.mp4").write_bytes(photo.read_bytes())
    options = ("--model", tiny_model, "--detector", "whole", "--json")
    code, out, err = mien("analyze", tmp_path / "clip", tmp_path / "photo.mp4", *options)
    assert (code, err) == (0, "")
    *frames, image = map(json.loads, out.splitlines())
    assert [record["seconds"] for record in frames] == [t.seconds for t in clip[1]]
    assert "smoothed" in frames[0]["faces"][0]
    assert (image["width"], "smoothed" in image["faces"][0]) == (512, False)


def test_face_in_an_animated_gif_keeps_its_id(tmp_path, mien, tiny_model, sample_faces):
    path = tmp_path / "one.gif"
    write_gif(path, sample_faces, 5, duration=40)
    arguments = ("analyze", path, "--detector", "whole", "--model", tiny_model, "--json")
    code, out, _ = mien(*arguments)
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [record["faces"][0]["face_id"] for record in records] == [0] * 5
    assert all("smoothed" in record["faces"][0] for record in records)
    _, out, _ = mien(*arguments, "--every", "2")
    assert [json.loads(line)["frame"] for line in out.splitlines()] == [0, 2, 4]


def test_video_at_an_address_is_read_as_a_file(clip, mien, tiny_model, tmp_path):
    class SilentHandler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(SilentHandler, directory=clip[0].parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{http.server_address[1]}/one.mp4?a=b"
        options = ("--model", tiny_model, "--detector", "whole", "--to", tmp_path / "a.jsonl")
        code, _, err = mien("analyze", address, *options)
        assert (code, err) == (0, "")
        http.shutdown()
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["seconds"] for line in lines] == [t.seconds for t in clip[1]]


@pytest.mark.parametrize("option", ["--summary", "--timeline"])
def test_source_is_not_overwritten_by_summary_or_timeline(mien, clip, tmp_path, option):
    # A video whose name has the suffix of the output, read through a link with its own suffix.
    suffix = {"--summary": ".json", "--timeline": ".png"}[option]
    source = tmp_path / f"clip{suffix}"
    source.write_bytes(clip[0].read_bytes())
    path = tmp_path / "clip.mp4"
    path.symlink_to(source)
    code, _, err = mien("analyze", path, "--detector", "whole", option, source)
    assert code == 2
    assert str(source) in err
    assert source.read_bytes() == clip[0].read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--summary", "faces.csv"), ".json"),
        (("--summary", "nowhere/faces.json"), "nowhere"),
        (("again.mp4", "--to", "page.html"), "page.html"),  # holds only one video
        (("again.mp4", "--timeline", "t.png"), "t.png"),  # shows only one video
        (("--to", "a.csv", "--to", "a.csv"), "a.csv is given for two outputs"),
    ],
)
def test_invalid_outputs_are_rejected_before_reading(
    mien, clip, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    again = clip[0].with_name("again.mp4")
    again.unlink(missing_ok=True)
    again.symlink_to(clip[0])
    options = [str(again) if word == "again.mp4" else word for word in options]
    code, out, err = mien("analyze", clip[0], "--detector", "whole", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_video_is_not_written_over_its_source(mien, clip, tiny_model, tmp_path):
    path = tmp_path / "one.mp4"
    path.write_bytes(clip[0].read_bytes())
    options = ("analyze", path, "--model", tiny_model, "--detector", "whole")
    code, _, err = mien(*options, "--to", path)
    assert code == 2
    assert str(path) in err
    assert path.read_bytes() == clip[0].read_bytes()


def test_video_is_tracked_and_smoothed(clip, tiny_model):
    analyzer = package.Analyzer(str(tiny_model), "whole")
    results = list(analyzer.stream(str(clip[0])))
    assert len(results) == 25
    assert {face.face_id for result in results for face in result} == {0}
    for result in results:
        (face,) = result
        assert face.smoothed is not None
        assert face.box == pytest.approx((70, 0, 180, 180))  # the central square
        assert result.frame.detector == "whole"
    assert results[0][0].smoothed == pytest.approx(results[0][0].emotions)


@requires_fer2013
@pytest.mark.parametrize("scenario", ["crossing", "growing", "none"])
def test_real_faces_keep_their_ids_and_smoothing_does_not_add_changes(scenario):
    faces = clips.load_faces(FER2013)
    truths = []

    def frames():
        for number, (pixels, truth) in enumerate(clips.frames(scenario, faces, seconds=4)):
            truths.append(truth)
            yield Frame(pixels, scenario, number, truth.seconds)

    detections, tracks = [], defaultdict(list)
    for result in package.Analyzer(threads=1).session().stream(frames()):
        detections.append({face.face_id: face.box for face in result})
        for face in result:
            tracks[face.face_id].append((result.frame.seconds, face))
    expected, predicted = tracking_scores.without_hidden(truths, detections)
    assert tracking_scores.id_switches(expected, predicted) == 0
    assert tracking_scores.id_f1(expected, predicted) > 0.97
    for track in tracks.values():
        seconds = [seconds for seconds, _ in track]
        dominant = [face.dominant_emotion for _, face in track]
        smoothed = [max(face.smoothed, key=face.smoothed.get) for _, face in track]
        changes = tracking_scores.changes_per_second(dominant, seconds)
        assert tracking_scores.changes_per_second(smoothed, seconds) <= changes


def test_summary_and_range_on_the_command_line(mien, clip, tiny_model, tmp_path):
    options = ("analyze", clip[0], "--model", tiny_model, "--detector", "whole")
    code, out, err = mien(*options, "--every", "0.2s", "--summary", tmp_path / "s.json")
    assert (code, err) == (0, "")
    assert "one.mp4: 1 face" in out
    assert out.splitlines()[-1] == f"5 frames -> {tmp_path / 's.json'}"
    ((record,),) = json.loads((tmp_path / "s.json").read_text()).values()
    assert record["frames"] == 5
    code, out, _ = mien(*options, "--from", "0.4", "--until", "0:00.6", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert [r["frame"] for r in records] == [10, 11, 12, 13, 14, 15]
    assert set(records[0]["faces"][0]["smoothed"]) == set(package.EMOTIONS)


def test_terminal_summary_file_and_page_show_the_same_mean_shares(mien, clip, tiny_model, tmp_path):
    names = ("a.jsonl", "a.csv", "a.html", "s.json", "t.png")
    files = [tmp_path / name for name in names]
    outputs = [argument for path in files[:3] for argument in ("--to", path)]
    code, out, _ = mien(
        "analyze", clip[0], "--model", tiny_model, "--detector", "whole", *outputs,
        "--summary", files[3], "--timeline", files[4],
    )  # fmt: skip
    assert code == 0
    assert out.splitlines()[-1].split(" -> ")[1].split(", ") == list(map(str, files))
    faces = [json.loads(line)["faces"][0] for line in files[0].read_text().splitlines()]
    # Shares are weighted by the time since the previous frame, so the first one hardly counts.
    expected = np.mean([list(face["smoothed"].values()) for face in faces[1:]], 0)
    ((record,),) = json.loads(files[3].read_text()).values()
    assert list(record["mean_shares"].values()) == pytest.approx(expected.tolist(), abs=2e-3)
    dominant = max(record["mean_shares"], key=record["mean_shares"].get)
    assert record["dominant_emotion"] == dominant
    assert f"{dominant} {100 * record['mean_shares'][dominant]:.0f} %" in out
    page = re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', files[2].read_text(), re.S)
    data = json.loads(page[1])
    shown = dict(zip(data["labels"], data["faces"][0]["mean_shares"], strict=True))
    assert shown == record["mean_shares"]
    digits = [len(f"{share}".split(".")[1]) for share in record["mean_shares"].values()]
    assert max(digits) <= 4
    assert all(round(record[key], 3) == record[key] for key in ("first", "last", "on_screen"))
    # The terminal leaves out emotions and durations that are rounded to 0.
    assert " 0.0 s" not in out
    assert " 0 %" not in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--every", "0"), "--every 0"),
        (("--every", "xs"), "--every xs"),
        (("--from", "1:2:3:4"), "'1:2:3:4'"),
        (("--until", "-3"), "'-3'"),
        (("--from", "1:99"), "'1:99'"),
        (("--from", "3", "--until", "2"), "--until 2"),
        (("--from", "99"), "99 s"),
        (("--smooth", "-1"), "--smooth -1"),
        (("--smooth", "nan"), "--smooth nan"),
        (("--smooth", "abc"), "'abc'"),
    ],
)
def test_invalid_selection_options_give_an_error_of_one_line(
    mien, clip, tiny_model, options, message
):
    code, _, err = mien("analyze", clip[0], "--model", tiny_model, "--detector", "whole", *options)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_unreadable_video_does_not_stop_the_others(mien, clip, tiny_model, tmp_path):
    unreadable = tmp_path / "unreadable.mp4"
    unreadable.write_bytes(b"nothing")
    options = ("--model", tiny_model, "--detector", "whole")
    code, out, err = mien("analyze", unreadable, clip[0], *options)
    assert code == 2
    assert str(unreadable) in err
    assert "25 frames" in out
