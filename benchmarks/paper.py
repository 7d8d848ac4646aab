"""The paper's tables and figures, made of the networks in models/paper. Writes docs/paper/.

    python benchmarks/paper.py --data fer2013/

Without figure 1, a sheet of faces that are not ours to publish.
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
    asked = parser.parse_args()
    done = {name: runs.open_run(asked.runs / name) for name in reproduce.SYSTEMS}
    for run in done.values():
        evaluate.measured(run, asked.data)
    made = reproduce.shown([name for name in reproduce.NEEDS if name != "fig1"], asked.data, done)
    print(page.write(made, asked.out, "paper"))


if __name__ == "__main__":
    main()
