"""Measure the speed of video analysis relative to decoding, and memory during a long video.

    python benchmarks/video_speed.py --data fer2013/          # writes results/video-speed.json
    python benchmarks/video_speed.py --data fer2013/ --long   # results/video-memory.json and plot

The clips are H.264 with 360, 720 and 1080 lines and 1, 4 and 16 faces. Decoding includes the
conversion to RGB, which every analysis needs. The machine should be idle otherwise.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
from matplotlib.figure import Figure

from benchmarks.memory import resident_megabytes
from mien import Analyzer, writers
from mien.classification import model_spec
from mien.io import video
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.lab import figures, runs
from mien.results import Frame, Result
from mien.visualization.annotate import draw
from tests.synthetic import clip_files, clips

RESULTS = Path(__file__).parent.parent / "results"
SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080)}
FACES = {"one": 1, "four": 4, "sixteen": 16}
"""Scenario of `tests.synthetic.scenarios` -> number of faces."""

SECONDS, REPEATS = 8, 3
"""Duration of a clip, and number of measurements, of which the fastest counts."""

HOURS, LONG_FPS, MEMORY_MEASUREMENTS = 2.0, 10, 120
"""Duration and frames per second of the long video, and number of memory measurements."""

REPEATED_SECONDS = 60
"""Duration of the clip of which the long video is a repetition."""


def timed(work: Callable[[], object]) -> float:
    """Return the minimum duration of `REPEATS` calls of a function in seconds."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def count_items(items: Iterable) -> int:
    """Count the items of an iterator without storing them."""
    return sum(1 for _ in items)


def clip_row(analyzer: Analyzer, path: Path, count: int) -> dict:
    """Measure frames per second of analysis and of decoding, and the time of each stage.

    Args:
        analyzer: The analyzer.
        path: The clip.
        count: Number of faces in the clip.
    """
    decoding = timed(lambda: count_items(video.frames(Source.parse(str(path)))))
    analyzing = timed(lambda: count_items(analyzer.stream(path)))
    frames = count_items(video.frames(Source.parse(str(path))))
    sample = list(video.frames(Source.parse(str(path)), FrameSelection(every=8)))
    return {
        "faces": count,
        "frames": frames,
        "decode_fps": frames / decoding,
        "analyze_fps": frames / analyzing,
        "share_of_decode": decoding / analyzing,
        "stages_ms": stages(analyzer, sample, decoding / frames),
    }


def stages(analyzer: Analyzer, frames: list[Frame], decoding: float) -> dict[str, float]:
    """Measure milliseconds per frame of each stage, assuming detection in every third frame.

    Args:
        analyzer: The analyzer.
        frames: A sample of the frames of a video.
        decoding: Seconds of decoding per frame.
    """
    results = list(analyzer.session(detect_every=0).stream(frames))
    boxes = [face.box for result in results for face in result]
    spec, geometry = analyzer._classifier.spec, analyzer._detector.geometry

    def classify() -> None:
        for start in range(0, len(boxes), 32):
            # All crops are from one frame, because their contents do not affect the time.
            crops = [
                model_spec.crop(frames[0].pixels, geometry.square(box, spec.margin),
                              spec.side, spec.channels)
                for box in boxes[start : start + 32]
            ]  # fmt: skip
            analyzer._classifier(np.stack(crops))

    annotated = [draw(result.frame.pixels, result) for result in results]
    with tempfile.TemporaryDirectory() as folder:
        seconds = {
            "detect": timed(lambda: [analyzer._detector(frame.pixels) for frame in frames]) / 3,
            "classify": timed(classify),
            "draw": timed(lambda: [draw(result.frame.pixels, result) for result in results]),
            "encode": timed(lambda: encode(Path(folder) / "x.mp4", frames, annotated)),
        }
    milliseconds = {"decode": 1000 * decoding}
    for name, total in seconds.items():
        milliseconds[name] = 1000 * total / len(frames)
    return {name: round(value, 2) for name, value in milliseconds.items()}


def encode(path: Path, frames: list[Frame], annotated: list[np.ndarray]) -> None:
    """Encode images that are already annotated, as results without faces, at 25 frames/s."""
    with writers.open_writer(path) as write:
        for k, (frame, pixels) in enumerate(zip(frames, annotated, strict=True)):
            write(Result(Frame(pixels, frame.source, k, k / 25)))


def speed(data: Path) -> dict:
    """Measure the speed for each size and number of faces."""
    analyzer, cast, rows = Analyzer(), clips.load_faces(data), {}
    with tempfile.TemporaryDirectory() as folder:
        for size, pixels in SIZES.items():
            for scenario, count in FACES.items():
                path = Path(folder) / f"{size}-{scenario}.mp4"
                clip_files.encode(path, clips.frames(scenario, cast, size=pixels, seconds=SECONDS))
                name = f"{size}, 1 face" if count == 1 else f"{size}, {count} faces"
                rows[name] = clip_row(analyzer, path, count)
                print(name, rows[name], flush=True)
    return {"rows": rows, "seconds": SECONDS, "environment": runs.environment()}


def long_video(data: Path) -> dict:
    """Measure the resident memory during a video of two hours with 10 frames per second."""
    with tempfile.TemporaryDirectory() as folder:
        short, path = Path(folder) / "short.mp4", Path(folder) / "long.mp4"
        cast = clips.load_faces(data)
        scene = clips.frames(
            "crossing", cast, size=(320, 180), fps=LONG_FPS, seconds=REPEATED_SECONDS
        )
        clip_files.encode(short, scene, fps=LONG_FPS)
        frame_count = repeat_clip(short, path, round(HOURS * 3600 / REPEATED_SECONDS))
        memory, faces, frames, started = [], 0, 0, time.perf_counter()
        with writers.open_writer(Path(folder) / "faces.jsonl") as write:
            for result in Analyzer().stream(path):
                frames, faces = frames + 1, faces + len(result)
                write(result)
                if frames % (frame_count // MEMORY_MEASUREMENTS) == 0:
                    now = result.frame.seconds
                    memory.append([round(now, 1), round(resident_megabytes(), 1)])
                    print(f"{now:.0f} s: {memory[-1][1]} MB", flush=True)
        rate = frames / (time.perf_counter() - started)
    return {"hours": HOURS, "frames": frames, "faces": faces, "frames_per_second": rate,
            "resident_mb": memory, "environment": runs.environment()}  # fmt: skip


def plot(record: dict, path: Path) -> None:
    """Plot the resident memory against the time in the video."""
    figure = Figure((6.4, 2.6), layout="constrained")
    axes = figure.add_subplot()
    hours = [seconds / 3600 for seconds, _ in record["resident_mb"]]
    sizes = [size for _, size in record["resident_mb"]]
    axes.plot(hours, sizes, color=figures.BLUE, linewidth=2)
    axes.set(xlim=(0, record["hours"]), ylim=(0, 1.25 * max(sizes)))
    axes.set(xlabel="hours of the video", ylabel="memory, MB")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def repeat_clip(short: Path, path: Path, times: int) -> int:
    """Repeat a clip of `REPEATED_SECONDS` without re-encoding; return the number of frames."""
    count = 0
    with av.open(str(path), "w") as out:
        stream = None
        for k in range(times):
            with av.open(str(short)) as container:
                source = container.streams.video[0]
                stream = stream or out.add_stream_from_template(source)
                offset = round(k * REPEATED_SECONDS / source.time_base)
                for packet in container.demux(source):
                    if packet.dts is not None:
                        packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                        packet.stream = stream
                        out.mux(packet)
                        count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--long", action="store_true", help="measure the memory of a long video")
    args = parser.parse_args()
    if args.long:
        record = long_video(args.data)
        runs.write_json(RESULTS / "video-memory.json", record)
        plot(record, RESULTS.parent / "docs" / "video-memory.svg")
    else:
        runs.write_json(RESULTS / "video-speed.json", speed(args.data))


if __name__ == "__main__":
    main()
