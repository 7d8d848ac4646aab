"""The pipeline from sources to writers."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mien import Analyzer, pipeline
from mien.cli import _progress
from mien.errors import UserError
from mien.io.source import Source
from mien.io.video import FrameSelection
from mien.pipeline import Callbacks, Options
from mien.results import Frame
from mien.tracking.checkpoint import Checkpoint
from tests.synthetic import clip_files, clips, tiny


@pytest.fixture(scope="module")
def analyzer(tiny_model):
    return Analyzer(str(tiny_model), "whole")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three images, a text file with the suffix of an image, and a video of ten frames.

    In the order of their names, the video comes before the last image.
    """
    path = tmp_path_factory.mktemp("inputs")
    for name in ("a.png", "b.png", "z.png"):
        Image.new("RGB", (40, 30), "gray").save(path / name)
    (path / "c.png").write_text("text")
    frames = clips.frames("one", tiny.samples(28), size=(96, 64), seconds=0.4)
    clip_files.encode(path / "d.mp4", frames)
    return path


def names(results):
    return [f"{result.frame.source.rsplit('/')[-1]} {result.frame.number}" for result in results]


def run(sources, analyzer, **arguments):
    """Return the results of a run in order, and its error messages."""
    results, errors = [], []
    callbacks = arguments.pop("callbacks", Callbacks(on_error=errors.append))
    pipeline.run(sources, analyzer, [results.append], callbacks=callbacks, **arguments)
    return results, [str(error) for error in errors]


def test_every_writer_gets_every_result_in_order(folder, analyzer):
    written = []
    writers = [lambda result, k=k: written.append((k, result.frame.source)) for k in range(2)]
    sources = Source.expand(f"{folder}/[ab].png")
    pipeline.run(sources, analyzer, writers)
    assert written == [(k, str(folder / name)) for name in ("a.png", "b.png") for k in range(2)]


def test_an_unreadable_source_is_passed_to_on_error_or_ends_the_run(folder, analyzer):
    sources = Source.expand(str(folder))
    results, errors = run(sources, analyzer)
    video = [f"d.mp4 {k}" for k in range(10)]
    assert names(results) == ["a.png 0", "b.png 0", *video, "z.png 0"]
    (error,) = errors
    assert str(folder / "c.png") in error
    results = []
    with pytest.raises(UserError, match=r"c\.png"):
        pipeline.run(sources, analyzer, [results.append])
    assert names(results) == ["a.png 0", "b.png 0"]


@pytest.mark.parametrize("two_pass", [False, True])
def test_options_apply_to_videos(folder, analyzer, two_pass):
    options = Options(
        selection=FrameSelection(every=4, start=0.12), smoothing=0.0, two_pass=two_pass
    )
    results, _ = run([Source.parse(str(folder / "d.mp4"))], analyzer, options=options)
    assert names(results) == ["d.mp4 3", "d.mp4 7"]  # at 0.12 s and 0.28 s
    for face in (face for result in results for face in result):
        assert face.smoothed == pytest.approx(face.emotions)


def test_frames_above_the_pixel_limit_count_as_damaged(folder, analyzer):
    errors = []
    callbacks = Callbacks(on_warning=errors.append)
    source = Source.parse(str(folder / "d.mp4"))
    results, _ = run([source], analyzer, callbacks=callbacks, options=Options(max_pixels=1000))
    assert results == []
    assert "d.mp4" in str(errors[0])


def test_finished_sources_are_not_analyzed_again(folder, analyzer):
    done = Checkpoint({str(folder / "a.png"), str(folder / "d.mp4")})
    results, _ = run(Source.expand(str(folder)), analyzer, checkpoint=done)
    assert names(results) == ["b.png 0", "z.png 0"]


def test_should_stop_ends_reading(folder, analyzer):
    source = Source.parse(str(folder / "d.mp4"))
    assert run([source], analyzer, callbacks=Callbacks(should_stop=lambda: True))[0] == []


def test_repeated_videos_are_read_once_and_images_twice(folder):
    errors = []
    inputs = [str(folder / "d.mp4"), str(folder / "a.png"), "no.png", str(folder)]
    sources = pipeline.expand_sources(inputs, errors.append)
    assert [source.name.rsplit("/")[-1] for source in sources] == [
        "d.mp4", "a.png", "a.png", "b.png", "c.png", "z.png"
    ]  # fmt: skip
    (error,) = errors
    assert "no.png" in str(error)


@pytest.mark.parametrize(("kind", "is_live"), [("stream", True), ("video", False)])
def test_ctrl_c_is_an_error_except_for_live_sources(analyzer, monkeypatch, kind, is_live):
    pixels = np.zeros((9, 9, 3), np.uint8)

    def frames(source, *_, **__):
        yield Frame(pixels, source.name, 0, 0.0, kind=source.kind)
        raise KeyboardInterrupt

    monkeypatch.setattr("mien.io.reader.frames", frames)
    results = []
    if is_live:
        pipeline.run([Source(kind, "x", "x")], analyzer, [results.append])
        assert len(results) == 1
    else:
        with pytest.raises(KeyboardInterrupt):
            pipeline.run([Source(kind, "x", "x")], analyzer, [results.append])


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_bars_are_shown_on_a_terminal_and_keep_all_frames(
    folder, analyzer, monkeypatch, is_terminal
):
    stderr = io.StringIO()
    stderr.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stderr", stderr)
    bars = []

    class Bar:
        def __init__(self, title, total):
            bars.append((title, total))
            self.task_ids = [0]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, _, *, completed, description=""):
            bars[-1] = (*bars[-1][:2], completed)

    monkeypatch.setattr(_progress, "terminal", lambda: SimpleNamespace(progress=Bar))
    sources = Source.expand(str(folder))
    with _progress.ProgressBar(sources, FrameSelection()) as progress:
        results, _ = run(
            sources, analyzer, callbacks=Callbacks(on_error=lambda _: None, track_progress=progress)
        )
    assert len(results) == 13
    # Title, total and completed. Images are counted, before and after the video; the bar of the
    # video counts whole seconds, with a total of at least 1.
    expected = [("analyzing", 4, 3), ("d.mp4", 1, 0), ("analyzing", 4, 4)]
    assert bars == (expected if is_terminal else [])
