"""How fast videos are read, against decoding alone, and whether memory stays flat over two hours.

    python benchmarks/video_speed.py --data fer2013/          # writes results/video-speed.json
    python benchmarks/video_speed.py --data fer2013/ --long   # ... video-memory.json, and its plot

Clips of 360, 720 and 1080 lines with 1, 4 and 16 faces, H.264. Decoding alone means to RGB, which
anything that looks at a frame needs. Nothing else should run on the machine.
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
from memory import resident

from mien import Analyzer, writers
from mien.classification import model_spec
from mien.io import video
from mien.io.source import Source
from mien.lab import figures, runs
from mien.results import Frame, Result
from mien.visualization.annotate import draw
from tests.synthetic import clip_files, clips

RESULTS = Path(__file__).parent.parent / "results"
SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080)}
FACES = {"one": 1, "four": 4, "sixteen": 16}
SECONDS, REPEATS = 8, 3
HOURS, LONG_RATE, POINTS = 2.0, 10, 120


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes, the best of a few times."""
    spent = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return min(spent)


def drained(found: Iterable) -> int:
    """How many there are, forgotten one by one."""
    return sum(1 for _ in found)


def clip_row(analyzer: Analyzer, path: Path, count: int) -> dict:
    """Frames a second of one clip, in all and alone decoded, and where the time goes."""
    decoding = timed(lambda: drained(video.frames(Source.parse(str(path)))))
    analyzing = timed(lambda: drained(analyzer.stream(path)))
    frames = drained(video.frames(Source.parse(str(path))))
    some = list(video.frames(Source.parse(str(path)), video.FrameSelection(every=8)))
    return {
        "faces": count,
        "frames": frames,
        "decode_fps": frames / decoding,
        "analyze_fps": frames / analyzing,
        "share_of_decode": decoding / analyzing,
        "stages_ms": stages(analyzer, some, decoding / frames),
    }


def stages(analyzer: Analyzer, frames: list[Frame], decoding: float) -> dict[str, float]:
    """Milliseconds a frame of each stage by itself; faces are looked for on every third frame."""
    found = list(analyzer.session(detect_every=0).stream(frames))
    boxes = [face.box for result in found for face in result]
    expects, geometry = analyzer._classifier.spec, analyzer._detector.geometry

    def classify() -> None:
        for start in range(0, len(boxes), 32):
            crops = [
                model_spec.crop(frames[0].pixels, geometry.square(box, expects.margin),
                              expects.side, expects.channels)
                for box in boxes[start : start + 32]
            ]  # fmt: skip
            analyzer._classifier(np.stack(crops))

    drawn = [draw(result.frame.pixels, result) for result in found]
    with tempfile.TemporaryDirectory() as folder:
        spent = {
            "detect": timed(lambda: [analyzer._detector(frame.pixels) for frame in frames]) / 3,
            "classify": timed(classify),
            "draw": timed(lambda: [draw(result.frame.pixels, result) for result in found]),
            "encode": timed(lambda: encode(Path(folder) / "x.mp4", frames, drawn)),
        }
    per_frame = {name: seconds / len(frames) for name, seconds in spent.items()}
    return {name: round(1000 * s, 2) for name, s in ({"decode": decoding} | per_frame).items()}


def encode(path: Path, frames: list[Frame], drawn: list[np.ndarray]) -> None:
    """Write pictures as the sink does, which would draw nothing on them again."""
    with writers.open_writer(path) as write:
        for k, (frame, pixels) in enumerate(zip(frames, drawn, strict=True)):
            write(Result(Frame(pixels, frame.source, k, k / 25)))


def speed(data: Path) -> dict:
    """A row for each size and number of faces."""
    analyzer, cast, rows = Analyzer(), clips.load_faces(data), {}
    with tempfile.TemporaryDirectory() as folder:
        for size, pixels in SIZES.items():
            for scenario, count in FACES.items():
                path = Path(folder) / f"{size}-{scenario}.mp4"
                clip_files.encode(path, clips.frames(scenario, cast, size=pixels, seconds=SECONDS))
                name = f"{size}, {count} face" + "s" * (count > 1)
                rows[name] = clip_row(analyzer, path, count)
                print(name, rows[name], flush=True)
    return {"rows": rows, "seconds": SECONDS, "environment": runs.about()}


def long(data: Path) -> dict:
    """Megabytes of this process while a video of two hours goes by, 10 frames a second."""
    with tempfile.TemporaryDirectory() as folder:
        short, path = Path(folder) / "short.mp4", Path(folder) / "long.mp4"
        cast = clips.load_faces(data)
        some = clips.frames("crossing", cast, size=(320, 180), fps=LONG_RATE, seconds=60)
        clip_files.encode(short, some, fps=LONG_RATE)
        length = repeated(short, path, round(HOURS * 60))
        sizes, faces, frames, began = [], 0, 0, time.perf_counter()
        with writers.open_writer(Path(folder) / "faces.jsonl") as write:
            for result in Analyzer().stream(path):
                frames, faces = frames + 1, faces + len(result)
                write(result)
                if frames % (length // POINTS) == 0:
                    now = result.frame.seconds
                    sizes.append([round(now, 1), round(resident(), 1)])
                    print(f"{now:.0f} s: {sizes[-1][1]} MB", flush=True)
        rate = frames / (time.perf_counter() - began)
    return {"hours": HOURS, "frames": frames, "faces": faces, "frames_per_second": rate,
            "resident_mb": sizes, "environment": runs.about()}  # fmt: skip


def plot(found: dict, path: Path) -> None:
    """Memory over the time of the video, as a picture."""
    figure = Figure((6.4, 2.6), layout="constrained")
    axes = figure.add_subplot()
    hours = [seconds / 3600 for seconds, _ in found["resident_mb"]]
    sizes = [size for _, size in found["resident_mb"]]
    axes.plot(hours, sizes, color=figures.BLUE, linewidth=2)
    axes.set(xlim=(0, found["hours"]), ylim=(0, 1.25 * max(sizes)))
    axes.set(xlabel="hours of the video", ylabel="memory, MB")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def repeated(short: Path, path: Path, times: int) -> int:
    """Write a clip so many times in a row, packet by packet; the number of frames."""
    count = 0
    with av.open(str(path), "w") as out:
        stream = None
        for k in range(times):
            with av.open(str(short)) as container:
                source = container.streams.video[0]
                stream = stream or out.add_stream_from_template(source)
                offset = round(k * 60 / source.time_base)
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
    parser.add_argument("--long", action="store_true")
    asked = parser.parse_args()
    if asked.long:
        found = long(asked.data)
        runs.write_json(RESULTS / "video-memory.json", found)
        plot(found, RESULTS.parent / "docs" / "video-memory.svg")
    else:
        runs.write_json(RESULTS / "video-speed.json", speed(asked.data))


if __name__ == "__main__":
    main()
