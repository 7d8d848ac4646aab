"""How fast it is here."""

import json
import time

import pytest

from mien.cli import _stages


def test_a_median_is_of_many_and_leaves_the_first_out():
    times = iter([0.05, *[0.002] * 99])
    count = []

    def work():
        count.append(1)
        time.sleep(next(times))

    found = _stages.median(work, seconds=0.02)
    assert 2 <= found < 20
    assert len(count) >= 1 + _stages.FEWEST


def test_every_stage_is_timed_and_batches_count_their_faces(tiny_model):
    stages = _stages.measure(str(tiny_model), "whole", 1, (64, 48), seconds=0.01)
    assert [stage.name for stage in stages] == [
        "load model and detector", "detect (whole), 64 x 48", "estimate the roll of a face",
        "cut a face", "classify a face",
        f"classify {_stages.BATCH} faces", "a frame with one face",
    ]  # fmt: skip
    assert all(stage.milliseconds > 0 for stage in stages)
    many = stages[5]
    assert many.a_second == pytest.approx(1000 * _stages.BATCH / many.milliseconds)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(_stages.measure, "__defaults__", (0.01,))


@pytest.mark.usefixtures("quick")
def test_the_verb_prints_a_table_or_a_record(mien, tiny_model):
    words = ("bench", "--model", tiny_model, "--detector", "whole", "--size", "64x48")
    code, out, _ = mien(*words)
    assert code == 0
    assert "classify 32 faces" in out
    code, out, _ = mien(*words, "--json", "--threads", 1)
    found = json.loads(out)
    assert code == 0
    assert found["threads"] == 1
    assert found["milliseconds"]["classify a face"] > 0


@pytest.mark.parametrize("size", ["0x3", "640", "9999x9999", "axb", "-1x5"])
def test_a_size_that_is_none_gets_one_sentence(mien, size):
    code, _, err = mien("bench", "--size", size)
    assert code == 2
    assert "640x480" in err
