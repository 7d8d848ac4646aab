"""Quality of tracking, and speed of video analysis."""

from __future__ import annotations

from benchmarks.published_tables.formats import markdown_table, percent, read_result


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
