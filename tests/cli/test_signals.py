"""Runs that are ended by Ctrl-C, SIGTERM and SIGHUP, or killed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mien.io import atomic_file
from tests.io.video_files import write_video

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")


@pytest.fixture(autouse=True)
def hangup_is_not_ignored():
    """Let SIGHUP end processes that a test starts, even if the tests run under nohup."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


def start(*arguments, **options):
    """Start mien in a process; `options` are those of `subprocess.Popen`."""
    command = [sys.executable, "-m", "mien", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


def wait_for_record(process, partial_file):
    """Wait until a record is written or the process ends."""
    while process.poll() is None and not (partial_file.exists() and partial_file.stat().st_size):
        time.sleep(0.005)


def take_controlling_terminal():
    """Make standard input the controlling terminal; closing it sends SIGHUP to this process."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A video of 80 seconds."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, [np.full((48, 64, 3), k % 200, np.uint8) for k in range(2000)])
    return path


@pytest.fixture
def command(tiny_model, clip):
    """An analysis that takes seconds."""
    return ("analyze", clip, "--model", tiny_model, "--detector", "whole")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_leaves_only_the_partial_file(command, tmp_path, number, code):
    outputs = ("--to", tmp_path / "a.csv", "--to", tmp_path / "a.html")
    process = start(*command, *outputs)
    wait_for_record(process, tmp_path / "a.csv.part")
    process.send_signal(number)
    hint, message = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == code
    assert "a.csv.part" in hint
    assert message.startswith("mien: ")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv.part"]


def test_repeated_signals_of_a_closed_terminal_do_not_interrupt_the_exit(command, tmp_path):
    process = start(*command, "--to", tmp_path / "a.jsonl")
    wait_for_record(process, tmp_path / "a.jsonl.part")
    for _ in range(5):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.002)
    assert "Traceback" not in process.communicate(timeout=60)[1]
    assert process.returncode == 129


def test_a_closed_terminal_exits_with_the_code_of_sighup(command, tmp_path):
    terminal, child_side = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mien", *map(str, command), "--to", str(tmp_path / "a.jsonl")],
        stdin=child_side, stdout=child_side, stderr=child_side, start_new_session=True,
        preexec_fn=take_controlling_terminal,
    )  # fmt: skip
    os.close(child_side)
    wait_for_record(process, tmp_path / "a.jsonl.part")
    os.close(terminal)  # the kernel sends SIGHUP, and writing to the terminal fails
    assert process.wait(60) == 129


def test_an_ignored_signal_remains_ignored(command, tmp_path):
    process = start(
        *command, "--until", 4, "--to", tmp_path / "a.jsonl",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    wait_for_record(process, tmp_path / "a.jsonl.part")
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0


DURING_IMPORT = """
import os, signal, sys, time
from mien.cli._signals import TerminationSignals

with open("imported.py", "w") as file:
    file.write("import os, signal; os.kill(os.getpid(), signal.SIGTERM); finished = True")
sys.path.insert(0, ".")
with TerminationSignals() as signals:
    try:
        import imported
        time.sleep(10)
    except KeyboardInterrupt:
        print(imported.finished, signals.exit_code)
"""


def test_a_signal_during_an_import_takes_effect_after_it(tmp_path):
    output = subprocess.check_output([sys.executable, "-c", DURING_IMPORT], cwd=tmp_path, text=True)
    assert output.split() == ["True", "143"]


def test_sighup_shuts_the_server_down_and_ends_it_like_sigterm(tiny_model, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "MIEN_TOKEN": ""}
    process = start("serve", "--port", 0, "--model", tiny_model, env=environment)
    process.stderr.readline()  # the server is listening
    assert list(tmp_path.iterdir())  # its folder for temporary files
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == -signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_the_next_run_removes_the_temporary_files_of_a_killed_one(
    command, mien, photo, tiny_model, tmp_path
):
    process = start(*command, "--to", tmp_path / "a.mp4", "--to", tmp_path / "a.jsonl")
    wait_for_record(process, tmp_path / "a.jsonl.part")
    with atomic_file.atomic_write(tmp_path / "other.html") as in_use:
        process.kill()
        process.communicate()
        (tmp_path / ".mien-notes.txt").write_text("the user's own")
        (tmp_path / "a.jsonl.part").unlink()
        kept = {in_use, tmp_path / ".mien-notes.txt"}
        assert set(tmp_path.glob(".mien-*")) > kept
        atomic_file.remove_abandoned.cache_clear()  # it runs once per folder in a process
        arguments = ("--model", tiny_model, "--detector", "whole", "--to", tmp_path / "b.jsonl")
        assert mien("analyze", photo, *arguments)[0] == 0
        assert set(tmp_path.glob(".mien-*")) == kept
        in_use.write_text("complete")
    assert (tmp_path / "other.html").read_text() == "complete"
