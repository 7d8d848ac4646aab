"""Files appear whole or not at all."""

import errno
import os
import re
import stat

import pytest

from mien.errors import UserError
from mien.io import atomic_file


def half_and_then_fail(path):
    path.write_text("half")
    raise TypeError


def test_the_file_appears_at_the_end_and_not_before(tmp_path):
    path = tmp_path / "new" / "deep" / "file.txt"
    with atomic_file.atomic_write(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(TypeError), atomic_file.atomic_write(path) as temporary:
        half_and_then_fail(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_as_readable_as_any_other(tmp_path):
    old = os.umask(0o022)
    try:
        with atomic_file.atomic_write(tmp_path / "a") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_a_folder_in_the_way_is_said_so_and_kept(tmp_path):
    (tmp_path / "a").mkdir()
    with (
        pytest.raises(UserError, match="Is a directory"),
        atomic_file.atomic_write(tmp_path / "a") as temporary,
    ):
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", ["file/inside.txt", "x" * 300])
def test_a_place_that_cannot_be_is_said_in_a_sentence(tmp_path, name):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="Cannot write"), atomic_file.atomic_write(tmp_path / name):
        pass


def test_a_block_that_removes_the_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic_file.atomic_write(path) as temporary:
        temporary.unlink()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_in_a_sentence(tmp_path, number):
    path = tmp_path / "file.txt"
    path.write_text("old")
    said = f"Cannot write {path}: {os.strerror(number)}."
    with pytest.raises(UserError, match=re.escape(said)), atomic_file.atomic_write(path):
        raise OSError(number, "a library's own words")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_that_is_not_of_the_file_stays_a_bug(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file.atomic_write(tmp_path / "file.txt"):
        (tmp_path / "another.txt").read_text()
