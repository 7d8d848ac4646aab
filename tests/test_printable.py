"""Escaping of unprintable characters in the names of files, and where it is applied."""

import csv
import json
import os
import subprocess
import sys
import unicodedata
from contextlib import suppress

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import UserError
from mien.printable import ESCAPED_CATEGORIES, JOINERS, printable
from tests.io.video_files import write_video

TITLE = "\x1b]0;title\x07"
"""An escape sequence that changes the title of a terminal."""

NAMES = {
    f"a{TITLE}.png": "a\\x1b]0;title\\x07.png",
    "b\nmien: done.png": "b\\nmien: done.png",
    "c\u202egnp.exe.png": "c\\u202egnp.exe.png",
    "d\x9b31m.png": "d\\x9b31m.png",
    "e\udce9.png": "e\\udce9.png",
    "=cmd|' C'!A0.png": "=cmd|' C'!A0.png",
}
"""File names with control characters, a byte that is not UTF-8, or a formula -> printed name."""

STORED_SOURCES = {f"images/{name}".replace("\udce9", "\\udce9") for name in NAMES}
"""The names in records: unchanged, except for the byte that is not UTF-8."""


@pytest.mark.parametrize(("name", "expected"), NAMES.items())
def test_unprintable_characters_are_escaped(name, expected):
    assert printable(name) == expected
    assert str(UserError(f"Cannot read {name}.")) == f"Cannot read {expected}."


@pytest.mark.parametrize(
    "name",
    ["Zoë 漢字.jpg", "ideographic\u3000space", "می\u200cخواهم", "👩\u200d🚀", "a b"],
)
def test_printable_names_in_any_script_are_unchanged(name):
    assert printable(name) == name


@given(st.text(st.characters(codec=None)))
def test_escaped_text_is_one_printable_line(text):
    escaped = printable(text)
    assert {unicodedata.category(c) for c in set(escaped) - JOINERS}.isdisjoint(ESCAPED_CATEGORIES)
    assert len(escaped.splitlines()) <= 1
    assert printable(escaped) == escaped


@pytest.fixture
def folder(tmp_path, photo):
    """A folder `images` with a photograph under each name, and a text file with the suffix .jpg."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(photo.read_bytes())
        (folder / name.replace(".png", ".jpg")).write_text("not an image")
    return folder


def analyze(folder, tiny_model, *arguments):
    command = ("analyze", folder.name, "--model", tiny_model, "--detector", "whole", *arguments)
    process = subprocess.run([sys.executable, "-m", "mien", *map(str, command)], check=False,
                             capture_output=True, cwd=folder.parent)  # fmt: skip
    assert process.returncode == 2  # some files are not images
    return process.stdout.decode(), process.stderr.decode()


def test_messages_are_escaped_but_records_in_files_have_the_original_names(folder, tiny_model):
    outputs = [word for suffix in ("jsonl", "csv", "parquet") for word in ("--to", f"a.{suffix}")]
    out, err = analyze(folder, tiny_model, *outputs)
    assert all(line.isprintable() for line in (out + err).splitlines())
    assert len(err.splitlines()) == len(NAMES)  # one error for each text file
    out, _ = analyze(folder, tiny_model)
    assert all(line.isprintable() for line in out.splitlines())
    assert "images/a\\x1b]0;title\\x07.png" in out

    lines = (folder.parent / "a.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(line)["source"] for line in lines} == STORED_SOURCES
    assert set(pq.read_table(folder.parent / "a.parquet")["source"].to_pylist()) == STORED_SOURCES
    with open(folder.parent / "a.csv", encoding="utf-8-sig", newline="") as file:
        assert {row["source"] for row in csv.DictReader(file)} == STORED_SOURCES


def test_printed_records_are_escaped_and_parse_to_the_original_names(folder, tiny_model):
    out, _ = analyze(folder, tiny_model, "--json")
    assert all(line.isprintable() for line in out.splitlines())
    assert {json.loads(line)["source"] for line in out.splitlines()} == STORED_SOURCES


def test_two_names_that_are_not_utf8_remain_distinct(tmp_path, photo, tiny_model):
    folder = tmp_path / "images"
    folder.mkdir()
    for byte in (b"\xe8", b"\xe9"):
        with open(os.fsencode(folder) + b"/a" + byte + b".png", "wb") as file:
            file.write(photo.read_bytes())
    command = ("analyze", folder, "--model", tiny_model, "--detector", "whole", "--json")
    output = subprocess.check_output([sys.executable, "-m", "mien", *map(str, command)], text=True)
    assert len({json.loads(line)["source"] for line in output.splitlines()}) == 2


def read_to_end(terminal):
    """Read the output to a pseudo-terminal until all processes have closed it, and close it."""
    output = b""
    with open(terminal, "rb", buffering=0) as file, suppress(OSError):  # Linux ends with an error
        while data := file.read(4096):
            output += data
    return output


def test_the_name_of_a_video_is_escaped_on_a_terminal_and_in_a_page(
    astronaut, tiny_model, tmp_path
):
    video = tmp_path / f"a{TITLE}.mp4"
    write_video(video, [astronaut[:96, :96]] * 30)
    terminal, child_side = os.openpty()
    command = ("analyze", video, "--model", tiny_model, "--detector", "whole", "--to",
               tmp_path / "a.html")  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "mien", *map(str, command)],
                               stdout=child_side, stderr=child_side)  # fmt: skip
    os.close(child_side)
    output = read_to_end(terminal)
    assert process.wait() == 0
    assert b"a\\x1b]0;title\\x07.mp4" in output
    assert TITLE.encode() not in output
    page = (tmp_path / "a.html").read_text("utf-8")
    assert '"name":"a\\\\x1b]0;title\\\\x07.mp4"' in page
