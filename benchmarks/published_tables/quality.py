"""Quality of the packaged models, of training runs and of other tools on PublicTest."""

from __future__ import annotations

import json

from benchmarks.published_tables.formats import (
    RESULTS,
    markdown_table,
    percent,
    percent_with_interval,
    read_result,
    with_interval,
)

HEAD_BY_MODEL = {
    "default": ("default", "votes"),
    "default-labels": ("default", "labels"),
    "default-int8": ("default-int8", "votes"),
    "small": ("small", "votes"),
    "small-labels": ("small", "labels"),
    "best": ("best", "votes"),
    "best-labels": ("best", "labels"),
}
"""Packaged model -> NAME of its result file `NAME-val.json`, and its head."""

BEST_OTHER_TOOL = "@vladmandic/human 3.3.6"
"""The tool in peers.json with the highest FER2013 accuracy."""

METRIC_TITLES = {
    "f1": "F1", "macro_f1": "macro-F1", "brier": "Brier score",
    "kl_nats": "KL divergence, nats", "js_bits": "JS divergence, bits",
}  # fmt: skip
"""Key of a metric in a result -> its title. Other titles are the key with spaces for `_`."""


def model_scores(name: str) -> dict[str, dict]:
    """Read the scores of a packaged model: section, such as `fer2013` -> metric -> score."""
    file, head = HEAD_BY_MODEL[name]
    return read_result(f"{file}-val")["heads"][head]


def headline() -> str:
    """Main scores of `default` and `best`, and of the other tool with the highest accuracy.

    From results/default-val.json, best-val.json and peers.json; in README.md.
    """
    rows = []
    for name in ("default", "best"):
        label_scores, vote_scores = model_scores(f"{name}-labels"), model_scores(name)
        rows.append(_headline_row(f"**mien** `{name}`, `{name}-labels`", label_scores, vote_scores))
    tool_scores = read_result("peers")["peers"][BEST_OTHER_TOOL]
    rows.append(_headline_row(f"other tool: {BEST_OTHER_TOOL}", tool_scores, tool_scores))
    header = ("", "FER2013 accuracy", "FER+ accuracy", "KL divergence, nats", "top-label gap")
    return markdown_table(header, rows)


def _headline_row(title: str, label_scores: dict, vote_scores: dict) -> tuple[str, ...]:
    share_scores = vote_scores["proportions"]
    return (
        title,
        percent(label_scores["fer2013"]["accuracy"]["value"], 1),
        percent(vote_scores["ferplus_majority"]["accuracy"]["value"], 1),
        f"{share_scores['kl_nats']['value']:.2f}",
        f"{share_scores['top_label_gap']['value']:+.3f}",
    )


def quality() -> str:
    """Main scores of the packaged models, and the sampling floor of `default`.

    From results/*-val.json; in docs/model-card.md and docs/results.md.
    """
    label_sections = ("fer2013", "fer2013_without_duplicates", "fer2013_without_near_duplicates")
    rows = []
    for name, (_, head) in HEAD_BY_MODEL.items():
        scores = model_scores(name)
        row = [f"`{name}`"]
        row += [percent(scores[section]["accuracy"]["value"], 1) for section in label_sections]
        if head == "votes":
            row.append(percent(scores["ferplus_majority"]["accuracy"]["value"], 1))
            row += _share_cells(scores["proportions"])
        else:  # the label head does not predict vote shares
            row += [""] * 5
        rows.append(row)
    floor = _share_cells(model_scores("default")["sampling_floor"])
    rows.append(["sampling floor of `default`", "", "", "", "", *floor])
    header = ("model", "FER2013 accuracy", "without duplicates", "without near duplicates",
              "FER+ accuracy", "KL, nats", "Brier", "share calibration error",
              "top-label gap")  # fmt: skip
    return markdown_table(header, rows)


def _share_cells(scores: dict) -> tuple[str, ...]:
    return (
        f"{scores['kl_nats']['value']:.3f}",
        f"{scores['brier']['value']:.3f}",
        f"{scores['share_calibration_error']['value']:.4f}",
        f"{scores['top_label_gap']['value']:+.3f}",
    )


def all_scores() -> str:
    """All scores of the packaged models with intervals.

    From results/*-val.json; in docs/results.md.
    """
    cells_by_row: dict[tuple, dict[str, str]] = {}
    for name in HEAD_BY_MODEL:
        for section, metrics in model_scores(name).items():
            for metric, score in metrics.items():
                if isinstance(score, dict) and "value" in score:
                    cells = cells_by_row.setdefault((section, metrics["faces"], metric), {})
                    cells[name] = with_interval(score, 4)
    rows = []
    for (section, faces, metric), cells in cells_by_row.items():
        title = METRIC_TITLES.get(metric, metric.replace("_", " "))
        row = [section.replace("_", " "), faces, title]
        rows.append([*row, *(cells.get(name, "") for name in HEAD_BY_MODEL)])
    return markdown_table(("section", "faces", "metric", *HEAD_BY_MODEL), rows)


def classes() -> str:
    """Scores per class: `default-labels` on FER2013's labels, `default` on FER+ majority labels.

    From results/default-val.json; in docs/results.md.
    """
    rows = []
    for name, section in (("default-labels", "fer2013"), ("default", "ferplus_majority")):
        for label, scores in model_scores(name)[section]["per_class"].items():
            metrics = ("precision", "recall", "specificity", "f1")
            cells = [f"{scores[metric]:.2f}" for metric in metrics]
            rows.append((f"{section.replace('_', ' ')}: {label}", *cells, int(scores["support"])))
    return markdown_table(("class", "precision", "recall", "specificity", "F1", "faces"), rows)


def second_panel() -> str:
    """Agreement of the two panels of raters that rated a pair of near duplicates.

    From results/votes.json; in docs/results.md.
    """
    rows = [
        (
            f"above {row['min_correlation']}",
            row["pairs"],
            percent(row["largest_share"]["value"], 1),
            percent(row["other_panel_share_of_dominant_emotion"]["value"], 1),
            percent_with_interval(row["same_dominant_emotion"]),
            with_interval(row["brier_of_one_panel"]),
            with_interval(row["brier_from_sampling"]),
        )
        for row in read_result("votes")["near_duplicates"]
    ]
    header = ("correlation", "pairs", "largest share", "the other panel's share of that emotion",
              "same dominant emotion", "half the squared difference of the shares",
              "expected from sampling ten votes")  # fmt: skip
    return markdown_table(header, rows)


def peers() -> str:
    """Scores of other tools.

    From results/peers.json; in docs/results.md.
    """
    rows = []
    for name, scores in read_result("peers")["peers"].items():
        share_scores = scores["proportions"]
        rows.append((
            name,
            with_interval(scores["fer2013"]["accuracy"], 1, 100),
            with_interval(scores["fer2013"]["macro_f1"], 1, 100),
            with_interval(scores["ferplus_majority"]["accuracy"], 1, 100),
            with_interval(share_scores["kl_nats"]),
            with_interval(share_scores["brier"]),
            with_interval(share_scores["top_label_gap"]),
        ))  # fmt: skip
    header = ("tool", "FER2013 accuracy, %", "macro-F1, %", "FER+ accuracy, %", "KL, nats", "Brier",
              "top-label gap")  # fmt: skip
    return markdown_table(header, rows)


def training_runs() -> str:
    """Scores of training runs before calibration, by test-time augmentation.

    From results/run-*.json; in docs/results.md.
    """
    rows = []
    for path in sorted(RESULTS.glob("run-*.json")):
        result = json.loads(path.read_text())
        label_scores, vote_scores = result["heads"]["labels"], result["heads"]["votes"]
        config = result["provenance"]["config"]
        teacher_count = len(config.get("teachers", ()))
        teachers = f", {teacher_count} teachers" if teacher_count else ""
        rows.append((
            f"`{result['name']}`: {config['model']}{teachers}",
            result["training"]["epochs"],
            result["tta"].replace("_", " "),
            with_interval(label_scores["fer2013"]["accuracy"], 1, 100),
            with_interval(label_scores["fer2013"]["macro_f1"], 1, 100),
            with_interval(vote_scores["ferplus_majority"]["accuracy"], 1, 100),
            with_interval(vote_scores["proportions"]["kl_nats"]),
            with_interval(vote_scores["proportions"]["share_calibration_error"], 4),
        ))  # fmt: skip
    header = ("run", "epochs", "TTA", "FER2013 accuracy, %", "macro-F1, %", "FER+ accuracy, %",
              "KL, nats", "share calibration error")  # fmt: skip
    return markdown_table(header, rows)


def explaining() -> str:
    """Reduction of the share of the dominant emotion when one fifth of the face is blurred.

    From results/explaining.json; in docs/python.md.
    """
    result = read_result("explaining")
    rows = [
        (region, with_interval(score, 1, 100)) for region, score in result["share_lost"].items()
    ]
    table = markdown_table(("blurred fifth", "reduction of the share, percentage points"), rows)
    return (
        f"{table}\n\n"
        f"{result['faces']} faces of PublicTest, sampled with seed {result['seed']}, "
        f"`{result['model']}`, 95 % intervals over faces; {result['seconds_per_face']:.2f} s per "
        f"face on one thread of {result['environment']['machine']}."
    )
