"""The reproduction of the paper: its systems, detection, cross-validation, ablation, leakage."""

from __future__ import annotations

from benchmarks.published_tables.formats import (
    markdown_table,
    millions,
    percent,
    percent_with_interval,
    read_result,
    with_interval,
)

LEAK_RESULTS = ("official", "official-continued", "oversampled", "oversampled-continued",
                "oversampled-continued-2", "augmented", "kfold")  # fmt: skip
"""NAME of the result files `leak-NAME.json`, in the order of the table."""

MIN_UNIQUE_FACES = 1000
"""Minimum number of evaluation faces without duplicates for publishing an accuracy on them."""


def systems() -> str:
    """Claimed and measured accuracy of the paper's three systems, for full and small networks.

    From results/full-*.json and slim-*.json; in docs/reproduce-the-paper.md.
    """
    from mien.lab import claims, reproduce

    rows = []
    for variant, hardware in (("full", "GPU"), ("slim", "CPU core")):
        for system in reproduce.PAPER_SETTINGS:
            result, claim = read_result(f"{variant}-{system}"), claims.SYSTEMS[system]
            scores, training = result["heads"]["labels"], result["training"]
            rows.append((
                f"`{result['provenance']['config']['model']}`", f"`{result['protocol']}`",
                percent(claim.claimed_accuracy, 1),
                percent_with_interval(scores["fer2013"]["accuracy"]),
                percent(scores["fer2013_without_duplicates"]["accuracy"]["value"], 1),
                percent(scores["fer2013"]["macro_f1"]["value"], 1),
                percent(training["accuracy"]), training["epochs"],
                f"{training['seconds'] / 60:.1f}", hardware,
                millions(result["network"]["parameters"]),
            ))  # fmt: skip
    header = ("network", "protocol", "claimed", "measured", "without duplicates", "macro-F1",
              "training accuracy", "epochs", "minutes", "hardware", "parameters")  # fmt: skip
    return markdown_table(header, rows)


def canvases() -> str:
    """Scores of Faster R-CNN on composed images with several faces, and on crops.

    From results/canvases.json; in docs/reproduce-the-paper.md.
    """
    titles = {"canvases": "one to four faces in a photograph", "crops": "FER2013 crops"}
    metrics = ("face_ap", "emotion_map", "recall", "precision", "accuracy")
    rows = [
        (
            titles[kind],
            row["images"],
            row["faces"],
            *(percent(row[metric], 1) for metric in metrics),
        )
        for kind, row in read_result("canvases")["rows"].items()
    ]
    header = ("kind", "images", "faces", "face AP", "emotion mAP", "recall", "precision",
              "emotion accuracy, detected faces")  # fmt: skip
    return markdown_table(header, rows)


def crossval() -> str:
    """Scores of the cross-validated hybrid, full and small.

    From results/crossval-hybrid.json and crossval-hybrid-slim.json; in
    docs/reproduce-the-paper.md.
    """
    full, slim = (_folds_table(name) for name in ("crossval-hybrid", "crossval-hybrid-slim"))
    return (
        f"The full hybrid, 15 epochs per fold, four of the five folds:\n\n{full}\n\n"
        f"The small hybrid, 4 epochs per fold:\n\n{slim}"
    )


def _folds_table(name: str) -> str:
    """Scores of each fold, of their mean, and of all held-out predictions together."""
    result = read_result(name)
    rows = []
    for fold, scores in result["folds"].items():
        rows.append((
            fold.replace("-", " "), percent(scores["accuracy"], 1), percent(scores["macro_f1"], 1),
            f"{scores['log_loss']:.3f}",
        ))  # fmt: skip
    accuracy, macro_f1, log_loss = (
        result["fold_statistics"][metric] for metric in ("accuracy", "macro_f1", "log_loss")
    )
    rows.append((
        "mean ± sd over folds",
        f"{percent(accuracy['mean'], 1)} ± {100 * accuracy['sd']:.1f}",
        f"{percent(macro_f1['mean'], 1)} ± {100 * macro_f1['sd']:.1f}",
        f"{log_loss['mean']:.3f} ± {log_loss['sd']:.3f}",
    ))  # fmt: skip
    pooled = result["pooled"]
    rows.append((
        f"all {pooled['faces']:,} held-out predictions",
        percent_with_interval(pooled["accuracy"]), percent_with_interval(pooled["macro_f1"]),
        f"{pooled['log_loss']['value']:.3f}",
    ))  # fmt: skip
    return markdown_table(("fold", "accuracy", "macro-F1", "log loss"), rows)


def ablation() -> str:
    """Scores of the small hybrid with one change at a time.

    From results/ablation-hybrid-slim.json; in docs/reproduce-the-paper.md.
    """
    rows = []
    for name, case in read_result("ablation-hybrid-slim")["cases"].items():
        statistics = case["seed_statistics"]
        difference = with_interval(case["difference_to_baseline"], 1, 100, "+")
        rows.append((
            name, millions(case["parameters"]), percent(statistics["accuracy"]["mean"], 1),
            percent(statistics["macro_f1"]["mean"], 1), "" if name == "baseline" else difference,
        ))  # fmt: skip
    header = ("hybrid", "parameters", "accuracy", "macro-F1",
              "difference from baseline, percentage points")  # fmt: skip
    return markdown_table(header, rows)


def leaks() -> str:
    """Accuracy of the same network without leakage and with leaky protocols.

    From results/leak-*.json; in docs/reproduce-the-paper.md.
    """
    rows = []
    for name in LEAK_RESULTS:
        result = read_result(f"leak-{name}")
        scores = result["heads"]["labels"]
        full = scores["fer2013"]
        unique = scores.get("fer2013_without_duplicates", {"faces": 0})
        fraction_in_training_set = 1 - unique["faces"] / full["faces"]
        accuracy = reweighted = ""
        if result["protocol"] == "leaky-kfold":
            # One network is trained on all folds in turn, so it has seen all evaluation faces.
            fraction_in_training_set = 1.0
            epochs = result["training"]["epochs"] * result["provenance"]["config"]["folds"]
        else:
            epochs = _total_epochs(result)
        if unique["faces"] >= MIN_UNIQUE_FACES and fraction_in_training_set < 1:
            accuracy = percent(unique["accuracy"]["value"], 1)
            reweighted = percent(_accuracy_with_publictest_frequencies(unique["per_class"]), 1)
        rows.append((
            f"`{result['protocol']}`", epochs, percent(result["training"]["accuracy"]),
            f"{full['faces']:,}", percent(fraction_in_training_set),
            percent(full["accuracy"]["value"], 1), accuracy, reweighted,
        ))  # fmt: skip
    header = ("protocol", "epochs", "training accuracy", "evaluation faces",
              "of which in the training set", "accuracy", "accuracy without duplicates",
              "without duplicates, weighted to PublicTest's class frequencies")  # fmt: skip
    return markdown_table(header, rows)


def _total_epochs(result: dict) -> int:
    """Count the epochs of a training and of the runs that it was initialized from."""
    initial_run = result["provenance"]["config"]["init_from"]
    earlier_epochs = _total_epochs(read_result(initial_run)) if initial_run else 0
    return result["training"]["epochs"] + earlier_epochs


def _accuracy_with_publictest_frequencies(per_class: dict) -> float:
    """Average recalls, weighted by the number of faces of each class in PublicTest.

    Disgust is left out, because with `leaky-oversample`, which repeats its faces most often, no
    evaluation face without a duplicate shows it.
    """
    publictest = read_result("leak-official")["heads"]["labels"]["fer2013"]["per_class"]
    weights = {label: publictest[label]["support"] for label in per_class if label != "disgust"}
    weighted = sum(weight * per_class[label]["recall"] for label, weight in weights.items())
    return weighted / sum(weights.values())
