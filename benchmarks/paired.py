"""What a network gains over another on the same PublicTest faces. Writes results/.

python benchmarks/paired.py --data fer2013/ models/fourth-pupil models/second-pupil
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mien.lab import data, evaluate, measures, runs

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("runs", nargs=2, type=Path)
    asked = parser.parse_args()
    val = data.split(data.load(asked.data), "val")
    known = {"truth": val.labels, "raters": val.votes}
    one, other = (
        known | evaluate.answer(runs.open_run(path), val.faces, side=asked.side)
        for path in asked.runs
    )
    found = {
        "runs": [path.name for path in asked.runs],
        "data": data.describe({"val": val}),
        "window": asked.side,
        "less": measures.paired(one, other),
        "measured": runs.about(),
    }
    for name, row in found["less"].items():
        print(f"{name:18s} {row['value']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})")
    runs.write_json(ROOT / "results" / f"paired-{asked.runs[0].name}.json", found)


if __name__ == "__main__":
    main()
