"""Tables in terminals of any width."""

import pytest

from mien.labels import EMOTIONS
from mien.visualization import terminal


@pytest.fixture
def printed(monkeypatch, capsys):
    """A function that calls `print_function(*arguments)` and returns the printed lines.

    `width` is that of the terminal in columns; None if the output is no terminal.
    """

    def run(width, print_function, *arguments):
        monkeypatch.delenv("COLUMNS", raising=False)
        if width:
            monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(terminal, "out", terminal.Console(
            highlight=False, soft_wrap=True, markup=False, width=width))  # fmt: skip
        print_function(*arguments)
        return capsys.readouterr().out.splitlines()

    return run


def summary(face_id, on_screen=12.345, **shares):
    mean_shares = dict.fromkeys(EMOTIONS, 0.0) | shares
    return {"face_id": face_id, "first": 0.0, "last": 65.1, "on_screen": on_screen, "frames": 99,
            "changes": 12, "mean_shares": mean_shares}  # fmt: skip


FACES = [
    summary(0, surprise=0.57, disgust=0.33, neutral=0.1),
    summary(117, 0.0, happy=0.998, sad=0.002),
]


def test_a_summary_is_one_line_per_face(printed):
    title, header, first, second = printed(None, terminal.print_summaries, "a.mp4", FACES)
    assert title == "a.mp4: 2 faces"
    assert header.split("  ")[-1].strip() == "changes"
    assert "surprise 57 %, disgust 33 %, neutral 10 %" in first
    assert "0:00.0  1:05.1  12.3 s" in first
    assert " ".join(second.split()) == "117 0:00.0 1:05.1 under 0.1 s happy 100 % 12"


@pytest.mark.parametrize("width", [60, 79, 90])
def test_a_summary_fits_a_narrow_terminal(printed, width):
    lines = printed(width, terminal.print_summaries, "a.mp4", FACES)
    assert max(map(len, lines)) <= width
    for share in ("surprise 57 %", "disgust 33 %", "neutral 10 %", "happy 100 %"):
        assert any(share in line for line in lines)
    assert any("under 0.1 s" in line for line in lines)


def test_shares_that_round_to_zero_are_not_in_a_summary(printed):
    faces = [summary(0, happy=0.9899, sad=0.0051, fear=0.005)]
    *_, line = printed(None, terminal.print_summaries, "a.mp4", faces)
    assert "happy 99 %, sad 1 %  " in line
    assert "0 %" not in line


def test_a_table_that_is_too_wide_is_printed_cell_by_cell(printed):
    columns, row = [f"column {k}" for k in range(12)], [k / 10 for k in range(12)]
    title, *lines = printed(60, terminal.print_table, columns, [row, row], "title")
    assert title == "title"
    assert lines[:12] == [f"column {k}: {k / 10:.3f}" for k in range(12)]
    assert lines[12] == ""
    without_terminal = printed(None, terminal.print_table, columns, [row, row])
    assert len(without_terminal) == 3  # the header and two rows


def test_numbers_are_never_truncated(printed):
    rows = [("without near duplicates", 3500, "share calibration error", 0.0123, None)]
    for width in (40, 50, 60, 80):
        columns = ("section", "faces", "metric", "value", "low")
        text = "\n".join(printed(width, terminal.print_table, columns, rows))
        assert "3500" in text
        assert "0.012" in text
        assert "…" not in text
