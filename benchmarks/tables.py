"""Generate the tables in README and docs from `results/`, each between a begin and an end comment.

python benchmarks/tables.py            # rewrite the tables
python benchmarks/tables.py --check    # exit 1 if a table is out of date
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (
    "README.md", "docs/model-card.md", "docs/performance.md", "docs/python.md",
    "docs/reproduce-the-paper.md", "docs/results.md", "docs/robustness.md", "docs/serve.md",
    "docs/training.md", "docs/video.md",
)  # fmt: skip

LEADERBOARD = "docs/leaderboard"
"""Folder of the leaderboard as Markdown and HTML, with figures."""


def result(name: str) -> dict:
    """Read a result file."""
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def markdown(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Format a Markdown table with all columns but the first aligned to the right."""
    header = list(header)
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def percent(score: dict) -> str:
    """Format a score between 0 and 1 as a percentage."""
    return f"{100 * score['value']:.1f} %"


def percent_interval(score: dict) -> str:
    """Format a score between 0 and 1 as a percentage with its interval."""
    return f"{percent(score)} ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def as_percent(value: float, digits: int = 0) -> str:
    """Format a number between 0 and 1 as a percentage."""
    return f"{100 * value:.{digits}f} %"


def parameter_count(parameters: float) -> str:
    """Format a number of parameters in millions or thousands."""
    is_small = parameters < 1e5
    return f"{parameters / 1e3:.1f} k" if is_small else f"{parameters / 1e6:.2f} M"


def with_interval(score: dict, digits: int = 3, factor: float = 1.0) -> str:
    """Format a score with its interval."""
    value, low, high = (factor * score[key] for key in ("value", "low", "high"))
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


MODEL_RESULTS = {
    "default": ("default", "votes"),
    "default-labels": ("default", "labels"),
    "default-int8": ("default-int8", "votes"),
    "small": ("small", "votes"),
    "small-labels": ("small", "labels"),
    "best": ("best", "votes"),
    "best-labels": ("best", "labels"),
}
"""Published model -> its result file and head."""


def model_scores(name: str) -> dict:
    """Return the sections of scores of a published model."""
    file, head = MODEL_RESULTS[name]
    return result(f"{file}-val")["heads"][head]


BEST_PEER = "@vladmandic/human 3.3.6"
"""The tool with the highest FER2013 accuracy on PublicTest."""

METRIC_TITLES = {
    "f1": "F1", "macro_f1": "macro-F1", "brier": "Brier score",
    "kl_nats": "KL divergence, nats", "js_bits": "JS divergence, bits",
}  # fmt: skip
"""Key of a metric -> its title, if it is not the key with spaces."""


def headline() -> str:
    """Main scores of the models `default` and `best`, and of the tool with the highest accuracy."""
    rows = []
    for name in ("default", "best"):
        labels = model_scores(f"{name}-labels")["fer2013"]["accuracy"]
        rows.append(
            (
                f"**mien** `{name}`, `{name}-labels`",
                percent(labels),
                *_vote_scores(model_scores(name)),
            )
        )
    peer = result("peers")["peers"][BEST_PEER]
    rows.append(
        (f"other tool: {BEST_PEER}", percent(peer["fer2013"]["accuracy"]), *_vote_scores(peer))
    )
    header = ("", "FER2013 accuracy", "FER+ accuracy", "KL divergence, nats", "top-label gap")
    return markdown(header, rows)


def _vote_scores(sections: dict) -> tuple[str, str, str]:
    shares = sections["proportions"]
    return (
        percent(sections["ferplus_majority"]["accuracy"]),
        f"{shares['kl_nats']['value']:.2f}",
        f"{shares['top_label_gap']['value']:+.3f}",
    )


def peers() -> str:
    """Scores of other tools on PublicTest."""
    rows = [
        (
            name,
            with_interval(sections["fer2013"]["accuracy"], 1, 100),
            with_interval(sections["fer2013"]["macro_f1"], 1, 100),
            with_interval(sections["ferplus_majority"]["accuracy"], 1, 100),
            *(
                with_interval(sections["proportions"][metric])
                for metric in ("kl_nats", "brier", "top_label_gap")
            ),
        )
        for name, sections in result("peers")["peers"].items()
    ]
    header = ("tool", "FER2013 accuracy, %", "macro-F1, %", "FER+ accuracy, %", "KL, nats", "Brier",
              "top-label gap")  # fmt: skip
    return markdown(header, rows)


def quality() -> str:
    """Scores of the packaged models on PublicTest."""
    rows = []
    for name in MODEL_RESULTS:
        sections = model_scores(name)
        shares = sections["proportions"]
        predicts_votes = not name.endswith("-labels")
        rows.append((
            f"`{name}`",
            *(percent(sections[section]["accuracy"])
              for section in ("fer2013", "fer2013_without_duplicates",
                            "fer2013_without_near_duplicates")),
            percent(sections["ferplus_majority"]["accuracy"]) if predicts_votes else "",
            *(_proportions(shares) if predicts_votes else ("", "", "", "")),
        ))  # fmt: skip
    floor = model_scores("default")["sampling_floor"]
    rows.append((
        "sampling floor of `default`", "", "", "", "",
        *_proportions(floor),
    ))  # fmt: skip
    header = ("model", "FER2013 accuracy", "without duplicates", "without near duplicates",
              "FER+ accuracy", "KL, nats", "Brier", "share calibration error",
              "top-label gap")  # fmt: skip
    return markdown(header, rows)


def _proportions(shares: dict) -> tuple[str, ...]:
    return (
        f"{shares['kl_nats']['value']:.3f}",
        f"{shares['brier']['value']:.3f}",
        f"{shares['share_calibration_error']['value']:.4f}",
        f"{shares['top_label_gap']['value']:+.3f}",
    )


def training_runs() -> str:
    """Scores of several runs by test-time augmentation, before calibration."""
    rows = []
    for path in sorted((ROOT / "results").glob("run-*.json")):
        data = json.loads(path.read_text())
        labels, votes = data["heads"]["labels"], data["heads"]["votes"]
        config = data["provenance"]["config"]
        teachers = len(config.get("teachers", ()))
        distilled = f", {teachers} teachers" if teachers else ""
        rows.append((
            f"`{data['name']}`: {config['model']}{distilled}",
            data["training"]["epochs"],
            data["tta"].replace("_", " "),
            with_interval(labels["fer2013"]["accuracy"], 1, 100),
            with_interval(labels["fer2013"]["macro_f1"], 1, 100),
            with_interval(votes["ferplus_majority"]["accuracy"], 1, 100),
            with_interval(votes["proportions"]["kl_nats"]),
            with_interval(votes["proportions"]["share_calibration_error"], 4),
        ))  # fmt: skip
    header = ("run", "epochs", "TTA", "FER2013 accuracy, %", "macro-F1, %", "FER+ accuracy, %",
              "KL, nats", "share calibration error")  # fmt: skip
    return markdown(header, rows)


def all_scores() -> str:
    """All scores of the published models with intervals."""
    names = tuple(MODEL_RESULTS)
    tables: dict = {}
    for name in names:
        for section, numbers in model_scores(name).items():
            for metric, number in numbers.items():
                if isinstance(number, dict) and "value" in number:
                    row = tables.setdefault((section, numbers["faces"], metric), {})
                    row[name] = with_interval(number, 4)
    rows = [
        (
            section.replace("_", " "),
            faces,
            METRIC_TITLES.get(metric, metric.replace("_", " ")),
            *map(row.get, names),
        )
        for (section, faces, metric), row in tables.items()
    ]
    return markdown(("section", "faces", "metric", *names), rows)


def classes() -> str:
    """Scores per class: FER2013 labels by `default-labels`, FER+ majority labels by `default`."""
    rows = []
    for name, section in (("default-labels", "fer2013"), ("default", "ferplus_majority")):
        for label, scores in model_scores(name)[section]["per_class"].items():
            cells = (f"{scores[key]:.2f}" for key in ("precision", "recall", "specificity", "f1"))
            rows.append((f"{section.replace('_', ' ')}: {label}", *cells, int(scores["support"])))
    return markdown(("class", "precision", "recall", "specificity", "F1", "faces"), rows)


def _process(row: dict) -> str:
    return f"{row['seconds']:.2f} s, {row['peak_mb']:.0f} MB"


def cost() -> str:
    """Time, memory and size of mien."""
    speed, memory, comparison = result("speed"), result("memory"), result("compare")
    processes, stages = comparison["processes"], speed["stages_ms"]
    import_seconds = (
        processes["after: import mien"]["seconds"] - processes["after: python alone"]["seconds"]
    )
    ratios = [
        processes[f"after: {count}"]["seconds"] / processes[f"bare: {count}"]["seconds"]
        for count in ("1 image", "50 images")
    ]
    stage_times = (
        f"{name.replace('cut', 'crop')} {ms:.1f} ms ({as_percent(ms / sum(stages.values()))})"
        for name, ms in stages.items()
    )
    resident = memory["resident_mb"]
    rows = [
        ("`import mien`", f"{import_seconds:.3f} s"),
        ("disk space of the base installation with its dependencies",
         f"{comparison['installed_mib']['after']:.0f} MiB"),
        ("`mien analyze photo.png`, a whole process", _process(processes["after: 1 image"])),
        ("the same image with the bare script", _process(processes["bare: 1 image"])),
        ("time relative to the bare script, 1 and 50 images", "{:.2f} and {:.2f}".format(*ratios)),
        ("a 512 x 512 photo with one face", ", ".join(stage_times)),
        *map(_rate, speed["classifier"]),
        (f"memory during {memory['images']:,} images",
         f"{min(resident):.0f} to {max(resident):.0f} MB"),
    ]  # fmt: skip
    note = (
        f"\n\n{speed['environment']['machine']}; medians. The percentage after faces per second is "
        "the network's multiply-adds per second, relative to those of NumPy's float32 matrix "
        "product with the same number of threads."
    )
    return markdown(("", ""), rows) + note


def _rate(row: dict) -> tuple[str, str]:
    """Return the row with the faces per second of one model."""
    threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
    rate = f"{row['faces_per_second']:.0f} faces per second ({as_percent(row['share_of_matmul'])})"
    return f"`{row['model']}`, {threads}, batch {row['batch']}", rate


def compare() -> str:
    """Cost before and after OpenCV was replaced by a packaged detector."""
    data = result("compare")
    processes = data["processes"]

    def time(version: str, count: str) -> str:
        seconds, bare = (processes[f"{name}: {count}"]["seconds"] for name in (version, "bare"))
        return f"{seconds:.2f} s" + ("" if version == "bare" else f" ({seconds / bare:.2f})")

    def import_time(version: str) -> str:
        mien, python = (processes[f"{version}: {run}"] for run in ("import mien", "python alone"))
        return f"{mien['seconds'] - python['seconds']:.3f} s"

    def peak_memory(version: str) -> str:
        return f"{processes[f'{version}: 1 image']['peak_mb']:.0f} MB"

    versions, with_bare = ("before", "after"), ("before", "after", "bare")
    rows = [
        ("disk space, without pip and setuptools",
         *(f"{data['installed_mib'][version]:.0f} MiB" for version in versions), ""),
        ("`import mien`", *map(import_time, versions), ""),
        ("`mien analyze photo.png`, a whole process",
         *(time(version, "1 image") for version in with_bare)),
        ("peak memory of that process", *map(peak_memory, with_bare)),
        ("`mien analyze` with 50 images, a whole process",
         *(time(version, "50 images") for version in with_bare)),
        *((f"detection, {size} x {size}, one thread",
           *(f"{data['detection_ms'][version][k]:.1f} ms" for version in versions), "")
          for k, size in enumerate((640, 320))),
        ("`mien serve`, images per second, four clients",
         *(f"{data['images_per_second'][version]:.0f}" for version in versions), ""),
    ]  # fmt: skip
    note = (
        f"\n\n{data['environment']['machine']}; medians of alternating runs. In parentheses: time "
        "relative to the bare script."
    )
    return markdown(("", "before", "after", "bare script"), rows) + note


def pose() -> str:
    """Recall, and fraction of all scenes with the correct emotion, by YuNet alone and by mien."""
    data = result("pose")["scenes"]
    rows = [
        (
            f"{angle} degrees",
            *(as_percent(row[system]["recall"]) for system in ("yunet_alone", "mien")),
            *(as_percent(row[system]["correct"]) for system in ("yunet_alone", "mien")),
            *(row[system]["false_boxes"] for system in ("yunet_alone", "mien")),
        )
        for angle, row in data["by_angle"].items()
    ]
    header = (f"{data['faces']} scenes, rotated by",
              *(f"{quantity}: {system}"
                for quantity in ("detected", "detected with the correct emotion", "false boxes")
                for system in ("YuNet", "mien")))  # fmt: skip
    return markdown(header, rows)


def alignment() -> str:
    """Accuracy on rotated faces without and with alignment."""
    rows = [
        (f"{angle} degrees", as_percent(row["aligned"]),
         *(f"{100 * row[f'accuracy_{crop}']:.1f} %" for crop in ("unaligned", "aligned")))
        for angle, row in result("pose")["alignment"].items()
    ]  # fmt: skip
    header = ("PublicTest faces, rotated by", "faces aligned", "accuracy without alignment",
              "accuracy with alignment")  # fmt: skip
    return markdown(header, rows)


def yaw() -> str:
    """Accuracy by yaw."""
    rows = [
        (span, row["faces"], f"{100 * row['accuracy']:.1f} %")
        for span, row in result("pose")["yaw"].items()
    ]
    return markdown(("sine of the yaw", "PublicTest faces", "FER2013 accuracy"), rows)


def geometry() -> str:
    """Accuracy by crop rule."""
    data = result("geometry")
    rows = [
        (rule, row["faces"], f"{100 * row['accuracy']:.1f} %", f"{row['kl_nats']:.4f}",
         f"{row['share_calibration_error']:.4f}")
        for part in ("rows", "by_confidence")
        for rule, row in data["yunet"]["evaluation"][part].items()
    ]  # fmt: skip
    return markdown(
        ("crop", "faces", "FER2013 accuracy", "KL, nats", "share calibration error"), rows
    )


def flags() -> str:
    """Errors of the shares for small or blurred faces."""
    rows = [
        (name, f"{row['kl_nats']:.3f}", f"{row['share_calibration_error']:.4f}",
         f"{row['top_label_gap']:+.3f}", " / ".join(f"{v:.0f}" for v in row["sharpness"]))
        for name, row in result("flags")["rows"].items()
    ]  # fmt: skip
    header = (
        "PublicTest faces",
        "KL, nats",
        "share calibration error",
        "top-label gap",
        "sharpness: 5, 50 and 95 % quantile",
    )
    return markdown(header, rows)


def tracking() -> str:
    """Scores of tracking on synthetic clips."""
    rows = [
        (
            name,
            f"{row['faces']:.0f}",
            row["id_switches"],
            f"{row['id_f1']:.3f}",
            f"{row['overlap']:.2f}",
            *(
                f"{row[f'changes_{kind}']:.2f}"
                for kind in ("true", "raw", "smoothed", "bidirectional")
            ),
            *(as_percent(row[f"accuracy_{kind}"]) for kind in ("raw", "smoothed", "bidirectional")),
        )
        for name, row in result("tracking")["rows"].items()
        if row["faces"]
    ]
    header = ("clip", "faces", "id switches", "IDF1", "IoU",
              *(f"changes: {kind}" for kind in ("true", "raw", "smoothed", "bidirectional")),
              *(f"accuracy: {kind}" for kind in ("raw", "smoothed", "bidirectional")))  # fmt: skip
    return markdown(header, rows)


def video() -> str:
    """Speed of video analysis, and the time of each stage."""
    data = result("video-speed")
    rows = [
        (name, f"{row['decode_fps']:.0f}", f"{row['analyze_fps']:.0f}",
         f"{row['share_of_decode']:.2f}", *(f"{ms:.1f}" for ms in row["stages_ms"].values()))
        for name, row in data["rows"].items()
    ]  # fmt: skip
    header = ("clip", "decoding, frames per second", "analysis, frames per second", "ratio",
              "decode, ms", "detect, ms", "classify, ms", "draw, ms", "encode, ms")  # fmt: skip
    return f"{markdown(header, rows)}\n\n{data['environment']['machine']}."


def systems() -> str:
    """Claimed and measured accuracy of the paper's three systems, for full and small networks."""
    from mien.lab import claims, reproduce

    rows = []
    for kind, name in product(("full", "slim"), reproduce.PAPER_SETTINGS):
        data, claimed = result(f"{kind}-{name}"), claims.SYSTEMS[name].claimed_accuracy
        full, unique = (data["heads"]["labels"][key]
                        for key in ("fer2013", "fer2013_without_duplicates"))  # fmt: skip
        rows.append((
            f"`{data['provenance']['config']['model']}`", f"`{data['protocol']}`",
            as_percent(claimed, 1), percent_interval(full["accuracy"]),
            percent(unique["accuracy"]), percent(full["macro_f1"]),
            as_percent(data["training"]["accuracy"]), data["training"]["epochs"],
            f"{data['training']['seconds'] / 60:.1f}", "GPU" if kind == "full" else "CPU core",
            f"{data['network']['parameters'] / 1e6:.2f} M",
        ))  # fmt: skip
    header = ("network", "protocol", "claimed", "measured", "without duplicates", "macro-F1",
              "training accuracy", "epochs", "minutes", "hardware", "parameters")  # fmt: skip
    return markdown(header, rows)


def leaks() -> str:
    """Accuracy of the same network with leaky protocols and without leakage."""
    rows = []
    official = result("leak-official")["heads"]["labels"]["fer2013"]["per_class"]
    # The evaluation faces without duplicates contain no disgust.
    class_sizes = {
        name: scores["support"] for name, scores in official.items() if name != "disgust"
    }
    for name in ("official", "official-continued", "oversampled", "oversampled-continued",
                 "oversampled-continued-2", "augmented", "kfold"):  # fmt: skip
        data = result(f"leak-{name}")
        full, unique = (data["heads"]["labels"].get(key, {"faces": 0})
                        for key in ("fer2013", "fer2013_without_duplicates"))  # fmt: skip
        # In leaky-kfold one network is trained on all folds, so it has seen every evaluation face.
        is_leaky_kfold = data["protocol"] == "leaky-kfold"
        leaked = 1.0 if is_leaky_kfold else 1 - unique["faces"] / full["faces"]
        has_enough_faces = unique["faces"] >= 1000 and not is_leaky_kfold
        recalls = unique["per_class"] if has_enough_faces else {}
        reweighted = sum(scores["recall"] * class_sizes.get(k, 0) for k, scores in recalls.items())
        rows.append((
            f"`{data['protocol']}`",
            data["training"]["epochs"] * data["provenance"]["config"]["folds"] if is_leaky_kfold
            else total_epochs(data),
            as_percent(data["training"]["accuracy"]), f"{full['faces']:,}",
            as_percent(leaked), percent(full["accuracy"]),
            percent(unique["accuracy"]) if has_enough_faces else "",
            as_percent(reweighted / sum(class_sizes.values()), 1) if has_enough_faces else "",
        ))  # fmt: skip
    header = ("protocol", "epochs", "training accuracy", "evaluation faces",
              "of which in the training set", "accuracy", "accuracy without duplicates",
              "the same, with PublicTest's class frequencies")  # fmt: skip
    return markdown(header, rows)


def total_epochs(data: dict) -> int:
    """Count the epochs of a training and of the runs that it was initialized from."""
    initial_run = data["provenance"]["config"]["init_from"]
    return data["training"]["epochs"] + (total_epochs(result(initial_run)) if initial_run else 0)


def crossval() -> str:
    """Scores of the cross-validated hybrid."""
    return "\n\n".join(
        f"{title}:\n\n{_folds(result(name))}"
        for title, name in (
            ("The full hybrid, 15 epochs per fold, four of the five folds", "crossval-hybrid"),
            ("The small hybrid, 4 epochs per fold", "crossval-hybrid-slim"),
        )
    )


def _folds(data: dict) -> str:
    rows: list[tuple[str, ...]] = [
        (name.replace("-", " "), *(f"{100 * fold[k]:.1f} %" for k in ("accuracy", "macro_f1")),
         f"{fold['log_loss']:.3f}")
        for name, fold in data["folds"].items()
    ]  # fmt: skip
    statistics = data["fold_statistics"]
    rows.append((
        "mean ± sd over folds",
        *(f"{100 * statistics[k]['mean']:.1f} % ± {100 * statistics[k]['sd']:.1f}"
          for k in ("accuracy", "macro_f1")),
        f"{statistics['log_loss']['mean']:.3f} ± {statistics['log_loss']['sd']:.3f}",
    ))  # fmt: skip
    pooled = data["pooled"]
    rows.append((
        f"all {pooled['faces']:,} held-out predictions",
        *(percent_interval(pooled[k]) for k in ("accuracy", "macro_f1")),
        f"{pooled['log_loss']['value']:.3f}",
    ))  # fmt: skip
    return markdown(("fold", "accuracy", "macro-F1", "log loss"), rows)


def other_domains() -> str:
    """Recall for FER2013's labels on original and on randomized faces."""
    previous, current = (
        result(f"other-domains-{n}") for n in ("fourth-student", "seventh-student")
    )
    rows = [
        ("`fourth-student`, vote head", _recalls(previous["rows"][0])),
        (
            "`fourth-student`, label-head weight 0.16",
            _recalls(_with_label_head_weight(previous, 0.16)),
        ),
        ("`default`", _recalls(_with_label_head_weight(current, 0.12))),
        ("`default-labels`, before calibration", _recalls(current["label_head"])),
    ]
    header = ("", "recall of angry", "mean recall", "recall of angry, randomized faces",
              "mean recall, randomized faces", "KL, nats")  # fmt: skip
    return markdown(header, [(name, *cells) for name, cells in rows])


def _with_label_head_weight(data: dict, label_head_weight: float) -> dict:
    return next(row for row in data["rows"] if row["label_head_weight"] == label_head_weight)


def _recalls(row: dict) -> tuple[str, ...]:
    recalls = [
        as_percent(row[faces][k], 1)
        for faces in ("original", "randomized")
        for k in ("angry", "macro")
    ]
    return (*recalls, f"{row['kl_nats']:.4f}" if "kl_nats" in row else "")


def gpu_training() -> str:
    """Speed and accuracy of networks that were trained at the same time on one GPU."""
    header = ("run", "network", "batch", "faces per second", "seconds per epoch", "epochs",
              "FER2013 accuracy", "FER+ accuracy")  # fmt: skip
    sections = []
    for session in result("gpu-training")["sessions"]:
        rows = []
        trainings = session["trainings"]
        for training in sorted(trainings, key=lambda training: -training["multiply_adds"]):
            seconds = training["seconds_per_epoch"]
            speed = (f"{training['faces_per_second']:,}", f"{seconds:.1f}") if seconds else ("", "")
            accuracies = (training["fer2013_accuracy"], training["ferplus_accuracy"])
            rows.append((
                f"`{training['run']}`", f"`{training['network']}`", training["batch"], *speed,
                training["epochs"],
                *(as_percent(accuracy, 1) if accuracy else "" for accuracy in accuracies),
            ))  # fmt: skip
        text = f"Commit {session['commit']}. {session['description']}"
        sections.append(f"{text}\n\n{markdown(header, rows)}")
    return "\n\n".join(sections)


def ablation() -> str:
    """Accuracy of the small hybrid without one of its parts at a time."""
    data = result("ablation-hybrid-slim")
    rows = []
    for name, case in data["cases"].items():
        gain = case["difference_to_baseline"]
        points = (f"{100 * gain['value']:+.1f} ({100 * gain['low']:+.1f} to "
                  f"{100 * gain['high']:+.1f})")  # fmt: skip
        rows.append((
            name, f"{case['parameters'] / 1e6:.2f} M",
            f"{100 * case['seed_statistics']['accuracy']['mean']:.1f} %",
            f"{100 * case['seed_statistics']['macro_f1']['mean']:.1f} %",
            "" if name == "baseline" else points,
        ))  # fmt: skip
    header = ("hybrid", "parameters", "accuracy", "macro-F1",
              "difference from baseline, percentage points")  # fmt: skip
    return markdown(header, rows)


def load() -> str:
    """Throughput of the server under load, relative to a baseline without a server."""
    data = result("load")
    memory, overload = data["memory"], data["overload"]["under_overload"]
    baseline = data["baseline_per_second"]
    rows = [
        (f"connections: {row['connections']}", f"{row['responses_per_second']:.0f}",
         as_percent(row["fraction_of_baseline"]), f"{row['p50_ms']:.0f}", f"{row['p99_ms']:.0f}",
         "")
        for row in data["rows"]
    ]  # fmt: skip
    for name, row in (
        (f"overload: {overload['target_requests_per_second']:.0f} requests per second", overload),
        ("connections after the overload: 8", data["overload"]["after_overload"]),
    ):
        rejected = row["statuses"].get("503", 0) / sum(row["statuses"].values())
        rows.append((
            name, f"{row['responses_per_second']:.0f}",
            as_percent(row["responses_per_second"] / baseline), f"{row['p50_ms']:.0f}",
            f"{row['p99_ms']:.0f}", as_percent(rejected) if rejected else "",
        ))  # fmt: skip
    header = ("", "responses per second", "relative to the baseline", "p50, ms", "p99, ms",
              "rejected with 503")  # fmt: skip
    wrong = sum(row["wrong_responses"] for row in (memory, overload, *data["rows"]))
    statuses = overload["statuses"]
    failed = sum(count for status, count in statuses.items() if status not in ("200", "503"))
    return (
        f"{markdown(header, rows)}\n\n{data['environment']['machine']}; the baseline reaches "
        f"{baseline:.0f} images per second. Memory: {memory['before_mb']:.0f} MB "
        f"before and {memory['after_mb']:.0f} MB after {memory['requests']:,} requests, at most "
        f"{overload['peak_mb']:.0f} MB under overload. Under overload, {failed} of "
        f"{sum(statuses.values()):,} requests failed with a closed connection. "
        f"Wrong responses: {wrong}."
    )


def canvases() -> str:
    """Scores of Faster R-CNN on composed images with several faces, and on crops."""
    data = result("canvases")
    titles = {"canvases": "one to four faces in a photograph", "crops": "FER2013 crops"}
    rows = [
        (titles[name], row["images"], row["faces"],
         *(as_percent(row[key], 1)
           for key in ("face_ap", "emotion_map", "recall", "precision", "accuracy")))
        for name, row in data["rows"].items()
    ]  # fmt: skip
    header = ("kind", "images", "faces", "face AP", "emotion mAP", "recall", "precision",
              "emotion accuracy, detected faces")  # fmt: skip
    return markdown(header, rows)


def explaining() -> str:
    """Reduction of the dominant emotion's share when one fifth of the face is blurred."""
    data = result("explaining")
    rows = [(name, with_interval(number, 1, 100)) for name, number in data["share_lost"].items()]
    return (
        f"{markdown(('blurred fifth', 'reduction of the share, percentage points'), rows)}\n\n"
        f"{data['faces']} faces of PublicTest, sampled with seed {data['seed']}, "
        f"`{data['model']}`, 95 % intervals over faces; {data['seconds_per_face']:.2f} s per "
        f"face on one thread of {data['environment']['machine']}."
    )


def leaderboard() -> str:
    """The main columns of the leaderboard; docs/leaderboard/ has all columns."""
    from mien.lab import leaderboard as board

    rows = board.read_rows(ROOT / "results" / "leaderboard")
    lines = []
    for row in rows:
        accuracy = row.metric("fer2013", "accuracy")
        claimed = row.system.claimed_accuracy
        lines.append((
            row.system.name, f"`{row.model}`", "" if claimed is None else as_percent(claimed, 1),
            percent_interval(accuracy),
            percent(row.metric("fer2013_without_duplicates", "accuracy")),
            percent(row.metric("ferplus_majority", "accuracy")),
            parameter_count(row.mean("network", "parameters") or 0),
            row.times["times_default"],
        ))  # fmt: skip
    header = ("system", "mien's implementation", "claimed", "measured", "without duplicates",
              "FER+", "parameters", "time per face, `default` = 1")  # fmt: skip
    return f"{markdown(header, lines)}\n\n{board.summary(rows)}"


def second_panel() -> str:
    """Agreement between the raters of the two faces of a near-duplicate pair."""
    rows = [
        (
            f"above {row['min_correlation']}",
            row["pairs"],
            *(as_percent(row[name]["value"], 1) for name in (
                "largest_share", "other_panel_share_of_dominant_emotion")),
            percent_interval(row["same_dominant_emotion"]),
            *(f"{row[name]['value']:.3f} ({row[name]['low']:.3f} to {row[name]['high']:.3f})"
              for name in ("brier_of_one_panel", "brier_from_sampling")),
        )
        for row in result("votes")["near_duplicates"]
    ]  # fmt: skip
    header = ("correlation", "pairs", "largest share", "the other panel's share of that emotion",
              "same dominant emotion", "half the squared difference of the shares",
              "expected from sampling ten votes")  # fmt: skip
    return markdown(header, rows)


def floods() -> str:
    """Time of `/healthz` while eight connections flood the server."""
    rows = [
        (row["flood"], row["healthz_p50_ms"], row["healthz_p99_ms"], row["memory_mb"])
        for row in result("floods")["rows"]
    ]
    header = ("flood", "`/healthz` p50, ms", "p99, ms", "peak memory, MB")
    return markdown(header, [(name, *(f"{value:.0f}" for value in row)) for name, *row in rows])


def server_memory() -> str:
    """Peak memory of the server while several clients send large requests."""
    rows = [
        (
            f"{row['requests']}, {row['cores']} cores",
            *(f"{row[key]:.0f}" for key in ("peak_mb", "after_rest_mb", "healthz_p99_ms")),
        )
        for row in result("server-memory")["rows"]
    ]
    header = ("requests", "peak memory, MB", "afterwards, MB", "`/healthz` p99, ms")
    return markdown(header, rows)


def attacks() -> str:
    """Number of damaged files and interrupted runs, and of failures."""
    media = result("mutated-media")["counts"]
    model_files, signals = result("model-files")["rows"], result("signals")
    rows = [
        (f"mutated {kind}s", f"{media[kind]['files']:,}",
         sum(media[kind][failure] for failure in ("traceback", "hang", "crash")))
        for kind in ("video", "image")
    ]  # fmt: skip
    outcomes = [row["outcomes"] for row in model_files]
    rows.append((
        "mutated model files, TOML files and run folders",
        f"{sum(row['count'] for row in model_files):,}",
        sum(
            count
            for row in outcomes
            for outcome, count in row.items()
            if outcome not in ("result", "error message")
        ),
    ))  # fmt: skip
    rows.append((
        "analyses ended at a random time (Ctrl-C, SIGTERM, SIGHUP, `kill -9`) and resumed",
        f"{signals['signals']:,}", sum(signals["problems"].values()),
    ))  # fmt: skip
    return markdown(("attack", "cases", "tracebacks, hangs, crashes, wrong records"), rows)


TABLES: dict[str, Callable[[], str]] = {
    f.__name__: f
    for f in (
        headline,
        peers,
        quality,
        cost,
        compare,
        pose,
        yaw,
        alignment,
        geometry,
        flags,
        training_runs,
        all_scores,
        classes,
        tracking,
        video,
        systems,
        leaks,
        crossval,
        gpu_training,
        other_domains,
        ablation,
        load,
        floods,
        server_memory,
        attacks,
        canvases,
        explaining,
        second_panel,
        leaderboard,
    )
}


def update_leaderboard(check: bool) -> bool:
    """Return whether docs/leaderboard/ is out of date; rewrite it unless `check` is set."""
    from mien.lab import leaderboard as board
    from mien.lab import page

    content, folder = (
        board.build_page(board.read_rows(ROOT / "results" / "leaderboard")),
        ROOT / LEADERBOARD,
    )
    path = folder / "leaderboard.md"
    stale = not path.exists() or path.read_text() != page.markdown(content)
    if stale and not check:
        page.write(content, folder, "leaderboard")
    return stale


def regenerate_tables(text: str) -> str:
    """Return the text of a page with all tables generated again."""

    def table(match: re.Match) -> str:
        name = match[1]
        return f"<!-- begin: {name} -->\n{TABLES[name]()}\n<!-- end: {name} -->"

    return re.sub(r"<!-- begin: (\w+) -->\n.*?<!-- end: \1 -->", table, text, flags=re.S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only check, without writing")
    check = parser.parse_args().check
    stale = [LEADERBOARD] if update_leaderboard(check) else []
    for name in PAGES:
        path = ROOT / name
        text = path.read_text()
        if (regenerated := regenerate_tables(text)) != text:
            stale.append(name)
            if not check:
                path.write_text(regenerated)
    print(f"{'out of date' if check else 'rewritten'}: {', '.join(stale) or 'none'}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
