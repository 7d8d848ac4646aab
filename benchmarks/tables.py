"""Generate the tables in README and docs, and docs/leaderboard/, from the files in `results/`.

    python benchmarks/tables.py            # rewrite the tables
    python benchmarks/tables.py --check    # exit 1 if a table is out of date

In a page, a table is between the lines `<!-- begin: NAME -->` and `<!-- end: NAME -->`, where NAME
is the name of the function in `benchmarks/published_tables/` that returns it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

# If mien was installed without `-e`, the package `benchmarks` is not in the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.published_tables import conditions, paper, performance, quality, server, video

ROOT = Path(__file__).parent.parent

TABLES: dict[str, tuple[Callable[[], str], ...]] = {
    "README.md": (quality.headline,),
    "docs/model-card.md": (
        quality.quality,
        conditions.other_domains,
        conditions.flags,
        conditions.yaw,
        conditions.geometry,
        conditions.alignment,
        conditions.pose,
    ),
    "docs/performance.md": (performance.cost, performance.compare),
    "docs/python.md": (quality.explaining,),
    "docs/reproduce-the-paper.md": (
        paper.systems,
        paper.canvases,
        paper.crossval,
        paper.ablation,
        paper.leaks,
    ),
    "docs/results.md": (
        quality.quality,
        quality.all_scores,
        quality.classes,
        quality.second_panel,
        quality.peers,
        quality.training_runs,
    ),
    "docs/robustness.md": (server.attacks, server.server_memory, server.floods),
    "docs/serve.md": (server.load,),
    "docs/training.md": (performance.gpu_training,),
    "docs/video.md": (video.tracking, video.cuts, video.replaced_people, video.video),
}
"""Page -> the functions that return its tables."""

LEADERBOARD = "docs/leaderboard"
"""Folder of the leaderboard as Markdown and HTML, with figures."""


def update_page(page: str, check: bool) -> bool:
    """Return whether a table of a page is out of date; rewrite the page unless `check` is set."""
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    updated = text
    for table in TABLES[page]:
        updated = replace_table(updated, table.__name__, table())
    is_outdated = updated != text
    if is_outdated and not check:
        path.write_text(updated, encoding="utf-8")
    return is_outdated


def replace_table(text: str, name: str, table: str) -> str:
    """Replace the lines between the begin and the end comment of a table.

    Raises:
        ValueError: The text does not contain exactly one pair of these comments.
    """
    begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"The page must contain one begin and one end comment of {name}.")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{table}\n{end}{after}"


def update_leaderboard(check: bool) -> bool:
    """Return whether docs/leaderboard/ is out of date; rewrite it unless `check` is set.

    Only its Markdown page is compared: figures differ between versions of matplotlib.
    """
    from mien.lab import leaderboard, page

    rows = leaderboard.read_rows(ROOT / "results" / "leaderboard")
    content, folder = leaderboard.build_page(rows), ROOT / LEADERBOARD
    path = folder / "leaderboard.md"
    is_outdated = not path.exists() or path.read_text(encoding="utf-8") != page.markdown(content)
    if is_outdated and not check:
        page.write(content, folder, "leaderboard")
    return is_outdated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only check, without writing")
    check = parser.parse_args().check
    outdated = [page for page in TABLES if update_page(page, check)]
    if update_leaderboard(check):
        outdated.append(LEADERBOARD)
    print(f"{'out of date' if check else 'rewritten'}: {', '.join(outdated) or 'none'}")
    sys.exit(1 if check and outdated else 0)


if __name__ == "__main__":
    main()
