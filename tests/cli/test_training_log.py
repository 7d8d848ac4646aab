"""Lines about the progress of a training, when standard error is not a terminal."""

import pytest

from mien.cli import _training_log
from mien.cli._training_log import TrainingLog
from mien.visualization.time_format import format_approximate_duration

ENTRY = {"epoch": 1, "loss": 1.23456, "accuracy": 0.6312, "val_majority_accuracy": 0.7}


@pytest.fixture
def clock(monkeypatch):
    """A fake clock: tests advance `time.monotonic` of the log through `clock[0]`, in seconds."""
    now = [0.0]
    monkeypatch.setattr(_training_log.time, "monotonic", lambda: now[0])
    return now


def train(log, clock, epochs=20, steps=10, seconds_per_step=3.0, first_epoch=0):
    """Report the epochs and steps of a training to `log`; by default, it takes ten minutes."""
    for epoch in range(first_epoch, epochs):
        log("epoch", epoch, epochs, ENTRY | {"epoch": epoch} if epoch else None)
        for step in range(steps):
            clock[0] += seconds_per_step
            log("step", step + 1, steps)


def test_a_line_per_minute_has_the_epoch_the_metrics_and_the_remaining_time(clock, capsys):
    train(TrainingLog("tiny"), clock)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) == 10
    assert lines[0] == (
        "tiny: epoch 2 of 20, loss 1.235, training accuracy 63.1 %, "
        "FER+ accuracy 70.0 %, 9 min left"
    )
    assert "epoch 10 of 20" in lines[4]
    assert lines[4].endswith(" 5 min left")
    assert lines[-1].endswith(" under a minute left")


def test_the_steps_of_a_first_epoch_of_many_minutes_are_printed(clock, capsys):
    train(TrainingLog("large"), clock, epochs=2, seconds_per_step=30.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "large: epoch 1 of 2, step 2 of 10, 9 min left"
    assert "step" not in lines[-1]


def test_a_short_training_prints_nothing(clock, capsys):
    train(TrainingLog("tiny"), clock, seconds_per_step=0.2)
    assert capsys.readouterr().err == ""


def test_the_remaining_time_of_a_resumed_run_is_extrapolated_from_the_epochs_since_resuming(
    clock, capsys
):
    train(TrainingLog("tiny"), clock, first_epoch=10)  # five minutes; the first line is after one
    assert capsys.readouterr().err.splitlines()[0].endswith(" 4 min left")


def test_the_remaining_time_is_at_most_the_time_limit(clock, capsys):
    train(TrainingLog("tiny", seconds=180), clock)  # all epochs would take ten minutes
    assert [line.rsplit(", ")[-1] for line in capsys.readouterr().err.splitlines()[:3]] == [
        "2 min left", "1 min left", "under a minute left",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "under a minute"), (29, "under a minute"), (31, "1 min"), (840, "14 min"),
     (7500, "2 h 5 min"), (float("inf"), "unknown time")],
)  # fmt: skip
def test_durations_are_approximate(seconds, expected):
    assert format_approximate_duration(seconds) == expected
