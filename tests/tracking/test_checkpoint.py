"""Interrupted runs, some really killed, and --resume."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from mien.errors import UserError
from mien.io import partial_file
from mien.results import Frame, Result
from tests.io.video_files import write_with_sound
from tests.paths import SHARED
from tests.synthetic import clip_files, clips, tiny

PACK = SHARED / "fer2013"


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def interrupt_after(count, *paths):
    """Turn complete outputs into what a run interrupted after `count` frames leaves."""
    # The partial files of all formats contain JSON records, here the last one incomplete.
    for path in paths:
        whole = path.with_suffix(".jsonl") if path.suffix != ".jsonl" else path
        kept = whole.read_bytes().splitlines(keepends=True)[:count]
        partial_file.part_path(path).write_bytes(b"".join(kept) + b'{"source": "ha')
    for path in paths:
        path.unlink()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "one.mp4"
    frames = clips.frames("one", tiny.samples(28), size=(320, 180), seconds=8)
    clip_files.encode(path, frames)
    return path


@pytest.mark.parametrize("every", ["1", "3", "0.11s"])
def test_a_killed_run_can_be_resumed_with_the_same_result(clip, mien, tiny_model, tmp_path, every):
    command = ["analyze", str(clip), "--model", str(tiny_model), "--detector", "yunet", "--every",
             every, "--from", "0.5"]  # fmt: skip
    out = [word for name in ("a.jsonl", "a.csv") for word in ("--to", str(tmp_path / name))]
    part = tmp_path / "a.jsonl.part"
    run = subprocess.Popen([sys.executable, "-m", "mien", *command, *out])
    while run.poll() is None and not (part.exists() and part.read_bytes().count(b"\n") > 5):
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    if run.wait() == 0:  # it finished before the signal
        interrupt_after(20, tmp_path / "a.jsonl", tmp_path / "a.csv")
    interrupted = list(partial_file.read_records(tmp_path / "a.jsonl"))
    assert len(interrupted) > 5

    code, _, err = mien(*command, *out)
    assert code == 2
    assert "--resume" in err

    code, output, err = mien(*command, *out, "--resume", "--summary", tmp_path / "a.json")
    assert (code, err) == (0, "")
    whole = tmp_path / "whole"
    whole.mkdir()
    whole_out = ("--to", whole / "a.jsonl", "--to", whole / "a.csv", "--summary", whole / "a.json")
    _, expected_output, _ = mien(*command, *whole_out)
    assert output.replace(str(tmp_path), "") == expected_output.replace(str(whole), "")
    resumed, expected = lines(tmp_path / "a.jsonl"), lines(whole / "a.jsonl")
    assert resumed[: len(interrupted)] == interrupted
    assert [(r["frame"], r["seconds"]) for r in resumed] == [
        (r["frame"], r["seconds"]) for r in expected
    ]
    assert [[f["face_id"] for f in r["faces"]] for r in resumed] == [
        [f["face_id"] for f in r["faces"]] for r in expected
    ]
    for ours, theirs in zip(resumed, expected, strict=True):
        for face, expected_face in zip(ours["faces"], theirs["faces"], strict=True):
            assert face["box"] == pytest.approx(expected_face["box"])
            assert face["smoothed"] == pytest.approx(expected_face["smoothed"], abs=1e-6)
    assert (tmp_path / "a.csv").read_text().count("\n") == (whole / "a.csv").read_text().count("\n")
    assert not part.exists()


@pytest.mark.slow
@pytest.mark.parametrize("count", [9, 20, 21, 27, 33, 47])
def test_shots_and_ids_are_kept_when_resuming_near_a_cut(mien, tiny_model, tmp_path, count):
    path, whole, out = (tmp_path / name for name in ("cuts.mp4", "whole.jsonl", "out.jsonl"))
    faces = tiny.samples(28)
    kinds = [list(clips.frames("one", faces, (320, 180), seconds=1, seed=seed)) for seed in (1, 2)]
    frames = [kinds[k // 20 % 2][k % 20][0] for k in range(50)]
    clip_files.encode(path, [(p, clips.Truth(k / 25)) for k, p in enumerate(frames)])
    command = ("analyze", path, "--model", tiny_model, "--detector", "yunet", "--to")
    assert mien(*command, whole)[0] == 0
    assert [record["shot"] for record in lines(whole)] == [k // 20 for k in range(50)]
    out.write_bytes(whole.read_bytes())
    interrupt_after(count, out)
    assert mien(*command, out, "--resume")[0] == 0
    expected = [(r["frame"], r["shot"], [f["face_id"] for f in r["faces"]]) for r in lines(whole)]
    resumed = [(r["frame"], r["shot"], [f["face_id"] for f in r["faces"]]) for r in lines(out)]
    assert resumed == expected


@pytest.mark.slow
@pytest.mark.skipif(not PACK.exists(), reason="the real pack is not here")
@pytest.mark.parametrize("count", [30, 62])
def test_face_ids_are_kept_after_resuming(mien, monkeypatch, tmp_path, count):
    path = tmp_path / "crossing.mp4"
    clip_files.encode(path, clips.frames("crossing", clips.load_faces(PACK), seconds=4))
    out = tmp_path / "a.jsonl"
    command = ("analyze", path, "--to", out)
    mien(*command)
    expected = lines(out)
    interrupt_after(count, out)
    code, _, err = mien(*command, "--resume")
    assert (code, err) == (0, "")
    resumed = lines(out)
    assert resumed[:count] == expected[:count]
    for ours, theirs in zip(resumed, expected, strict=True):
        boxes = {face["face_id"]: face["box"] for face in theirs["faces"]}
        assert {face["face_id"] for face in ours["faces"]} == boxes.keys()
        for face in ours["faces"]:
            assert face["box"] == pytest.approx(boxes[face["face_id"]], abs=1e-6)


def test_completed_images_and_videos_are_not_analyzed_again(clip, mien, tiny_model, tmp_path):
    images = []
    for name in "abc":
        Image.new("RGB", (64, 64), "grey").save(tmp_path / f"{name}.png")
        images.append(str(tmp_path / f"{name}.png"))
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    files = [images[0], str(clip), *images[1:], str(other)]
    out = tmp_path / "out.jsonl"
    command = ("analyze", *files, "--model", tiny_model, "--detector", "whole", "--every", "40",
             "--to", out)  # fmt: skip
    assert mien(*command)[0] == 0
    expected = lines(out)
    assert len(expected) == 5 + 5 + 3  # every 40th of the 200 frames of two videos; three images
    for count in range(len(expected)):
        interrupt_after(count, out)
        code, output, err = mien(*command, "--resume")
        assert (code, err) == (0, "")
        assert "10 frames, 3 " in output
        assert [(r["source"], r["frame"]) for r in lines(out)] == [
            (r["source"], r["frame"]) for r in expected
        ]


def test_ctrl_c_names_the_part_file(clip, tiny_model, tmp_path):
    out = tmp_path / "a.csv"
    copies = [tmp_path / f"{k}.mp4" for k in range(10)]  # so that the run is not over too early
    for copy in copies:
        copy.symlink_to(clip)
    command = [sys.executable, "-m", "mien", "analyze", *copies, "--model", tiny_model,
               "--detector", "yunet", "--to", out]  # fmt: skip
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    part = partial_file.part_path(out)
    while not (part.exists() and part.read_bytes().count(b"\n") > 1):  # a record after the header
        time.sleep(0.005)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate()
    assert run.returncode == 130
    assert f"{out}.part" in err
    assert "--resume" in err
    assert not out.exists()
    assert list(partial_file.read_records(out))


def test_formats_that_cannot_be_resumed_are_an_error(mien, clip, tmp_path):
    outputs = ("--to", tmp_path / "a.jsonl", "--to", tmp_path / "a.mp4")
    code, _, err = mien("analyze", clip, *outputs, "--resume")
    assert (code, "a.mp4" in err) == (2, True)
    code, _, err = mien("analyze", clip, "--to", tmp_path / "a.jsnl", "--resume")
    assert (code, "'.jsonl'" in err) == (2, True)


def test_resume_needs_an_output_file(mien, clip):
    code, _, err = mien("analyze", clip, "--resume")
    assert code == 2
    assert "--to" in err


def test_another_selection_of_frames_cannot_be_resumed(clip, mien, tiny_model, tmp_path):
    out = tmp_path / "a.jsonl"
    command = ("analyze", clip, "--model", tiny_model, "--detector", "whole", "--to", out)
    mien(*command, "--every", "2")
    interrupt_after(10, out)
    kept = partial_file.part_path(out).read_bytes()
    code, _, err = mien(*command, "--every", "3", "--resume")
    assert code == 2
    assert "Cannot resume" in err
    # At most the incomplete last record was removed.
    assert kept.startswith(partial_file.part_path(out).read_bytes())
    assert len(list(partial_file.read_records(out))) == 10


def test_other_emotions_or_another_detector_cannot_resume(clip, mien, tiny_model, tmp_path):
    out = tmp_path / "a.jsonl"
    command = ("analyze", clip, "--model", tiny_model, "--detector", "whole", "--every", "9")
    mien(*command, "--to", out)
    interrupt_after(3, out)
    for other in (("--contempt",), ("--detector", "yunet")):
        code, _, err = mien(*command, *other, "--to", out, "--resume")
        assert code == 2
        assert "--resume" in err
    assert mien(*command, "--to", out, "--resume")[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows such file names")
def test_undecodable_file_names_are_escaped(clip, mien, tiny_model, tmp_path):
    path = os.fsencode(tmp_path) + b"/v\xff.mp4"
    with open(path, "wb") as file:
        file.write(clip.read_bytes())
    command = ("--model", tiny_model, "--detector", "whole", "--every", "50")
    code, _, err = mien("analyze", os.fsdecode(path), *command, "--to", tmp_path / "a.jsonl")
    assert (code, err) == (0, "")
    assert lines(tmp_path / "a.jsonl")[0]["source"].endswith("v\\udcff.mp4")


@pytest.mark.parametrize(
    ("options", "expected_text"),
    [
        (("--smooth", "2"), "--smooth"),
        (("--from", "2"), "0.0 s"),
        (("other",), "same inputs"),
    ],
)
def test_another_command_cannot_resume(clip, mien, tiny_model, tmp_path, options, expected_text):
    out, other = tmp_path / "out.jsonl", tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    usual = ("--model", tiny_model, "--detector", "whole", "--to", out)
    assert mien("analyze", clip, *usual, "--until", "1")[0] == 0
    interrupt_after(9, out)
    kept = list(partial_file.read_records(out))
    source, extra = (other, ()) if options == ("other",) else (clip, options)
    code, _, err = mien("analyze", source, *usual, *extra, "--resume")
    assert code == 2
    assert expected_text in err
    assert list(partial_file.read_records(out)) == kept
    assert not out.exists()


def test_without_frames_no_file_is_written(clip, mien, tiny_model, tmp_path):
    command = ("--model", tiny_model, "--detector", "whole", "--from", "99")
    code, out, err = mien("analyze", clip, *command, "--to", tmp_path / "a.csv")
    assert (code, out) == (2, "0 faces\n")
    assert "99 s" in err
    assert not (tmp_path / "a.csv").exists()


def test_an_empty_part_file_is_ignored(clip, mien, tiny_model, tmp_path):
    out, part = tmp_path / "a.csv", tmp_path / "a.csv.part"
    part.touch()
    command = ("analyze", clip, "--model", tiny_model, "--detector", "whole", "--every", "40")
    assert mien(*command, "--to", out)[0] == 0
    assert out.exists()
    assert not part.exists()


def test_a_file_that_another_run_is_writing_is_an_error(tmp_path):
    with partial_file.open_resumable(tmp_path / "a.jsonl", resume=False) as write:
        with (
            pytest.raises(UserError, match=r"a\.jsonl"),
            partial_file.open_resumable(tmp_path / "a.jsonl", resume=False),
        ):
            pass
        write(Result(Frame(np.zeros((2, 2, 3), np.uint8), "a.png"), []))
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 1


def test_an_animation_can_be_resumed(mien, tiny_model, tmp_path):
    frames = clips.frames("one", tiny.samples(28), size=(160, 120), seconds=1)
    first, *rest = [Image.fromarray(pixels) for pixels, _ in frames]
    animation = tmp_path / "a.webp"
    first.save(animation, save_all=True, append_images=rest, duration=40, lossless=True)
    command = ["analyze", animation, "--model", tiny_model, "--detector", "whole", "--every", "2"]
    out = tmp_path / "a.jsonl"
    assert mien(*command, "--to", out)[0] == 0
    expected = lines(out)
    interrupt_after(8, out)
    code, _, err = mien(*command, "--to", out, "--resume")
    assert (code, err) == (0, "")
    assert [(r["frame"], r["seconds"]) for r in lines(out)] == [
        (r["frame"], r["seconds"]) for r in expected
    ]


def test_video_that_begins_late_can_be_resumed(mien, tiny_model, tmp_path):
    write_with_sound(tmp_path / "late.mkv", video_start=2.5)
    out = tmp_path / "a.jsonl"
    command = ("analyze", tmp_path / "late.mkv", "--model", tiny_model, "--detector", "whole",
               "--to", out)  # fmt: skip
    assert mien(*command)[0] == 0
    expected = lines(out)
    assert expected[0]["seconds"] == pytest.approx(2.5, abs=0.05)
    interrupt_after(12, out)
    code, _, err = mien(*command, "--resume")
    assert (code, err) == (0, "")
    resumed = lines(out)
    assert [(r["frame"], r["seconds"]) for r in resumed] == [
        (r["frame"], r["seconds"]) for r in expected
    ]
