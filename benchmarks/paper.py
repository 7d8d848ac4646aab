"""Reproduce the paper's tables and figures from the runs in models/paper. Writes docs/paper/.

    python benchmarks/paper.py --data fer2013/

Figure 1 is omitted, because its faces must not be published.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.lab import evaluate, page, reproduce, runs

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=ROOT / "models" / "paper")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "paper")
    arguments = parser.parse_args()
    finished = {name: runs.open_run(arguments.runs / name) for name in reproduce.PAPER_SETTINGS}
    for run in finished.values():
        evaluate.load_or_evaluate(run, arguments.data)
    names = [name for name in reproduce.REQUIRED_SYSTEMS if name != reproduce.FIGURE_1]
    content = reproduce.build_page(names, arguments.data, finished)
    print(page.write(content, arguments.out, "paper"))


if __name__ == "__main__":
    main()
