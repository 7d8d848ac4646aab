"""Writes the tables of README and docs from `results/`, between their begin and end marks.

python benchmarks/tables.py            # rewrite
python benchmarks/tables.py --check    # exit 1 if a table is not what its results say
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (
    "README.md", "docs/model-card.md", "docs/performance.md", "docs/python.md",
    "docs/reproduce-the-paper.md", "docs/results.md", "docs/serve.md", "docs/training.md",
    "docs/video.md",
)  # fmt: skip

BOARD = "docs/leaderboard"
"""The folder of the leaderboard's page, Markdown and HTML, with its figures."""


def result(name: str) -> dict:
    """A result file by name."""
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def markdown(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    header = list(header)
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def percent(number: dict) -> str:
    return f"{100 * number['value']:.1f} %"


def size(parameters: float) -> str:
    """A number of parameters in millions, or thousands if they are few."""
    few = parameters < 1e5
    return f"{parameters / 1e3:.1f} k" if few else f"{parameters / 1e6:.2f} M"


def within(number: dict, digits: int = 3, factor: float = 1.0) -> str:
    """A number with its interval."""
    value, low, high = (factor * number[key] for key in ("value", "low", "high"))
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


HEADS = {
    "default": ("default", "votes"),
    "default-labels": ("default", "labels"),
    "default-int8": ("default-int8", "votes"),
    "best": ("best", "votes"),
    "best-labels": ("best", "labels"),
}
"""The name of a packaged model -> the result that measured it, and the head."""


def sections_of(name: str) -> dict:
    """What was measured of a packaged model."""
    file, head = HEADS[name]
    return result(f"{file}-val")["heads"][head]


PEER = "@vladmandic/human 3.3.6"
"""The peer with the highest label accuracy on PublicTest."""


def headline() -> str:
    """The default model, the best model and the best peer, in four measures."""
    rows = []
    for name in ("default", "best"):
        labels = sections_of(f"{name}-labels")["fer2013"]["accuracy"]
        rows.append((f"**mien** `{name}`", percent(labels), *_of_raters(sections_of(name))))
    peer = result("peers")["peers"][PEER]
    rows.append((f"{PEER} (best peer)", percent(peer["fer2013"]["accuracy"]), *_of_raters(peer)))
    header = ("", "FER2013 label", "FER+ majority", "KL divergence", "top-label gap")
    return markdown(header, rows)


def _of_raters(sections: dict) -> tuple[str, str, str]:
    shares = sections["proportions"]
    return (
        percent(sections["ferplus_majority"]["accuracy"]),
        f"{shares['kl_nats']['value']:.2f}",
        f"{shares['top_label_gap']['value']:+.3f}",
    )


def peers() -> str:
    """The same measures of other tools."""
    rows = [
        (
            name,
            within(sections["fer2013"]["accuracy"], 1, 100),
            within(sections["fer2013"]["macro_f1"], 1, 100),
            within(sections["ferplus_majority"]["accuracy"], 1, 100),
            *(
                within(sections["proportions"][key])
                for key in ("kl_nats", "brier", "top_label_gap")
            ),
        )
        for name, sections in result("peers")["peers"].items()
    ]
    header = ("tool", "labels, %", "macro-F1, %", "FER+ A, %", "KL, nats", "Brier",
              "top-label gap")  # fmt: skip
    return markdown(header, rows)


def quality() -> str:
    """The packaged models on PublicTest."""
    rows = []
    for name in HEADS:
        sections = sections_of(name)
        shares = sections["proportions"]
        votes = not name.endswith("-labels")
        rows.append((
            f"`{name}`",
            *(percent(sections[part]["accuracy"])
              for part in ("fer2013", "fer2013_without_twins", "fer2013_without_near_twins")),
            percent(sections["ferplus_majority"]["accuracy"]) if votes else "",
            *(_proportions(shares) if votes else ("", "", "", "")),
        ))  # fmt: skip
    floor = sections_of("default")["proportions_by_chance"]
    rows.append((
        "sampling floor: perfect proportions, judged by as few votes", "", "", "", "",
        *_proportions(floor),
    ))  # fmt: skip
    header = ("model", "labels", "without copies", "without near copies", "FER+ A", "KL, nats",
              "Brier", "share error", "top-label gap")  # fmt: skip
    return markdown(header, rows)


def _proportions(shares: dict) -> tuple[str, ...]:
    return (
        f"{shares['kl_nats']['value']:.3f}",
        f"{shares['brier']['value']:.3f}",
        f"{shares['share_calibration_error']['value']:.4f}",
        f"{shares['top_label_gap']['value']:+.3f}",
    )


def seeds() -> str:
    """The same recipe from several seeds, both heads, before calibration, by views."""
    rows = []
    for path in sorted((ROOT / "results").glob("run-*.json")):
        found = json.loads(path.read_text())
        labels, votes = found["heads"]["labels"], found["heads"]["votes"]
        recipe = found["trained"]["recipe"]
        taught = f", taught by {len(recipe['teachers'])}" if recipe.get("teachers") else ""
        rows.append((
            f"`{found['what']}`: {recipe['model']}{taught}",
            recipe["epochs"],
            found["views"],
            within(labels["fer2013"]["accuracy"], 1, 100),
            within(labels["fer2013"]["macro_f1"], 1, 100),
            within(votes["ferplus_majority"]["accuracy"], 1, 100),
            within(votes["proportions"]["kl_nats"]),
            within(votes["proportions"]["share_calibration_error"], 4),
        ))  # fmt: skip
    header = ("run", "epochs", "views", "labels, %", "macro-F1, %", "FER+ A, %", "KL, nats",
              "share error")  # fmt: skip
    return markdown(header, rows)


def shipped() -> str:
    """Every number of the packaged models with its interval."""
    names = tuple(HEADS)
    tables: dict = {}
    for name in names:
        for section, numbers in sections_of(name).items():
            for measure, number in numbers.items():
                if isinstance(number, dict) and "value" in number:
                    row = tables.setdefault((section, numbers["faces"], measure), {})
                    row[name] = within(number, 4)
    rows = [
        (section.replace("_", " "), faces, measure.replace("_", " "), *map(row.get, names))
        for (section, faces, measure), row in tables.items()
    ]
    return markdown(("on", "faces", "measure", *names), rows)


def classes() -> str:
    """Recall, precision and F1 of each class: labels by default-labels, FER+ A by default."""
    rows = []
    for name, section in (("default-labels", "fer2013"), ("default", "ferplus_majority")):
        for label, scores in sections_of(name)[section]["per_class"].items():
            shown = (f"{scores[key]:.2f}" for key in ("precision", "recall", "specificity", "f1"))
            rows.append((f"{section.replace('_', ' ')}: {label}", *shown, int(scores["support"])))
    return markdown(("class", "precision", "recall", "specificity", "F1", "faces"), rows)


def _process(row: dict) -> str:
    return f"{row['seconds']:.2f} s, {row['peak_mb']:.0f} MB"


def cost() -> str:
    """Time, memory and size."""
    found, memory, light = result("speed"), result("memory"), result("compare")
    processes, stages = light["processes"], found["stages_ms"]
    importing = (
        processes["after: import mien"]["seconds"] - processes["after: python alone"]["seconds"]
    )
    ratios = [
        processes[f"after: {what}"]["seconds"] / processes[f"bare: {what}"]["seconds"]
        for what in ("1 picture", "50 pictures")
    ]
    shares = (
        f"{name} {ms:.1f} ms ({ms / sum(stages.values()):.0%})" for name, ms in stages.items()
    )
    resident = memory["resident_mb"]
    rows = [
        ("`import mien`", f"{importing:.3f} s"),
        ("light installation, all it needs included",
         f"{light['installed_mib']['after']:.0f} MiB"),
        ("`mien analyze photo.png`, cold", _process(processes["after: 1 picture"])),
        ("the same by a bare script of YuNet and ONNX Runtime",
         _process(processes["bare: 1 picture"])),
        ("ratio to that script, one picture and fifty", "{:.2f} and {:.2f}".format(*ratios)),
        ("one face of a 512 x 512 photo", ", ".join(shares)),
        *map(_rate, found["classifier"]),
        (f"memory while {memory['pictures']:,} pictures pass",
         f"{min(resident):.0f} to {max(resident):.0f} MB"),
    ]  # fmt: skip
    note = (
        f"\n\n{found['measured']['machine']}; medians. The share is of the multiply-adds a second "
        "that NumPy's float32 matrix product reaches on as many threads."
    )
    return markdown(("", ""), rows) + note


def _rate(row: dict) -> tuple[str, str]:
    """Faces a second of one model, as a row."""
    threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
    speed = f"{row['faces_a_second']:.0f} faces a second ({row['share_of_matmul']:.0%})"
    return f"`{row['model']}`, {threads}, batch {row['batch']}", speed


def compare() -> str:
    """What the detector inside the package and the absence of OpenCV changed."""
    found = result("compare")
    processes = found["processes"]

    def spent(who: str, what: str) -> str:
        seconds, bare = (processes[f"{one}: {what}"]["seconds"] for one in (who, "bare"))
        return f"{seconds:.2f} s" + ("" if who == "bare" else f" ({seconds / bare:.2f})")

    def imported(who: str) -> str:
        with_it, alone = (processes[f"{who}: {what}"] for what in ("import mien", "python alone"))
        return f"{with_it['seconds'] - alone['seconds']:.3f} s"

    def peak(who: str) -> str:
        return f"{processes[f'{who}: 1 picture']['peak_mb']:.0f} MB"

    both, three = ("before", "after"), ("before", "after", "bare")
    rows = [
        ("installed, without pip and setuptools",
         *(f"{found['installed_mib'][who]:.0f} MiB" for who in both), ""),
        ("`import mien`", *map(imported, both), ""),
        ("`mien analyze photo.png`, cold", *(spent(who, "1 picture") for who in three)),
        ("its peak memory", *map(peak, three)),
        ("50 pictures", *(spent(who, "50 pictures") for who in three)),
        *((f"detection, {size} x {size}, one thread",
           *(f"{found['detection_ms'][who][k]:.1f} ms" for who in both), "")
          for k, size in enumerate((640, 320))),
        ("`mien serve`, pictures a second to four clients",
         *(f"{found['pictures_a_second'][who]:.0f}" for who in both), ""),
    ]  # fmt: skip
    note = (
        f"\n\n{found['measured']['machine']}; medians, taken in turn; in brackets, relative to the "
        "bare script, `benchmarks/bare.py`."
    )
    return markdown(("", "before", "now", "bare script"), rows) + note


def pose() -> str:
    """Tilted heads: what is found and right, by YuNet alone and by mien."""
    found = result("pose")["scenes"]
    rows = [
        (
            f"{angle} degrees",
            *(f"{row[who]['recall']:.0%}" for who in ("before", "now")),
            *(f"{row[who]['right']:.0%}" for who in ("before", "now")),
            *(row[who]["false_boxes"] for who in ("before", "now")),
        )
        for angle, row in found["by_angle"].items()
    ]
    header = (f"{found['faces']} scenes, turned by", "found: YuNet", "mien",
              "found and right: YuNet", "mien", "false boxes: YuNet", "mien")  # fmt: skip
    return markdown(header, rows)


def alignment() -> str:
    """Tilted faces, cut as they are and aligned."""
    rows = [
        (f"{angle} degrees", f"{row['aligned']:.0%}",
         *(f"{100 * row[f'accuracy_{when}']:.1f} %" for when in ("before", "now")))
        for angle, row in result("pose")["alignment"].items()
    ]  # fmt: skip
    header = ("PublicTest faces, rotated by", "aligned", "labels: as they are", "aligned")
    return markdown(header, rows)


def yaw() -> str:
    """Accuracy by how far a head looks aside."""
    rows = [
        (span, row["faces"], f"{100 * row['accuracy']:.1f} %")
        for span, row in result("pose")["yaw"].items()
    ]
    return markdown(("sine of the yaw", "PublicTest faces", "labels"), rows)


def geometry() -> str:
    """What it gains to cut faces as FER2013 did."""
    found = result("geometry")
    rows = [
        (rule, row["faces"], f"{100 * row['accuracy']:.1f} %", f"{row['kl_nats']:.4f}",
         f"{row['share_calibration_error']:.4f}")
        for part in ("rows", "by_confidence")
        for rule, row in found["yunet"]["proved"][part].items()
    ]  # fmt: skip
    return markdown(("cut", "faces", "labels", "KL, nats", "share error"), rows)


def flags() -> str:
    """What becomes of the proportions when faces are small or blurred."""
    rows = [
        (name, f"{row['kl_nats']:.3f}", f"{row['share_calibration_error']:.4f}",
         f"{row['top_label_gap']:+.3f}", " / ".join(f"{v:.0f}" for v in row["sharpness"]))
        for name, row in result("flags")["rows"].items()
    ]  # fmt: skip
    header = (
        "PublicTest faces",
        "KL, nats",
        "share error",
        "top-label gap",
        "sharpness, 5 / 50 / 95 %",
    )
    return markdown(header, rows)


def tracking() -> str:
    """How well faces are followed in clips with known truth."""
    rows = [
        (
            name,
            f"{row['faces']:.0f}",
            row["switches"],
            f"{row['id_f1']:.3f}",
            f"{row['overlap']:.2f}",
            *(f"{row[f'changes_{kind}']:.2f}" for kind in ("true", "raw", "smoothed", "twice")),
            *(f"{row[f'right_{kind}']:.0%}" for kind in ("raw", "smoothed", "twice")),
        )
        for name, row in result("tracking")["rows"].items()
        if row["faces"]
    ]
    header = ("clip", "faces", "id switches", "IDF1", "overlap", "true changes", "raw", "smoothed",
              "twice", "right: raw", "smoothed", "twice")  # fmt: skip
    return markdown(header, rows)


def video() -> str:
    """How fast videos are read, and where the time of a frame goes."""
    found = result("video-speed")
    rows = [
        (name, f"{row['decode_fps']:.0f}", f"{row['analyze_fps']:.0f}",
         f"{row['share_of_decode']:.2f}", *(f"{ms:.1f}" for ms in row["stages_ms"].values()))
        for name, row in found["rows"].items()
    ]  # fmt: skip
    header = ("clip", "decoded a second", "analyzed a second", "ratio", "decode, ms", "detect",
              "classify", "draw", "encode")  # fmt: skip
    return f"{markdown(header, rows)}\n\n{found['measured']['machine']}."


def systems() -> str:
    """The paper's three systems: what it prints, and what they reach here in full and small."""
    from mien.lab import claims, reproduce

    rows = []
    for kind, name in ((kind, name) for kind in ("full", "slim") for name in reproduce.SYSTEMS):
        found, claim = result(f"{kind}-{name}"), claims.SYSTEMS[name].claimed
        whole, alone = (found["heads"]["labels"][key]
                        for key in ("fer2013", "fer2013_without_twins"))  # fmt: skip
        rows.append((
            f"`{found['trained']['recipe']['model']}`", f"`{found['protocol']}`",
            f"{100 * claim:.1f} %",
            f"{percent(whole['accuracy'])} ({100 * whole['accuracy']['low']:.1f} to "
            f"{100 * whole['accuracy']['high']:.1f})",
            percent(alone["accuracy"]), f"{100 * whole['macro_f1']['value']:.1f} %",
            f"{found['training']['accuracy']:.0%}", found["training"]["epochs"],
            f"{found['training']['seconds'] / 60:.1f}", "GPU" if kind == "full" else "CPU core",
            f"{found['network']['parameters'] / 1e6:.2f} M",
        ))  # fmt: skip
    header = ("network", "protocol", "printed", "measured", "without twins", "macro-F1",
              "right in training", "epochs", "minutes", "on a", "parameters")  # fmt: skip
    return markdown(header, rows)


def leaks() -> str:
    """The same network by sound and by broken protocols."""
    rows = []
    official = result("leak-honest")["heads"]["labels"]["fer2013"]["per_class"]
    mix = {name: scores["support"] for name, scores in official.items() if name != "disgust"}
    for name in ("honest", "honest-on", "oversampled", "oversampled-on", "oversampled-on2",
                 "augmented", "kfold"):  # fmt: skip
        found = result(f"leak-{name}")
        whole, alone = (found["heads"]["labels"].get(key, {"faces": 0})
                        for key in ("fer2013", "fer2013_without_twins"))  # fmt: skip
        seen = 1 - alone["faces"] / whole["faces"]
        # Of its last part, a network that is kept has been taught every face before.
        kept = found["protocol"] == "leaky-kfold"
        some = alone["faces"] >= 1000 and not kept
        weighed = sum(alone["per_class"][k]["recall"] * n for k, n in mix.items()) if some else 0
        rows.append((
            f"`{found['protocol']}`",
            found["training"]["epochs"] * found["trained"]["recipe"]["folds"] if kept
            else epochs_in_all(found),
            f"{found['training']['accuracy']:.0%}", f"{whole['faces']:,}",
            "100%" if kept else f"{seen:.0%}", percent(whole["accuracy"]),
            percent(alone["accuracy"]) if some else "",
            f"{100 * weighed / sum(mix.values()):.1f} %" if some else "",
        ))  # fmt: skip
    header = ("protocol", "epochs", "right in training", "faces that judge", "of them taught",
              "accuracy", "of those not taught", "in PublicTest's mix")  # fmt: skip
    return markdown(header, rows)


def epochs_in_all(found: dict) -> int:
    """Those of a training, and of the one that it went on from."""
    start = found["trained"]["recipe"]["start"]
    return found["training"]["epochs"] + (epochs_in_all(result(start)) if start else 0)


def crossval() -> str:
    """Folds of the hybrid: each face is judged once, by a network not taught it."""
    return "\n\n".join(
        f"{title}:\n\n{_folds(result(name))}"
        for title, name in (
            ("The full hybrid, 15 epochs a fold, four of the five folds", "crossval-hybrid"),
            ("The small hybrid, 4 epochs a fold", "crossval-hybrid-slim"),
        )
    )


def _folds(found: dict) -> str:
    rows: list[tuple[str, ...]] = [
        (name.replace("-", " "), *(f"{100 * fold[k]:.1f} %" for k in ("accuracy", "macro_f1")),
         f"{fold['log_loss']:.3f}")
        for name, fold in found["folds"].items()
    ]  # fmt: skip
    over = found["over_folds"]
    rows.append((
        "mean and sd over folds",
        *(f"{100 * over[k]['mean']:.1f} % ± {100 * over[k]['sd']:.1f}"
          for k in ("accuracy", "macro_f1")),
        f"{over['log_loss']['mean']:.3f} ± {over['log_loss']['sd']:.3f}",
    ))  # fmt: skip
    whole = found["all_held_out"]
    rows.append((
        f"all {whole['faces']:,} held-out answers",
        *(f"{percent(whole[k])} ({100 * whole[k]['low']:.1f} to {100 * whole[k]['high']:.1f})"
          for k in ("accuracy", "macro_f1")),
        f"{whole['log_loss']['value']:.3f}",
    ))  # fmt: skip
    return markdown(("fold", "accuracy", "macro-F1", "log loss"), rows)


def other_domains() -> str:
    """Recall of FER2013's labels on faces as they are, and as other sources have them."""
    before, now = (result(f"other-domains-{n}") for n in ("fourth-student", "fifth-averaged"))
    rows = [
        ("before, the vote head", _recalls(before["rows"][0])),
        ("before, 0.16 of the label head", _recalls(_at(before, 0.16))),
        ("`default`", _recalls(_at(now, 0.08))),
        ("`default-labels`", _recalls(now["label_head"])),
    ]
    header = ("", "angry", "mean over emotions", "changed: angry", "changed: mean", "KL, nats")
    return markdown(header, [(name, *cells) for name, cells in rows])


def _at(found: dict, share: float) -> dict:
    return next(row for row in found["rows"] if row["label_share"] == share)


def _recalls(row: dict) -> tuple[str, ...]:
    shown = [
        f"{100 * row[p][k]:.1f} %" for p in ("as_they_are", "changed") for k in ("angry", "macro")
    ]
    return (*shown, f"{row['kl_nats']:.4f}" if "kl_nats" in row else "")


def gpu_training() -> str:
    """How fast networks trained side by side on one GPU, and what became of them."""
    rows = []
    for one in sorted(result("gpu-training")["trainings"], key=lambda one: -one["multiply_adds"]):
        right = (one["labels"], one["ferplus"])
        rows.append((
            f"`{one['run']}`", f"`{one['network']}`", one["batch"],
            f"{one['faces_a_second']:,}", f"{one['seconds_an_epoch']:.1f}", one["epochs"],
            *(f"{100 * share:.1f} %" if share else "" for share in right),
        ))  # fmt: skip
    header = ("run", "network", "batch", "faces a second", "seconds an epoch", "epochs",
              "labels", "FER+ A")  # fmt: skip
    return markdown(header, rows)


def ablation() -> str:
    """The small hybrid without each of its parts, on the same faces."""
    found = result("ablation-hybrid-slim")
    rows = []
    for name, case in found["cases"].items():
        gain = case["against_as_it_is"]
        less = (f"{100 * gain['value']:+.1f} ({100 * gain['low']:+.1f} to "
                f"{100 * gain['high']:+.1f})")  # fmt: skip
        rows.append((
            name, f"{case['parameters'] / 1e6:.2f} M",
            f"{100 * case['over_seeds']['accuracy']['mean']:.1f} %",
            f"{100 * case['over_seeds']['macro_f1']['mean']:.1f} %",
            "" if name == "as it is" else less,
        ))  # fmt: skip
    header = ("hybrid", "parameters", "accuracy", "macro-F1", "points against as it is")
    return markdown(header, rows)


def load() -> str:
    """What the service bears, beside a bare loop on the same cores."""
    found = result("load")
    flood, after = found["overload"]["flood"], found["overload"]["after"]
    rows = [
        (f"{row['connections']} at once", f"{row['a_second']:.0f}",
         f"{row['share_of_bare']:.0%}", f"{row['p50_ms']:.0f}", f"{row['p99_ms']:.0f}", "")
        for row in found["rows"]
    ]  # fmt: skip
    for name, row in (
        (f"ten times too much: {flood['asked_a_second']:.0f} a second", flood),
        ("8 at once behind that", after),
    ):
        refused = row["statuses"].get("503", 0) / sum(row["statuses"].values())
        share = row["a_second"] / found["bare_a_second"]
        rows.append((
            name, f"{row['a_second']:.0f}", f"{share:.0%}", f"{row['p50_ms']:.0f}",
            f"{row['p99_ms']:.0f}", f"{refused:.0%}" if refused else "",
        ))  # fmt: skip
    header = ("", "answered a second", "of the bare loop", "p50, ms", "p99, ms", "told 503")
    memory = found["memory"]
    neither = sum(n for kind, n in flood["statuses"].items() if kind not in ("200", "503"))
    return (
        f"{markdown(header, rows)}\n\n{found['measured']['machine']}; the bare loop answers "
        f"{found['bare_a_second']:.0f} a second. Memory before and after {memory['requests']:,} "
        f"requests: {memory['before_mb']:.0f} and {memory['after_mb']:.0f} MB; at most "
        f"{flood['peak_mb']:.0f} MB under ten times too much, where {neither} of "
        f"{flood['asked']:,} met a closed connection instead. Wrong answers: "
        f"{memory['wrong'] + flood['wrong'] + sum(row['wrong'] for row in found['rows'])}."
    )


def canvases() -> str:
    """Faster R-CNN on pictures of several faces, where there is something to find, and on crops."""
    found = result("canvases")
    titles = {"canvases": "one to four faces in a photograph", "crops": "bare crops"}
    rows = [
        (titles[name], row["pictures"], row["faces"],
         *(f"{row[key]:.1%}" for key in ("face_ap", "emotion_map", "recall", "precision")),
         f"{row['accuracy']:.1%}")
        for name, row in found["rows"].items()
    ]  # fmt: skip
    header = ("pictures", "number", "faces", "AP of a face", "mAP of emotions", "recall",
              "precision", "emotion right, of faces found")  # fmt: skip
    return markdown(header, rows)


def explaining() -> str:
    """What an emotion loses when the fifth that `mien explain` names is blurred, and others."""
    found = result("explaining")
    rows = [(name, within(number, 1, 100)) for name, number in found["lost"].items()]
    return (
        f"{markdown(('blurred fifth', 'share lost, points'), rows)}\n\n"
        f"{found['faces']} faces of PublicTest drawn by seed {found['seed']}, `{found['model']}`, "
        f"95 % intervals over faces; {found['seconds_a_face']:.2f} s a face on one thread of "
        f"{found['measured']['machine']}."
    )


def leaderboard() -> str:
    """All systems judged alike, in short; the rest is docs/leaderboard/."""
    from mien.lab import leaderboard as board

    rows = board.read(ROOT / "results" / "leaderboard")
    lines = []
    for row in rows:
        accuracy = row.number("fer2013", "accuracy")
        claim = row.system.claimed
        lines.append((
            row.system.name, f"`{row.model}`", "" if claim is None else f"{100 * claim:.1f} %",
            f"{percent(accuracy)} ({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f})",
            percent(row.number("fer2013_without_twins", "accuracy")),
            percent(row.number("ferplus_majority", "accuracy")),
            size(row.mean("network", "parameters") or 0), row.times["times_default"],
        ))  # fmt: skip
    header = ("system", "network here", "claimed", "measured", "without twins", "FER+",
              "parameters", "time of a face, `default` = 1")  # fmt: skip
    return f"{markdown(header, lines)}\n\n{board.summary(rows)}"


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
        seeds,
        shipped,
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
        canvases,
        explaining,
        leaderboard,
    )
}


def is_board_stale(check: bool) -> bool:
    """Whether docs/leaderboard/ is not what the results say; written anew unless only asked."""
    from mien.lab import leaderboard as board
    from mien.lab import page

    made, folder = board.page(board.read(ROOT / "results" / "leaderboard")), ROOT / BOARD
    written = folder / "leaderboard.md"
    stale = not written.exists() or written.read_text() != page.markdown(made)
    if stale and not check:
        page.write(made, folder, "leaderboard")
    return stale


def filled(text: str) -> str:
    """A page with each of its tables made anew."""

    def table(match: re.Match) -> str:
        name = match[1]
        return f"<!-- begin: {name} -->\n{TABLES[name]()}\n<!-- end: {name} -->"

    return re.sub(r"<!-- begin: (\w+) -->\n.*?<!-- end: \1 -->", table, text, flags=re.S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = [BOARD] if is_board_stale(check) else []
    for name in PAGES:
        path = ROOT / name
        text = path.read_text()
        if (new := filled(text)) != text:
            stale.append(name)
            if not check:
                path.write_text(new)
    print(f"{'stale' if check else 'rewritten'}: {', '.join(stale) or 'none'}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
