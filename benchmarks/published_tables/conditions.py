"""Effect of roll, yaw, crop, resolution, blur and image source on the predictions."""

from __future__ import annotations

from benchmarks.published_tables.formats import markdown_table, percent, read_result

DEFAULT_LABEL_HEAD_WEIGHT = 0.12
"""Label-head weight of `default`, which was exported from the run `seventh-student`."""


def other_domains() -> str:
    """Recall for FER2013's labels on original faces, and on faces changed to imitate other sources.

    `benchmarks/other_domains.py` changes crop, tones and sharpness at random.
    From results/other-domains-fourth-student.json and other-domains-seventh-student.json; in
    docs/model-card.md.
    """
    fourth_student = read_result("other-domains-fourth-student")
    seventh_student = read_result("other-domains-seventh-student")
    scores_by_title = {
        "`fourth-student`, vote head": _at_label_head_weight(fourth_student, 0.0),
        "`fourth-student`, label-head weight 0.16": _at_label_head_weight(fourth_student, 0.16),
        "`default`": _at_label_head_weight(seventh_student, DEFAULT_LABEL_HEAD_WEIGHT),
        "`default-labels`, before calibration": seventh_student["label_head"],
    }
    rows = [
        (
            title,
            percent(scores["original"]["angry"], 1),
            percent(scores["original"]["macro"], 1),
            percent(scores["randomized"]["angry"], 1),
            percent(scores["randomized"]["macro"], 1),
            f"{scores['kl_nats']:.4f}" if "kl_nats" in scores else "",
        )
        for title, scores in scores_by_title.items()
    ]
    header = ("", "recall of angry", "mean recall", "recall of angry, randomized faces",
              "mean recall, randomized faces", "KL, nats")  # fmt: skip
    return markdown_table(header, rows)


def _at_label_head_weight(result: dict, weight: float) -> dict:
    return next(row for row in result["rows"] if row["label_head_weight"] == weight)


def flags() -> str:
    """Errors of the shares of small or blurred faces.

    From results/flags.json; in docs/model-card.md.
    """
    rows = []
    for degradation, row in read_result("flags")["rows"].items():
        quantiles = " / ".join(f"{quantile:.0f}" for quantile in row["sharpness"])
        rows.append((
            degradation, f"{row['kl_nats']:.3f}", f"{row['share_calibration_error']:.4f}",
            f"{row['top_label_gap']:+.3f}", quantiles,
        ))  # fmt: skip
    header = ("PublicTest faces", "KL, nats", "share calibration error", "top-label gap",
              "sharpness: 5, 50 and 95 % quantile")  # fmt: skip
    return markdown_table(header, rows)


def yaw() -> str:
    """Accuracy by the absolute sine of the yaw.

    From results/pose.json; in docs/model-card.md.
    """
    rows = [
        (span, row["faces"], percent(row["accuracy"], 1))
        for span, row in read_result("pose")["yaw"].items()
    ]
    return markdown_table(
        ("absolute sine of the yaw", "PublicTest faces", "FER2013 accuracy"), rows
    )


def geometry() -> str:
    """Scores by crop rule, and by confidence of the detection.

    From results/geometry.json; in docs/model-card.md.
    """
    evaluation = read_result("geometry")["yunet"]["evaluation"]
    rows = [
        (
            title,
            row["faces"],
            percent(row["accuracy"], 1),
            f"{row['kl_nats']:.4f}",
            f"{row['share_calibration_error']:.4f}",
        )
        for title, row in (evaluation["rows"] | evaluation["by_confidence"]).items()
    ]
    header = ("crop", "faces", "FER2013 accuracy", "KL, nats", "share calibration error")
    return markdown_table(header, rows)


def alignment() -> str:
    """Accuracy on rotated faces without and with alignment.

    From results/pose.json; in docs/model-card.md.
    """
    rows = [
        (
            f"{angle} degrees",
            percent(row["aligned"]),
            percent(row["accuracy_unaligned"], 1),
            percent(row["accuracy_aligned"], 1),
        )
        for angle, row in read_result("pose")["alignment"].items()
    ]
    header = ("PublicTest faces, rotated by", "faces aligned", "accuracy without alignment",
              "accuracy with alignment")  # fmt: skip
    return markdown_table(header, rows)


def pose() -> str:
    """Detection and emotion in rotated scenes with one face, by YuNet alone and by mien.

    From results/pose.json; in docs/model-card.md.
    """
    scenes = read_result("pose")["scenes"]
    rows = []
    for angle, row in scenes["by_angle"].items():
        yunet, mien = row["yunet_alone"], row["mien"]
        rows.append((
            f"{angle} degrees",
            percent(yunet["recall"]), percent(mien["recall"]),
            percent(yunet["correct"]), percent(mien["correct"]),
            yunet["false_boxes"], mien["false_boxes"],
        ))  # fmt: skip
    header = (f"{scenes['faces']} scenes with one face, rotated by",
              "detected: YuNet", "detected: mien",
              "detected with the correct emotion: YuNet", "detected with the correct emotion: mien",
              "false boxes: YuNet", "false boxes: mien")  # fmt: skip
    return markdown_table(header, rows)
