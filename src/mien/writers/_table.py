"""Convert frame records to table rows, for CSV, Parquet and pandas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from mien.errors import UserError
from mien.labels import EMOTIONS_AND_CONTEMPT
from mien.results import LANDMARKS

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "source", "frame", "seconds", "shot", "width", "height", "model", "detector",
    "face_id", "x", "y", "w", "h", "face_confidence", "dominant_emotion",
    *EMOTIONS_AND_CONTEMPT, "flags", *(f"smoothed_{name}" for name in EMOTIONS_AND_CONTEMPT),
    *(f"{name}_{axis}" for name in LANDMARKS for axis in "xy"),
)  # fmt: skip
"""The columns of every table, so that tables of all models and sources can be concatenated.

`contempt` is empty unless it was requested, and the smoothed columns are empty for images.
Landmarks are in pixels, in columns such as `right_eye_x`.
"""

TEXT_COLUMNS = ("source", "model", "detector", "dominant_emotion", "flags")
INTEGER_COLUMNS = ("frame", "shot", "width", "height", "face_id")
"""The columns with text and with integers; all others contain floats."""


def rows(record: dict) -> Iterator[dict]:
    """Convert a frame record to one row per face; without faces, to one with empty face columns."""
    common = {name: value for name, value in record.items() if name != "faces"}
    if not record["faces"]:
        yield common
    for face in record["faces"]:
        yield {
            **common,
            "face_id": face["face_id"],
            **dict(zip("xywh", face["box"], strict=True)),
            "face_confidence": face["face_confidence"],
            "dominant_emotion": face["dominant_emotion"],
            **face["emotions"],
            "flags": " ".join(face["flags"]),
            **{f"smoothed_{name}": share for name, share in face.get("smoothed", {}).items()},
            **_landmark_columns(face["landmarks"]),
        }


def dataframe(records: Iterable[dict]) -> pandas.DataFrame:
    """Convert frame records to a pandas data frame.

    Raises:
        UserError: If pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise UserError(
            "Cannot create a data frame: pandas is not installed. Run pip install pandas."
        ) from None
    table = pandas.DataFrame(chain.from_iterable(map(rows, records)), columns=COLUMNS)
    types = dict.fromkeys(COLUMNS, "float64")
    return table.astype(
        types | dict.fromkeys(TEXT_COLUMNS, "object") | dict.fromkeys(INTEGER_COLUMNS, "Int64")
    )


def _landmark_columns(points: list | None) -> dict[str, float]:
    columns = {}
    if points is not None:
        for name, (x, y) in zip(LANDMARKS, points, strict=True):
            columns[f"{name}_x"], columns[f"{name}_y"] = x, y
    return columns
