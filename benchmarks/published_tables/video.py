"""Quality of tracking, and speed of video analysis."""

from __future__ import annotations

from benchmarks.published_tables.formats import markdown_table, percent, read_result
from tests.synthetic import shots


def tracking() -> str:
    """Scores of tracking on synthetic clips with faces.

    From results/tracking.json; in docs/video.md.
    """
    series = ("raw", "smoothed", "bidirectional")
    rows = []
    for clip, scores in read_result("tracking")["rows"].items():
        if scores["faces"]:
            rows.append((
                clip, f"{scores['faces']:.0f}", scores["id_switches"], f"{scores['id_f1']:.3f}",
                f"{scores['overlap']:.2f}",
                *(f"{scores[f'changes_{kind}']:.2f}" for kind in ("true", *series)),
                *(percent(scores[f"accuracy_{kind}"]) for kind in series),
            ))  # fmt: skip
    header = ("clip", "faces", "id switches", "IDF1", "IoU",
              *(f"changes: {kind}" for kind in ("true", *series)),
              *(f"accuracy: {kind}" for kind in series))  # fmt: skip
    return markdown_table(header, rows)


def cuts() -> str:
    """Detected cuts and false cuts in clips with known cuts.

    From results/shots.json; in docs/video.md.
    """
    result = read_result("shots")
    rows = result["rows"]
    hard = [row for kind, row in rows.items() if kind in shots.CUTS and kind != "person_replaced"]
    false_by_kind = {
        kind: row["false"] for kind, row in rows.items() if kind in shots.NO_CUTS and row["false"]
    }
    minutes, per_ten = result["minutes_without_cuts"], result["false_per_ten_minutes"]
    listed = ", ".join(f"`{kind}` {count:.0f}" for kind, count in false_by_kind.items())
    return markdown_table(
        ("clips", "result"),
        [
            ("hard cuts", f"{_of(hard)} detected ({percent(result['recall'], 1)})"),
            ("dissolves", f"{_of([rows['dissolve']])} detected"),
            ("fades into another scene", f"{_of([rows['fade_between']])} detected"),
            (
                "false cuts",
                f"{sum(false_by_kind.values()):.0f} in {minutes:.0f} minutes without cuts, or "
                f"{per_ten:.1f} in ten minutes" + (f": {listed}" if listed else ""),
            ),
        ],
    )


def _of(rows: list[dict[str, float]]) -> str:
    """Return the detected cuts of rows of results/shots.json, such as "9 of 10"."""
    detected, total = (sum(row[name] for row in rows) for name in ("detected", "cuts"))
    return f"{detected:.0f} of {total:.0f}"


def replaced_people() -> str:
    """New face ids of people who are replaced without a cut, and of those who are not.

    From results/replaced-people.json; in docs/video.md.
    """
    result = read_result("replaced-people")
    rows = result["rows"]
    additional_ids = sum(row.get("additional_ids", 0) for row in rows.values())
    return markdown_table(
        ("clips", "result"),
        [
            ("replaced or swapped", _new_ids(rows["people"], "in the same frame")),
            (
                "replaced during an absence",
                _new_ids(rows["absent_and_replaced"], "when they appear"),
            ),
            (
                "dissolved into another face, without motion",
                _new_ids(rows["dissolving_stills"], "by the end"),
            ),
            (
                "dissolved into another face, with motion",
                _new_ids(rows["dissolving_people"], "by the end"),
            ),
            (
                "hands, turning heads, expressions, focus, returning faces, passers-by, motion of "
                "the camera, changes of the light",
                f"additional ids: {additional_ids:.0f} in "
                f"{result['minutes_without_replacement']:.0f} minutes",
            ),
        ],
    )


def _new_ids(row: dict[str, float], when: str) -> str:
    """Return how many faces of a row of results/replaced-people.json have a new id."""
    rate = percent(row["new_ids"] / row["replaced"])
    return f"{row['new_ids']:.0f} of {row['replaced']:.0f} faces ({rate}) have a new id {when}"


def video() -> str:
    """Speed of video analysis relative to decoding, and the time of each stage.

    From results/video-speed.json; in docs/video.md.
    """
    result = read_result("video-speed")
    stages = ("decode", "detect", "classify", "draw", "encode")
    rows = [
        (
            clip,
            f"{row['decode_fps']:.0f}",
            f"{row['analyze_fps']:.0f}",
            f"{row['share_of_decode']:.2f}",
            *(f"{row['stages_ms'][stage]:.1f}" for stage in stages),
        )
        for clip, row in result["rows"].items()
    ]
    header = ("clip", "decoding, frames per second", "analysis, frames per second", "ratio",
              *(f"{stage}, ms" for stage in stages))  # fmt: skip
    return f"{markdown_table(header, rows)}\n\n{result['environment']['machine']}."
