"""The one loop from sources to writers."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import mien as package
from mien import pipeline
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
    return package.Analyzer(str(tiny_model), "whole")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two pictures, a text called one, a video of ten frames, another picture."""
    path = tmp_path_factory.mktemp("inputs")
    for name in ("a.png", "b.png", "z.png"):
        Image.new("RGB", (40, 30), "gray").save(path / name)
    (path / "c.png").write_text("text")
    pictures = clips.frames("one", tiny.samples(28), size=(96, 64), seconds=0.4)
    clip_files.encode(path / "d.mp4", pictures)
    return path


def names(results):
    return [f"{result.frame.source.rsplit('/')[-1]} {result.frame.number}" for result in results]


def ran(sources, analyzer, **words):
    """The results of a run, in their order, and the errors that it told."""
    results, errors = [], []
    callbacks = words.pop("callbacks", Callbacks(on_error=errors.append))
    pipeline.run(sources, analyzer, [results.append], callbacks=callbacks, **words)
    return results, [str(error) for error in errors]


def test_every_result_goes_to_every_writer_in_order(folder, analyzer):
    given = []
    writers = [lambda result, k=k: given.append((k, result.frame.source)) for k in range(2)]
    sources = Source.expand(f"{folder}/[ab].png")
    pipeline.run(sources, analyzer, writers)
    assert given == [(k, str(folder / name)) for name in ("a.png", "b.png") for k in range(2)]


def test_what_cannot_be_read_is_skipped_or_raised(folder, analyzer):
    sources = Source.expand(str(folder))
    results, errors = ran(sources, analyzer)
    video = [f"d.mp4 {k}" for k in range(10)]
    assert names(results) == ["a.png 0", "b.png 0", *video, "z.png 0"]
    (error,) = errors
    assert f"{folder / 'c.png'}: it is not an image" in error
    given = []
    with pytest.raises(UserError, match="not an image"):
        pipeline.run(sources, analyzer, [given.append])
    assert names(given) == ["a.png 0", "b.png 0"]


@pytest.mark.parametrize("two_pass", [False, True])
def test_the_options_reach_each_video(folder, analyzer, two_pass):
    options = Options(
        selection=FrameSelection(every=4, start=0.12), smoothing=0.0, two_pass=two_pass
    )
    results, _ = ran([Source.parse(str(folder / "d.mp4"))], analyzer, options=options)
    assert names(results) == ["d.mp4 3", "d.mp4 7"]
    for face in (face for result in results for face in result):
        assert face.smoothed == pytest.approx(face.emotions)


def test_a_frame_that_is_too_large_is_damage(folder, analyzer):
    told = []
    callbacks = Callbacks(on_warning=told.append)
    source = Source.parse(str(folder / "d.mp4"))
    results, _ = ran([source], analyzer, callbacks=callbacks, options=Options(max_pixels=1000))
    assert results == []
    assert "truncated" in str(told[0])


def test_what_is_done_is_not_done_again(folder, analyzer):
    done = Checkpoint({str(folder / "a.png"), str(folder / "d.mp4")})
    results, _ = ran(Source.expand(str(folder)), analyzer, checkpoint=done)
    assert names(results) == ["b.png 0", "z.png 0"]


def test_a_run_that_is_over_reads_no_further(folder, analyzer):
    source = Source.parse(str(folder / "d.mp4"))
    assert ran([source], analyzer, callbacks=Callbacks(should_stop=lambda: True))[0] == []


def test_the_same_video_named_twice_is_read_once_and_a_picture_twice(folder):
    errors = []
    inputs = [str(folder / "d.mp4"), str(folder / "a.png"), "no.png", str(folder)]
    found = pipeline.expand_sources(inputs, errors.append)
    assert [source.name.rsplit("/")[-1] for source in found] == [
        "d.mp4", "a.png", "a.png", "b.png", "c.png", "z.png"
    ]  # fmt: skip
    assert [str(error) for error in errors] == ["Cannot read no.png: file not found."]


@pytest.mark.parametrize(("kind", "ends"), [("stream", True), ("video", False)])
def test_ctrl_c_ends_only_what_is_live(analyzer, monkeypatch, kind, ends):
    pixels = np.zeros((9, 9, 3), np.uint8)

    def frames(source, *_, **__):
        yield Frame(pixels, source.name, 0, 0.0, kind=source.kind)
        raise KeyboardInterrupt

    monkeypatch.setattr("mien.io.reader.frames", frames)
    given = []
    if ends:
        pipeline.run([Source(kind, "x", "x")], analyzer, [given.append])
        assert len(given) == 1
    else:
        with pytest.raises(KeyboardInterrupt):
            pipeline.run([Source(kind, "x", "x")], analyzer, [given.append])


@pytest.mark.parametrize("looks", [True, False])
def test_a_progress_bar_passes_every_frame_on(folder, analyzer, monkeypatch, looks):
    stderr = io.StringIO()
    stderr.isatty = lambda: looks
    monkeypatch.setattr(sys, "stderr", stderr)
    shown = []

    class Bar:
        def __init__(self, title, total):
            shown.append((title, total))
            self.task_ids = [0]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, _, *, completed, description=""):
            shown[-1] = (*shown[-1][:2], completed)

    monkeypatch.setattr(_progress, "terminal", lambda: SimpleNamespace(progress=Bar))
    sources = Source.expand(str(folder))
    with _progress.ProgressBar(sources, FrameSelection()) as watch:
        results, _ = ran(
            sources, analyzer, callbacks=Callbacks(on_error=lambda _: None, track_progress=watch)
        )
    assert len(results) == 13
    wanted = [("analyzing", 4, 3), ("d.mp4", 1, 0), ("analyzing", 4, 4)]
    assert shown == (wanted if looks else [])
