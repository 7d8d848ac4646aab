"""Runs that are stopped, some with a real kill, and go on."""

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
from tests.paths import SHARED
from tests.synthetic import clip_files, clips, tiny

PACK = SHARED / "fer2013"


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def stop_at(count, words, *paths):
    """Run the command to its end, and leave what it would have left after so many frames."""
    for path in paths:
        whole = path.with_suffix(".jsonl") if path.suffix != ".jsonl" else path
        kept = whole.read_bytes().splitlines(keepends=True)[:count]
        partial_file.part_path(path).write_bytes(b"".join(kept) + b'{"source": "ha')
    for path in paths:
        path.unlink()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "one.mp4"
    pictures = clips.frames("one", tiny.samples(28), size=(320, 180), seconds=8)
    clip_files.encode(path, pictures)
    return path


@pytest.mark.parametrize("every", ["1", "3", "0.11s"])
def test_a_killed_run_goes_on_as_if_nothing_had_been(clip, mien, tiny_model, tmp_path, every):
    words = ["analyze", str(clip), "--model", str(tiny_model), "--detector", "yunet", "--every",
             every, "--from", "0.5"]  # fmt: skip
    out = [word for name in ("a.jsonl", "a.csv") for word in ("--to", str(tmp_path / name))]
    part = tmp_path / "a.jsonl.part"
    run = subprocess.Popen([sys.executable, "-m", "mien", *words, *out])
    while run.poll() is None and not (part.exists() and part.read_bytes().count(b"\n") > 5):
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    had = list(partial_file.read_records(tmp_path / "a.jsonl"))
    assert len(had) > 5

    code, _, err = mien(*words, *out)
    assert code == 2
    assert "--resume goes on with it" in err

    code, said, err = mien(*words, *out, "--resume", "--summary", tmp_path / "a.json")
    assert (code, err) == (0, "")
    whole = tmp_path / "whole"
    whole.mkdir()
    more = ("--to", whole / "a.jsonl", "--to", whole / "a.csv", "--summary", whole / "a.json")
    _, expected, _ = mien(*words, *more)
    assert said.replace(str(tmp_path), "") == expected.replace(str(whole), "")
    found, wanted = lines(tmp_path / "a.jsonl"), lines(whole / "a.jsonl")
    assert found[: len(had)] == had
    assert [(r["frame"], r["seconds"]) for r in found] == [
        (r["frame"], r["seconds"]) for r in wanted
    ]
    assert [[f["face_id"] for f in r["faces"]] for r in found] == [
        [f["face_id"] for f in r["faces"]] for r in wanted
    ]
    for one, other in zip(found, wanted, strict=True):
        for mine, theirs in zip(one["faces"], other["faces"], strict=True):
            assert mine["box"] == pytest.approx(theirs["box"])
            assert mine["smoothed"] == pytest.approx(theirs["smoothed"], abs=1e-6)
    assert (tmp_path / "a.csv").read_text().count("\n") == (whole / "a.csv").read_text().count("\n")
    assert not part.exists()


@pytest.mark.slow
@pytest.mark.skipif(not PACK.exists(), reason="the real pack is not here")
@pytest.mark.parametrize("count", [30, 62])
def test_ids_are_kept_over_a_stop(mien, monkeypatch, tmp_path, count):
    path = tmp_path / "crossing.mp4"
    clip_files.encode(path, clips.frames("crossing", clips.load_faces(PACK), seconds=4))
    out = tmp_path / "a.jsonl"
    words = ("analyze", path, "--to", out)
    mien(*words)
    wanted = lines(out)
    stop_at(count, words, out)
    code, _, err = mien(*words, "--resume")
    assert (code, err) == (0, "")
    found = lines(out)
    assert found[:count] == wanted[:count]
    for mine, theirs in zip(found, wanted, strict=True):
        boxes = {face["face_id"]: face["box"] for face in theirs["faces"]}
        assert {face["face_id"] for face in mine["faces"]} == boxes.keys()
        for face in mine["faces"]:
            assert face["box"] == pytest.approx(boxes[face["face_id"]], abs=1e-6)


def test_pictures_and_videos_that_are_done_are_not_done_again(clip, mien, tiny_model, tmp_path):
    places = []
    for name in "abc":
        Image.new("RGB", (64, 64), "grey").save(tmp_path / f"{name}.png")
        places.append(str(tmp_path / f"{name}.png"))
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    files = [places[0], str(clip), *places[1:], str(other)]
    out = tmp_path / "out.jsonl"
    words = ("analyze", *files, "--model", tiny_model, "--detector", "whole", "--every", "40",
             "--to", out)  # fmt: skip
    assert mien(*words)[0] == 0
    wanted = lines(out)
    assert len(wanted) == 5 + 5 + 3
    for count in range(len(wanted)):
        stop_at(count, words, out)
        code, said, err = mien(*words, "--resume")
        assert (code, err) == (0, "")
        assert "10 frames, 3 pictures" in said
        assert [(r["source"], r["frame"]) for r in lines(out)] == [
            (r["source"], r["frame"]) for r in wanted
        ]


def test_ctrl_c_says_where_the_rest_is(clip, tiny_model, tmp_path):
    out = tmp_path / "a.csv"
    command = [sys.executable, "-m", "mien", "analyze", clip, "--model", tiny_model, "--detector",
               "yunet", "--to", out]  # fmt: skip
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (partial_file.part_path(out).exists() and partial_file.part_path(out).stat().st_size):
        time.sleep(0.005)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate()
    assert run.returncode == 130
    assert [line for line in err.splitlines() if line] == [
        f"mien: {out}.part holds what was found; the same with --resume goes on with it.",
        "mien: stopped",
    ]
    assert not out.exists()
    assert list(partial_file.read_records(out))


def test_what_cannot_be_gone_on_with_is_named(mien, clip, tmp_path):
    tables = ("--to", tmp_path / "a.jsonl", "--to", tmp_path / "a.mp4")
    code, _, err = mien("analyze", clip, *tables, "--resume")
    assert (code, "a.mp4 cannot be resumed" in err) == (2, True)
    code, _, err = mien("analyze", clip, "--to", tmp_path / "a.jsnl", "--resume")
    assert (code, "Did you mean '.jsonl'?" in err) == (2, True)


def test_resume_wants_a_file(mien, clip):
    code, _, err = mien("analyze", clip, "--resume")
    assert code == 2
    assert "--to faces.jsonl" in err


def test_what_was_read_otherwise_is_not_gone_on_with(clip, mien, tiny_model, tmp_path):
    out = tmp_path / "a.jsonl"
    words = ("analyze", clip, "--model", tiny_model, "--detector", "whole", "--to", out)
    mien(*words, "--every", "2")
    stop_at(10, words, out)
    kept = partial_file.part_path(out).read_bytes()
    code, _, err = mien(*words, "--every", "3", "--resume")
    assert code == 2
    assert "not the same part of it" in err
    assert kept.startswith(partial_file.part_path(out).read_bytes())
    assert len(list(partial_file.read_records(out))) == 10


def test_who_found_what_was_stopped_must_go_on(clip, mien, tiny_model, tmp_path):
    out = tmp_path / "a.jsonl"
    words = ("analyze", clip, "--model", tiny_model, "--detector", "whole", "--every", "9")
    mien(*words, "--to", out)
    stop_at(3, words, out)
    for other in (("--contempt",), ("--detector", "yunet")):
        code, _, err = mien(*words, *other, "--to", out, "--resume")
        assert code == 2
        assert "goes on with the same command" in err
    assert mien(*words, "--to", out, "--resume")[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there")
def test_a_name_that_is_no_text_is_kept_as_well_as_it_can_be(clip, mien, tiny_model, tmp_path):
    path = os.fsencode(tmp_path) + b"/v\xff.mp4"
    with open(path, "wb") as file:
        file.write(clip.read_bytes())
    words = ("--model", tiny_model, "--detector", "whole", "--every", "50")
    code, _, err = mien("analyze", os.fsdecode(path), *words, "--to", tmp_path / "a.jsonl")
    assert (code, err) == (0, "")
    assert lines(tmp_path / "a.jsonl")[0]["source"].endswith("v?.mp4")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--smooth", "2"), "was read or smoothed otherwise"),
        (("--from", "2"), "begins at 0.0 s"),
        (("other",), "What was stopped was reading"),
    ],
)
def test_another_command_does_not_go_on_with_it(clip, mien, tiny_model, tmp_path, words, said):
    out, other = tmp_path / "out.jsonl", tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    usual = ("--model", tiny_model, "--detector", "whole", "--to", out)
    assert mien("analyze", clip, *usual, "--until", "1")[0] == 0
    stop_at(9, (), out)
    kept = list(partial_file.read_records(out))
    where, more = (other, ()) if words == ("other",) else (clip, words)
    code, _, err = mien("analyze", where, *usual, *more, "--resume")
    assert code == 2
    assert said in err
    assert list(partial_file.read_records(out)) == kept
    assert not out.exists()


def test_where_nothing_was_found_nothing_is_said_to_be_written(clip, mien, tiny_model, tmp_path):
    words = ("--model", tiny_model, "--detector", "whole", "--from", "99")
    code, out, err = mien("analyze", clip, *words, "--to", tmp_path / "a.csv")
    assert (code, out) == (2, "0 faces\n")
    assert "has no frame from 99 s on" in err
    assert not (tmp_path / "a.csv").exists()


def test_an_empty_part_stands_in_nobodys_way(clip, mien, tiny_model, tmp_path):
    out, part = tmp_path / "a.csv", tmp_path / "a.csv.part"
    part.touch()
    words = ("analyze", clip, "--model", tiny_model, "--detector", "whole", "--every", "40")
    assert mien(*words, "--to", out)[0] == 0
    assert out.exists()
    assert not part.exists()


def test_what_is_being_written_is_nobody_elses(tmp_path):
    with partial_file.open_resumable(tmp_path / "a.jsonl", False) as write:
        with (
            pytest.raises(UserError, match="being written by another run"),
            partial_file.open_resumable(tmp_path / "a.jsonl", False),
        ):
            pass
        write(Result(Frame(np.zeros((2, 2, 3), np.uint8), "a.png"), []))
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 1
