"""The commands, run as a user types them."""

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
from mien.classification import weights
from mien.errors import UserError
from mien.io import atomic_file
from mien.writers import _annotated_image
from tests.synthetic.images import animation

COMMANDS = cli.app.list_commands(None)


@pytest.fixture(autouse=True)
def plain_output(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def folder(tmp_path, photo):
    """Two images with a face, one without, and a text file with the suffix of an image."""
    folder = tmp_path / "images"
    folder.mkdir()
    with Image.open(photo) as image:
        image.save(folder / "a.png")
        image.convert("L").save(folder / "d.jpg")
    (folder / "b.jpg").write_text("not an image")
    Image.new("RGB", (99, 80), "white").save(folder / "c.png")
    return folder


def run_process(*arguments, **options):
    """Run mien in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "mien", *map(str, arguments)],
        capture_output=True,
        check=False,
        **options,
    )


def single_error(err):
    """Assert that standard error is one line with a message, and return it."""
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


def test_json_prints_only_records(mien, photo):
    code, out, err = mien("analyze", photo, "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert (record["model"], record["detector"]) == ("default", "yunet")
    assert (record["width"], record["height"], record["frame"]) == (512, 512, 0)
    (face,) = record["faces"]
    assert face["dominant_emotion"] == "happy"
    assert sum(face["emotions"].values()) == pytest.approx(1, abs=1e-6)
    assert list(face["emotions"]) == list(package.EMOTIONS)


def test_contempt_is_kept_on_request(mien, photo):
    record = json.loads(mien("analyze", photo, "--json", "--contempt")[1])
    assert list(record["faces"][0]["emotions"])[-1] == "contempt"


def test_an_image_is_written_to_several_outputs(mien, photo, tmp_path):
    outputs = [tmp_path / name for name in ("o.jsonl", "o.csv", "o.parquet", "o.png", "images")]
    arguments = [argument for path in outputs for argument in ("--to", path)]
    code, out, _ = mien("analyze", photo, *arguments)
    assert code == 0
    assert out.splitlines()[-1] == f"1 image, 1 face -> {', '.join(map(str, outputs))}"
    record = json.loads(outputs[0].read_text())
    assert record["faces"][0]["dominant_emotion"] == "happy"
    with outputs[1].open() as file:
        (row,) = csv.DictReader(file)
    assert row["dominant_emotion"] == "happy"
    assert pq.read_table(outputs[2]).to_pylist()[0]["dominant_emotion"] == "happy"
    for path in (outputs[3], outputs[4] / "astronaut.png"):
        with Image.open(path) as image:
            assert image.size == (512, 512)


def test_an_unreadable_file_is_reported_and_the_others_analyzed(mien, folder, tmp_path):
    code, out, err = mien("analyze", folder, "--to", tmp_path / "o.jsonl", "--json")
    assert code == 2
    assert "b.jpg" in single_error(err)
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [len(record["faces"]) for record in records] == [1, 0, 1]
    assert [json.loads(line) for line in out.splitlines()] == records


@pytest.mark.skipif(sys.platform == "win32", reason="needs fcntl")
def test_an_output_that_cannot_be_opened_is_reported_and_the_others_are_written(
    mien, photo, tmp_path
):
    import fcntl

    good, locked = tmp_path / "good.csv", tmp_path / "locked.csv"
    with open(f"{locked}.part", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, out, err = mien("analyze", photo, "--to", locked, "--to", good)
    assert code == 2
    assert str(locked) in single_error(err)
    assert f"-> {good}\n" in out
    assert "happy" in good.read_text()


@pytest.mark.parametrize("bad", ["bad.csv", "bad.png"])
def test_an_output_that_fails_at_the_end_is_reported_and_the_others_are_written(
    mien, photo, tmp_path, monkeypatch, bad
):
    move = atomic_file.move_into_place

    def fail_for_bad(temporary, path):
        if path.name == bad:
            raise atomic_file.write_error(path, PermissionError(13, "denied"))
        move(temporary, path)

    monkeypatch.setattr(atomic_file, "move_into_place", fail_for_bad)
    outputs = [tmp_path / name for name in ("a.jsonl", bad, "c.csv", "d.png")]
    arguments = [argument for path in outputs for argument in ("--to", path)]
    code, out, err = mien("analyze", photo, *arguments)
    assert code == 2
    error, *hints = err.splitlines()
    assert str(tmp_path / bad) in error
    assert "Permission denied" in error
    assert [path.exists() for path in outputs] == [True, False, True, True]
    assert f"-> {outputs[0]}, {outputs[2]}, {outputs[3]}\n" in out
    if bad == "bad.csv":
        (hint,) = hints
        assert "--resume" in hint
        # "repeat the command with --resume but without --to a.jsonl, --to c.csv, --to d.png."
        omitted = re.findall(r"--to (\S+?)[,.]?(?= |$)", hint)
        assert omitted == [str(path) for path in outputs if path.name != bad]
        monkeypatch.undo()
        assert mien("analyze", photo, "--resume", "--to", outputs[1])[0] == 0
        assert outputs[1].read_bytes() == outputs[2].read_bytes()
    else:
        assert not hints


def test_an_output_that_fails_during_the_run_is_reported_once(mien, tmp_path):
    single, table = tmp_path / "single.png", tmp_path / "table.csv"
    (tmp_path / "pages.tif").write_bytes(animation("TIFF"))
    code, _, err = mien("analyze", tmp_path / "pages.tif", "--to", single, "--to", table)
    assert code == 2
    assert "single.png" in single_error(err)
    assert len(table.read_text().splitlines()) == 4  # the header and a row for each of three pages
    assert not single.exists()


def test_only_the_failing_images_of_a_folder_are_missing(mien, folder, tmp_path, monkeypatch):
    save = _annotated_image.save

    def fail_for_c(path, result):
        if path.name == "c.png":
            raise UserError("Cannot write c.png: no space left on device.")
        save(path, result)

    monkeypatch.setattr("mien.writers.folder.save", fail_for_c)
    (folder / "b.jpg").unlink()
    code, _, err = mien("analyze", folder, "--to", tmp_path / "out")
    assert code == 2
    assert "c.png" in single_error(err)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "d.png"]


def test_the_run_ends_if_no_output_remains(mien, photo, tmp_path):
    (tmp_path / "a.csv.part").write_text("{}\n")  # of an earlier run; it is not overwritten
    code, out, err = mien("analyze", photo, "--to", tmp_path / "a.csv")
    assert code == 2
    assert "a.csv.part" in single_error(err)
    assert "happy" not in out


def test_strict_exits_3_without_a_face(mien, folder):
    code, out, err = mien("analyze", folder / "c.png")
    assert (code, err) == (0, "")
    assert "no face detected" in out
    assert mien("analyze", folder / "c.png", "--strict")[0] == 3
    assert mien("analyze", folder / "a.png", "--strict")[0] == 0
    assert mien("analyze", folder, "--strict")[0] == 2  # b.jpg cannot be read


def test_inputs_and_globs_are_combined(mien, folder):
    code, out, _ = mien("analyze", folder / "a.png", f"{folder}/[cd].*", "--json")
    assert code == 0
    names = [json.loads(line)["source"].rsplit("/", 1)[1] for line in out.splitlines()]
    assert names == ["a.png", "c.png", "d.jpg"]


def test_many_images_are_printed_as_lines_and_counted(mien, folder):
    for k in range(9):  # together with the others, more than `MAX_SOURCES_WITH_BARS`
        (folder / f"x{k}.png").write_bytes((folder / "c.png").read_bytes())
    (folder / "b.jpg").unlink()
    code, out, _ = mien("analyze", folder)
    assert code == 0
    *lines, count = out.splitlines()
    assert count == "12 images, 2 faces"
    assert len(lines) == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jpg"], "nowhere.jpg"),
        (["PHOTO", "--model", "defualt"], "Did you mean 'default'?"),
        (["PHOTO", "--detector", "yunnet"], "Did you mean 'yunet'?"),
        (["PHOTO", "--to", "out.cvs"], "Did you mean '.csv'?"),
        (["PHOTO", "--model", "nowhere.onnx"], "nowhere.onnx"),
        (["PHOTO", "--to", "no/such/folder/out.csv"], "no/such/folder"),
        (["PHOTO", "--to", ".jsonl"], ".jsonl"),
        (["PHOTO", "--to", "-"], "Cannot write -"),
        (["PHOTO", "--every", "2"], "--every, --from and --until"),
        (["PHOTO", "--until", "1:30"], "--every, --from and --until"),
        (["PHOTO", "--two-pass"], "--two-pass"),
        (["PHOTO", "--summary", "s.json"], "--summary"),
        (["PHOTO", "--to", "a.png", "--timeline", "a.png"], "a.png is given for two outputs"),
        (["PHOTO", "PHOTO", "--to", "a.html"], "run the command once for each, or"),
        (["PHOTO", "PHOTO", "--timeline", "a.png"], "run the command once for each."),
    ],
)
def test_an_invalid_argument_is_one_line_and_exit_2(
    mien, photo, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    code, out, err = mien("analyze", *[photo if word == "PHOTO" else word for word in arguments])
    assert (code, out) == (2, "")
    assert message in single_error(err)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suffix_leaves_existing_files_unchanged(mien, photo, tmp_path):
    (tmp_path / "o.csv").write_text("existing")
    code, _, err = mien("analyze", photo, "--to", tmp_path / "o.csv", "--to", tmp_path / "o.cvs")
    assert code == 2
    single_error(err)
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]
    assert (tmp_path / "o.csv").read_text() == "existing"


def test_a_damaged_model_file_is_an_error(mien, photo, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07nonsense" * 50)
    code, out, err = mien("analyze", photo, "--model", tmp_path / "bad.onnx")
    assert (code, out) == (2, "")
    assert "bad.onnx" in single_error(err)


def test_annotating_into_the_source_folder_keeps_the_originals(mien, folder):
    (folder / "b.jpg").unlink()
    (folder / "a.jpg").write_bytes((folder / "d.jpg").read_bytes())
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert mien("analyze", folder, "--to", folder)[0] == 0
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(folder.iterdir())) == 2 * len(before)


def test_names_with_brackets_are_printed_unchanged(mien, photo, tmp_path):
    output = tmp_path / "[bold]o[1].jsonl"
    code, out, _ = mien("analyze", photo, "--to", output)
    assert code == 0
    assert "[bold]o[1].jsonl" in out
    _, _, err = mien("analyze", tmp_path / "[red]nowhere")
    assert "[red]nowhere" in single_error(err)


def test_every_model_is_listed_with_its_size(mien):
    code, out, err = mien("models")
    assert (code, err) == (0, "")
    listed = re.findall(r"^(\S+) +\d+\.\d MB", out, re.MULTILINE)
    assert listed == list(weights.models())


def test_the_version_is_printed(mien):
    assert mien("--version")[:2] == (0, f"mien {package.__version__}\n")


def test_help_states_that_feelings_are_not_detected(mien):
    code, out, _ = mien("--help")
    assert code == 0
    assert "does not detect what a person feels" in " ".join(out.split())


def test_help_lists_each_command_once_in_its_section(mien):
    _, out, _ = mien("--help")
    pieces = re.split(r"^(Analysis|Server|Training and evaluation):\n", out, flags=re.MULTILINE)
    sections = {
        title: re.findall(r"^  (\w+) ", text, re.MULTILINE)
        for title, text in zip(pieces[1::2], pieces[2::2], strict=True)
    }
    assert list(sections) == ["Analysis", "Server", "Training and evaluation"]
    assert sorted(name for names in sections.values() for name in names) == sorted(COMMANDS)
    assert "analyze" in sections["Analysis"]
    assert sections["Server"] == ["serve"]
    assert "train" in sections["Training and evaluation"]


def test_no_summary_of_a_command_is_truncated_in_help(mien, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert not re.findall(r"^  \w+  .*\.\.\.$", mien("--help")[1], re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(mien, command):
    code, out, _ = mien(command, "--help")
    assert code == 0
    _usage_line, text = out[out.index("Usage:") :].split("\n", 1)
    assert f"mien {command}" in text


@pytest.mark.parametrize(
    "arguments", [["analyse"], ["analyze"], ["analyze", "x.png", "--frobnicate"]]
)
def test_a_usage_error_is_exit_2_on_standard_error(mien, arguments):
    code, out, err = mien(*arguments)
    assert (code, out) == (2, "")
    assert err
    assert "Traceback" not in err


def test_an_image_is_read_from_standard_input(photo):
    process = run_process("analyze", "-", "--json", input=photo.read_bytes())
    assert (process.returncode, process.stderr) == (0, b"")
    record = json.loads(process.stdout)
    assert record["source"] == "standard input"
    assert record["faces"][0]["dominant_emotion"] == "happy"


def test_a_user_error_of_a_process_is_one_line_and_exit_2(tmp_path):
    process = run_process("analyze", tmp_path / "nowhere.png", text=True)
    assert (process.returncode, process.stdout) == (2, "")
    single_error(process.stderr)


def test_names_outside_the_encoding_of_standard_output_are_printed(tmp_path, photo):
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(name, "wb") as file:
        file.write(photo.read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = run_process("analyze", tmp_path, "--to", tmp_path / "o.jsonl", env=environment)
    assert (process.returncode, process.stderr) == (0, b"")
    assert b"happy" in process.stdout
    assert "caf" in (tmp_path / "o.jsonl").read_text(encoding="utf-8")


def test_a_closed_pipe_is_exit_1_without_a_traceback(photo):
    process = subprocess.Popen(
        [sys.executable, "-m", "mien", "analyze", str(photo), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert err == b""


def test_an_interrupted_run_keeps_complete_lines(tmp_path, photo):
    images = [str(photo)] * 1000
    output = tmp_path / "o.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "mien", "analyze", *images, "--to", str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    partial_file = tmp_path / "o.jsonl.part"
    while process.poll() is None and not (partial_file.exists() and partial_file.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in err
    lines = partial_file.read_text().splitlines()
    assert 0 < len(lines) < 1000
    assert all(json.loads(line)["faces"] for line in lines)
    assert list(tmp_path.iterdir()) == [partial_file]


def test_the_url_of_an_image_is_an_error(mien, tiny_model):
    code, _, err = mien("analyze", "http://127.0.0.1:9/photo.jpg", "--model", tiny_model)
    assert code == 2
    error = single_error(err)
    assert "http://127.0.0.1:9/photo.jpg" in error
    assert "Download it" in error  # the address was not opened as a stream


@pytest.mark.parametrize(("arguments", "code"), [(["models"], 0), (["analyze", "missing.png"], 2)])
def test_the_program_runs_atexit_functions(arguments, code):
    script = (
        "import atexit, sys; from mien.__main__ import program\n"
        "atexit.register(print, 'registered', end='')\n"
        f"sys.argv = {['mien', *arguments]}\n"
        "program()"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert process.returncode == code
    assert process.stdout.endswith("registered")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_an_error(photo, tiny_model):
    arguments = ("analyze", photo, "--model", tiny_model, "--detector", "whole", "--json")
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "mien", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert process.returncode == 2
    assert "disk is full" in single_error(process.stderr)
