"""Benchmark of times per network."""

import pytest

from benchmarks import times


def test_a_network_is_timed_beside_the_default(monkeypatch):
    monkeypatch.setattr(times, "ROUNDS", 3)
    found = times.measure("resnet-8")
    assert set(found) == {"ms", "times_default", "megabytes"}
    assert 0 < found["times_default"] < 5
    assert found["megabytes"] == pytest.approx(0.36, abs=0.2)
