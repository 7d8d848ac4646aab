"""`mien bench`."""

import json
from types import SimpleNamespace

import pytest

from mien.cli import _stages


def test_the_first_call_is_not_measured(monkeypatch):
    now = 0.0
    durations = iter([9.0, 5.0, 4.0, 3.0, 2.0, 1.0])  # seconds; the median of the first five is 4

    def work():
        nonlocal now
        now += next(durations)

    monkeypatch.setattr(_stages, "time", SimpleNamespace(perf_counter=lambda: now))
    assert _stages.median_milliseconds(work, seconds=0) == 3000
    assert list(durations) == []


def test_every_stage_is_measured(tiny_model):
    stages = _stages.measure(str(tiny_model), "whole", 1, (64, 48), seconds=0.01)
    assert [stage.name for stage in stages] == [
        "load model and detector", "detect (whole), 64 x 48", "estimate the roll of a face",
        "crop a face", "classify a face",
        f"classify {_stages.BATCH_SIZE} faces", "a frame with one face",
    ]  # fmt: skip
    assert all(stage.milliseconds > 0 for stage in stages)
    (batch,) = [stage for stage in stages if stage.count > 1]
    assert batch.per_second == pytest.approx(1000 * _stages.BATCH_SIZE / batch.milliseconds)


@pytest.fixture
def short_stages(monkeypatch):
    """Reduce the default of the argument `seconds`, which the command does not set."""
    monkeypatch.setattr(_stages.measure, "__defaults__", (0.01,))


@pytest.mark.usefixtures("short_stages")
def test_the_command_prints_a_table_or_a_record(mien, tiny_model):
    arguments = ("bench", "--model", tiny_model, "--detector", "whole", "--size", "64x48")
    code, out, _ = mien(*arguments)
    assert code == 0
    assert f"classify {_stages.BATCH_SIZE} faces" in out
    code, out, _ = mien(*arguments, "--json", "--threads", 1)
    record = json.loads(out)
    assert code == 0
    assert record["threads"] == 1
    assert record["milliseconds"]["classify a face"] > 0


@pytest.mark.parametrize("size", ["0x3", "640", "9999x9999", "axb", "-1x5"])
def test_an_invalid_size_is_an_error(mien, size):
    code, _, err = mien("bench", "--size", size)
    assert code == 2
    assert f"--size {size} " in err
