"""Time, memory and size of mien, and the speed of training.

In compare.json, "before" is mien with YuNet in OpenCV, "after" mien with YuNet in ONNX Runtime, and
"bare" is `benchmarks/bare.py`, a minimal script without mien.
"""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.published_tables.formats import markdown_table, percent, read_result

DETECTION_SIDES = (640, 320)
"""Side in pixels of the square image of each time in `detection_ms` of compare.json."""


def cost() -> str:
    """Time, memory and size of mien.

    From results/speed.json, memory.json and compare.json; in docs/performance.md.
    """
    speed, memory, comparison = (read_result(name) for name in ("speed", "memory", "compare"))
    processes = comparison["processes"]
    one_image, one_image_bare = processes["after: 1 image"], processes["bare: 1 image"]
    ratios = [
        processes[f"after: {count}"]["seconds"] / processes[f"bare: {count}"]["seconds"]
        for count in ("1 image", "50 images")
    ]
    resident_mb = memory["resident_mb"]
    machine = _common_machine(result["environment"] for result in (speed, memory, comparison))
    rows = [
        ("`import mien`", _import_time(processes, "after")),
        ("disk space of the base installation with its dependencies",
         f"{comparison['installed_mib']['after']:.0f} MiB"),
        ("`mien analyze photo.png`, a whole process", _time_and_memory(one_image)),
        ("the same image with the bare script (explained below)", _time_and_memory(one_image_bare)),
        ("time relative to the bare script, 1 and 50 images", "{:.2f} and {:.2f}".format(*ratios)),
        ("a 512 x 512 photo with one face", _stage_times(speed["stages_ms"])),
        *(_classifier_speed(row) for row in speed["classifier"]),
        (f"memory during {memory['images']:,} images",
         f"{min(resident_mb):.0f} to {max(resident_mb):.0f} MB"),
    ]  # fmt: skip
    note = (
        f"{machine}; times and speeds are medians. The percentage after faces per second is the "
        "network's multiply-adds per second, relative to those of NumPy's float32 matrix product "
        "with the same number of threads."
    )
    return f"{markdown_table(('', ''), rows)}\n\n{note}"


def _common_machine(environments: Iterable[dict]) -> str:
    """Return the machine of measurements that share a table; they must be of the same machine."""
    (machine,) = {environment["machine"] for environment in environments}
    return machine


def _import_time(processes: dict, version: str) -> str:
    """Time of `import mien` beyond the start of Python."""
    started, imported = processes[f"{version}: python alone"], processes[f"{version}: import mien"]
    return f"{imported['seconds'] - started['seconds']:.3f} s"


def _time_and_memory(process: dict) -> str:
    return f"{process['seconds']:.2f} s, {process['peak_mb']:.0f} MB"


def _stage_times(stages_ms: dict[str, float]) -> str:
    """Milliseconds and fraction of the total time of detection, cropping and classification."""
    total = sum(stages_ms.values())
    cells = []
    for stage, title in (("detect", "detect"), ("cut", "crop"), ("classify", "classify")):
        ms = stages_ms[stage]
        cells.append(f"{title} {ms:.1f} ms ({percent(ms / total)})")
    return ", ".join(cells)


def _classifier_speed(row: dict) -> tuple[str, str]:
    threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
    speed = f"{row['faces_per_second']:.0f} faces per second ({percent(row['share_of_matmul'])})"
    return f"classification, `{row['model']}`, {threads}, batch {row['batch']}", speed


def compare() -> str:
    """Cost before and after YuNet was moved from OpenCV to ONNX Runtime.

    From results/compare.json; in docs/performance.md.
    """
    result = read_result("compare")
    processes = result["processes"]
    rows = [
        ("disk space, without pip and setuptools",
         *(f"{result['installed_mib'][version]:.0f} MiB" for version in ("before", "after")), ""),
        ("`import mien`",
         *(_import_time(processes, version) for version in ("before", "after")), ""),
        ("`mien analyze photo.png`, a whole process", *_process_times(processes, "1 image")),
        ("peak memory of that process",
         *(f"{processes[f'{version}: 1 image']['peak_mb']:.0f} MB"
           for version in ("before", "after", "bare"))),
        ("`mien analyze` with 50 images, a whole process", *_process_times(processes, "50 images")),
        *((f"detection, {size} x {size}, one thread",
           *(f"{result['detection_ms'][version][k]:.1f} ms" for version in ("before", "after")), "")
          for k, size in enumerate(DETECTION_SIDES)),
        ("`mien serve`, images per second, four clients",
         *(f"{result['images_per_second'][version]:.0f}" for version in ("before", "after")), ""),
    ]  # fmt: skip
    machine = _common_machine((result["environment"], result["serve_environment"]))
    note = (
        f"{machine}. The numbers of processes and of `mien serve` are medians of runs in which the "
        "versions alternate; those of detection are medians of consecutive runs. In parentheses: "
        "time relative to the bare script."
    )
    return f"{markdown_table(('', 'before', 'after', 'bare script'), rows)}\n\n{note}"


def _process_times(processes: dict, images: str) -> list[str]:
    """Cells of three columns: time before and after, and time of the bare script."""
    before, after, bare = (
        processes[f"{version}: {images}"]["seconds"] for version in ("before", "after", "bare")
    )
    relative_to_bare = [f"{seconds:.2f} s ({seconds / bare:.2f})" for seconds in (before, after)]
    return [*relative_to_bare, f"{bare:.2f} s"]


def gpu_training() -> str:
    """Speed and accuracy of networks, several of which were trained at the same time on one GPU.

    A cell is empty if its number was not recorded, or if the network does not predict votes.

    From results/gpu-training.json; in docs/training.md.
    """
    header = ("run", "network", "batch", "faces per second", "seconds per epoch", "epochs",
              "FER2013 accuracy", "FER+ accuracy")  # fmt: skip
    sections = []
    for session in read_result("gpu-training")["sessions"]:
        rows = []
        for run in sorted(session["trainings"], key=lambda run: -run["multiply_adds"]):
            has_speed = bool(run["seconds_per_epoch"])
            rows.append((
                f"`{run['run']}`", f"`{run['network']}`", run["batch"],
                f"{run['faces_per_second']:,}" if has_speed else "",
                f"{run['seconds_per_epoch']:.1f}" if has_speed else "",
                run["epochs"],
                percent(run["fer2013_accuracy"], 1) if run["fer2013_accuracy"] else "",
                percent(run["ferplus_accuracy"], 1) if run["ferplus_accuracy"] else "",
            ))  # fmt: skip
        introduction = f"Commit {session['commit']}. {session['description']}"
        sections.append(f"{introduction}\n\n{markdown_table(header, rows)}")
    return "\n\n".join(sections)
