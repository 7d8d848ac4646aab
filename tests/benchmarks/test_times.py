"""benchmarks/times.py."""

import pytest

from benchmarks import times


def test_a_network_is_timed_relative_to_the_default(monkeypatch):
    monkeypatch.setattr(times, "REPEATS", 3)
    result = times.measure("resnet-8")
    assert set(result) == {"ms", "times_default", "megabytes"}
    # The network has a fiftieth of the multiply-adds of the default model. The limit is wide,
    # because the machine may be busy.
    assert 0 < result["times_default"] < 5
    assert result["megabytes"] == pytest.approx(0.36, abs=0.2)  # 80,000 parameters and the graph
