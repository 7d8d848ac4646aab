"""Atomic writes: a file is complete or absent."""

import errno
import os
import re
import stat
import subprocess
import sys
from contextlib import nullcontext

import pytest

from mien.errors import UserError
from mien.io import atomic_file, partial_file
from mien.io.partial_file import open_resumable


def write_half_and_fail(path):
    path.write_text("half")
    raise TypeError


def test_file_appears_only_at_the_end(tmp_path):
    path = tmp_path / "new" / "deep" / "file.txt"
    with atomic_file.atomic_write(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_error_keeps_the_old_file_and_deletes_the_temporary_one(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(TypeError), atomic_file.atomic_write(path) as temporary:
        write_half_and_fail(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_has_default_permissions(tmp_path):
    old = os.umask(0o022)
    try:
        with atomic_file.atomic_write(tmp_path / "a") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_folder_of_the_same_name_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    with (
        pytest.raises(UserError, match="Is a directory"),
        atomic_file.atomic_write(tmp_path / "a") as temporary,
    ):
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["file/inside.txt", "x" * 300])
def test_unwritable_path_is_an_error_before_any_work_is_done(tmp_path, name):
    (tmp_path / "file").write_text("not a folder")
    path = tmp_path / name
    with pytest.raises(UserError, match=re.escape(str(path))), atomic_file.atomic_write(path):
        pytest.fail("the block was entered")


def test_deleting_the_temporary_file_keeps_the_old_one(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic_file.atomic_write(path) as temporary:
        temporary.unlink()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_an_error(tmp_path, number):
    path = tmp_path / "file.txt"
    path.write_text("old")
    message = re.escape(f"{path}: {os.strerror(number)}")
    with pytest.raises(UserError, match=message), atomic_file.atomic_write(path):
        raise OSError(number, "message of a library")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unrelated_os_error_is_not_converted(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file.atomic_write(tmp_path / "file.txt"):
        (tmp_path / "another.txt").read_text()


WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
from mien.io.atomic_file import atomic_write

with atomic_write(Path(sys.argv[1])) as temporary:
    print(temporary, flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(atomic_file.fcntl is None, reason="needs POSIX locks")
def test_only_the_temporary_files_of_killed_processes_are_removed(tmp_path):
    command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path / "a.csv")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    temporary = tmp_path / process.stdout.readline().strip()
    link, unrelated = tmp_path / ".mien-abcdefgh.link", tmp_path / ".mien-my-settings.toml"
    link.symlink_to(temporary)
    unrelated.write_text("")

    remove_abandoned = atomic_file.remove_abandoned.__wrapped__  # without the cache of folders
    remove_abandoned(tmp_path)
    assert temporary.exists()
    process.kill()
    process.communicate()
    assert temporary.exists()
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == [link, unrelated]


def test_resumable_output_in_a_missing_folder_is_an_error(tmp_path):
    path = tmp_path / "missing" / "faces.jsonl"
    with pytest.raises(UserError, match=re.escape(str(path))), open_resumable(path, resume=False):
        pass


@pytest.mark.skipif(partial_file.fcntl is None, reason="needs POSIX locks")
@pytest.mark.parametrize(("number", "is_error"), [(errno.ENOLCK, False), (errno.EAGAIN, True)])
def test_resumable_output_needs_no_locks_but_respects_them(tmp_path, monkeypatch, number, is_error):
    def flock(*_):
        raise OSError(number, os.strerror(number))  # without support of locks, or locked

    monkeypatch.setattr(partial_file.fcntl, "flock", flock)
    expected = pytest.raises(UserError, match="another run") if is_error else nullcontext()
    with expected, open_resumable(tmp_path / "faces.jsonl", resume=False):
        pass


@pytest.mark.skipif(atomic_file.fcntl is None, reason="needs POSIX locks")
def test_a_temporary_file_removed_before_it_was_locked_is_created_again(tmp_path, monkeypatch):
    lock, removed = atomic_file._lock, []

    def remove_before_first_lock(descriptor, temporary):
        if not removed:
            temporary.unlink()
            removed.append(temporary)
        return lock(descriptor, temporary)

    monkeypatch.setattr(atomic_file, "_lock", remove_before_first_lock)
    with atomic_file.atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert temporary not in removed
    assert (tmp_path / "a.txt").read_text() == "whole"
