"""The verbs, as somebody types them."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

import mien as package
from mien import cli

VERBS = cli.app.list_commands(None)


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def folder(tmp_path, photo):
    """Two good pictures, one without a face, and one that is none at all between them."""
    place = tmp_path / "pictures"
    place.mkdir()
    with Image.open(photo) as image:
        image.save(place / "a.png")
        image.convert("L").save(place / "d.jpg")
    (place / "b.jpg").write_text("not a picture")
    Image.new("RGB", (99, 80), "white").save(place / "c.png")
    return place


def shell(*words, **more):
    return subprocess.run(
        [sys.executable, "-m", "mien", *map(str, words)], capture_output=True, check=False, **more
    )


def one_sentence(err):
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("mien: ")
    assert "Traceback" not in err
    return lines[0]


def test_the_astronaut_is_happy(mien, photo):
    code, out, err = mien("analyze", photo)
    assert (code, err) == (0, "")
    assert "astronaut.png" in out
    assert "face 0" in out
    (happy,) = [line for line in out.splitlines() if line.split()[:1] == ["happy"]]
    assert float(happy.split()[1].rstrip("%")) > 50
    assert "█" in happy


def test_json_is_the_record_and_nothing_else(mien, photo):
    code, out, err = mien("analyze", photo, "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["model"], said["detector"]) == ("default", "yunet")
    assert (said["width"], said["height"], said["frame"]) == (512, 512, 0)
    (face,) = said["faces"]
    assert face["dominant_emotion"] == "happy"
    assert sum(face["emotions"].values()) == pytest.approx(1, abs=1e-6)
    assert list(face["emotions"]) == list(package.EMOTIONS)


def test_contempt_is_kept_when_asked_for(mien, photo):
    said = json.loads(mien("analyze", photo, "--json", "--contempt")[1])
    assert list(said["faces"][0]["emotions"])[-1] == "contempt"


def test_several_outputs_are_written_at_once(mien, photo, tmp_path):
    outputs = [tmp_path / name for name in ("o.jsonl", "o.csv", "o.parquet", "o.png", "pictures")]
    words = [word for path in outputs for word in ("--to", path)]
    code, out, _ = mien("analyze", photo, *words)
    assert code == 0
    assert f"1 picture, 1 face -> {outputs[0]}" in out
    record = json.loads(outputs[0].read_text())
    assert record["faces"][0]["dominant_emotion"] == "happy"
    with outputs[1].open() as file:
        (row,) = csv.DictReader(file)
    assert row["dominant_emotion"] == "happy"
    assert pq.read_table(outputs[2]).to_pylist()[0]["dominant_emotion"] == "happy"
    for path in (outputs[3], outputs[4] / "astronaut.png"):
        with Image.open(path) as image:
            assert image.size == (512, 512)


def test_a_bad_file_is_told_and_the_rest_is_done(mien, folder, tmp_path):
    code, out, err = mien("analyze", folder, "--to", tmp_path / "o.jsonl", "--json")
    assert code == 2
    assert "b.jpg: it is not an image" in one_sentence(err)
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [len(record["faces"]) for record in records] == [1, 0, 1]
    assert [json.loads(line) for line in out.splitlines()] == records


def test_no_face_is_no_error_unless_strict(mien, folder):
    code, out, err = mien("analyze", folder / "c.png")
    assert (code, err) == (0, "")
    assert "no face detected" in out
    assert mien("analyze", folder / "c.png", "--strict")[0] == 3
    assert mien("analyze", folder / "a.png", "--strict")[0] == 0
    assert mien("analyze", folder, "--strict")[0] == 2


def test_several_inputs_and_globs_go_together(mien, folder):
    code, out, _ = mien("analyze", folder / "a.png", f"{folder}/[cd].*", "--json")
    assert code == 0
    names = [json.loads(line)["source"].rsplit("/", 1)[1] for line in out.splitlines()]
    assert names == ["a.png", "c.png", "d.jpg"]


def test_many_pictures_get_a_line_each_and_a_sum(mien, folder):
    for k in range(9):
        (folder / f"x{k}.png").write_bytes((folder / "c.png").read_bytes())
    (folder / "b.jpg").unlink()
    code, out, _ = mien("analyze", folder)
    assert code == 0
    assert out.splitlines()[-1] == "12 pictures, 2 faces"
    assert len(out.splitlines()) == 13


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.jpg"], "nowhere.jpg: file not found"),
        (["PHOTO", "--model", "defualt"], "Did you mean 'default'?"),
        (["PHOTO", "--detector", "yunnet"], "Did you mean 'yunet'?"),
        (["PHOTO", "--to", "out.cvs"], "Did you mean '.csv'?"),
        (["PHOTO", "--model", "nowhere.onnx"], "nowhere.onnx"),
        (["PHOTO", "--to", "no/such/folder/out.csv"], "folder no/such/folder"),
        (["PHOTO", "--to", ".jsonl"], "Cannot write .jsonl: name a file"),
        (["PHOTO", "--to", "-"], "Cannot write -: name a file"),
        (["PHOTO", "--every", "2"], "--every, --from and --until are for videos"),
        (["PHOTO", "--until", "1:30"], "--every, --from and --until are for videos"),
        (["PHOTO", "--two-pass"], "--two-pass is for videos, and here are only pictures."),
        (["PHOTO", "--summary", "s.json"], "--summary is for videos"),
    ],
)
def test_a_mistake_is_one_sentence_and_2(mien, photo, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = mien("analyze", *[photo if word == "PHOTO" else word for word in words])
    assert (code, out) == (2, "")
    assert said in one_sentence(err)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_suffix_beside_a_right_one_destroys_nothing(mien, photo, tmp_path):
    (tmp_path / "o.csv").write_text("precious")
    code, _, err = mien("analyze", photo, "--to", tmp_path / "o.csv", "--to", tmp_path / "o.cvs")
    assert code == 2
    one_sentence(err)
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]
    assert (tmp_path / "o.csv").read_text() == "precious"


def test_a_damaged_model_file_is_one_sentence(mien, photo, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07nonsense" * 50)
    code, out, err = mien("analyze", photo, "--model", tmp_path / "bad.onnx")
    assert (code, out) == (2, "")
    assert "bad.onnx is damaged or not an ONNX model" in one_sentence(err)


def test_pictures_annotated_into_their_own_folder_are_all_kept(mien, folder):
    (folder / "b.jpg").unlink()
    (folder / "a.jpg").write_bytes((folder / "d.jpg").read_bytes())
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert mien("analyze", folder, "--to", folder)[0] == 0
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(folder.iterdir())) == 2 * len(before)


def test_names_with_brackets_are_printed_as_they_are(mien, photo, tmp_path):
    out = tmp_path / "[bold]o[1].jsonl"
    code, said, _ = mien("analyze", photo, "--to", out)
    assert code == 0
    assert "[bold]o[1].jsonl" in said
    _, _, err = mien("analyze", tmp_path / "[red]nowhere")
    assert "[red]nowhere" in one_sentence(err)


def test_the_shelf_of_models_is_shown(mien):
    code, out, err = mien("models")
    assert (code, err) == (0, "")
    assert "default" in out
    assert "MB" in out


def test_the_version_is_told(mien):
    assert mien("--version")[:2] == (0, f"mien {package.__version__}\n")


def test_help_says_once_what_it_is_not(mien):
    code, out, _ = mien("--help")
    assert code == 0
    assert "does not read minds" in " ".join(out.split())


def test_help_shows_each_command_once_in_its_panel(mien):
    _, out, _ = mien("--help")
    panels = re.split(r"^(Using|Serving|Laboratory):\n", out, flags=re.MULTILINE)[1:]
    assert panels[::2] == ["Using", "Serving", "Laboratory"]
    shown = [re.findall(r"^  (\w+) ", text, re.MULTILINE) for text in panels[1::2]]
    assert sorted(name for panel in shown for name in panel) == sorted(VERBS)
    assert "analyze" in shown[0]
    assert shown[1] == ["serve"]
    assert "train" in shown[2]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(mien, verb):
    code, out, _ = mien(verb, "--help")
    assert code == 0
    assert f"mien {verb}" in out.split("Usage:", 1)[1].split("\n", 1)[1]


@pytest.mark.parametrize("words", [["analyse"], ["analyze"], ["analyze", "x.png", "--frobnicate"]])
def test_a_wrong_word_is_2_and_on_standard_error(mien, words):
    code, out, err = mien(*words)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_a_real_pipe_from_end_to_end(photo):
    done = shell("analyze", "-", "--json", input=photo.read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    said = json.loads(done.stdout)
    assert said["source"] == "standard input"
    assert said["faces"][0]["dominant_emotion"] == "happy"


def test_a_mistake_in_a_real_shell_has_no_traceback(tmp_path):
    done = shell("analyze", tmp_path / "nowhere.png", text=True)
    assert (done.returncode, done.stdout) == (2, "")
    one_sentence(done.stderr)


def test_a_narrow_encoding_and_a_name_in_no_encoding_are_borne(tmp_path, photo):
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(name, "wb") as file:
        file.write(photo.read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = ["analyze", tmp_path, "--to", tmp_path / "o.jsonl"]
    done = shell(*words, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"happy" in done.stdout
    assert "caf" in (tmp_path / "o.jsonl").read_text(encoding="utf-8")


def test_a_reader_that_leaves_early_sees_no_traceback(folder):
    (folder / "b.jpg").unlink()
    running = subprocess.Popen(
        [sys.executable, "-m", "mien", "analyze", *[str(folder)] * 8, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    running.stdout.close()
    err = running.stderr.read()
    running.stderr.close()
    running.wait()
    assert b"Traceback" not in err


def test_an_interrupted_job_keeps_whole_lines(tmp_path, photo):
    pictures = [str(photo)] * 1000
    out = tmp_path / "o.jsonl"
    running = subprocess.Popen(
        [sys.executable, "-m", "mien", "analyze", *pictures, "--to", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    part = tmp_path / "o.jsonl.part"
    while running.poll() is None and not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"Traceback" not in err
    lines = part.read_text().splitlines()
    assert 0 < len(lines) < 1000
    assert all(json.loads(line)["faces"] for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == [part.name]


def test_the_address_of_a_picture_gets_one_sentence(mien, tiny_model):
    code, _, err = mien("analyze", "http://127.0.0.1:9/photo.jpg", "--model", tiny_model)
    assert code == 2
    assert "http://127.0.0.1:9/photo.jpg" in one_sentence(err)


@pytest.mark.parametrize(("words", "code"), [(["models"], 0), (["analyze", "missing.png"], 2)])
def test_the_program_leaves_early_but_does_what_is_registered_for_the_end(words, code):
    script = (
        "import atexit, sys; from mien.__main__ import program\n"
        "atexit.register(print, 'registered', end='')\n"
        f"sys.argv = {['mien', *words]}\n"
        "program()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stdout[-10:]) == (code, "registered")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_behind_standard_output_gets_one_sentence(photo, tiny_model):
    words = ("analyze", photo, "--model", tiny_model, "--detector", "whole", "--json")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "mien", *words], stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("mien: The disk is full")
    assert "Traceback" not in done.stderr
