"""YuNet, a small convolutional face detector, on ONNX Runtime.

Wu et al. 2023, https://doi.org/10.1007/s11633-023-1423-y; weights of the OpenCV Zoo (MIT), put
into the package by `hatch_build.py`. Boxes and landmarks are decoded as in OpenCV's FaceDetectorYN,
with which they agree (`tests/detection/test_detectors.py`). Ours takes pictures of any size: what
shrinking to 640 pixels would make too small is found in overlapping tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mien.classification.model_spec import CropGeometry
from mien.errors import UserError
from mien.onnx_runtime import open_session
from mien.results import Detection, non_maximum_suppression

FILE = Path(__file__).with_name("yunet.onnx")

LONGEST = 640
"""Pixels of a picture's longer side when it is looked at whole; fewer miss small faces."""

SMALLEST = 64
"""Smaller pictures get a black border: on less than 33 pixels the network finds nothing right."""

MAX_SHRINKING = 4.0
"""A picture is shrunk further than this only to find its largest faces; the others are found in
tiles. In tiles, faces of 40 pixels and more are found."""

TILE, TILE_OVERLAP = 1280, 160
"""Pixels of a tile's side at most, after shrinking, and by how much neighbours overlap: a face that
crosses the border of one tile lies whole in the next, or is large enough to be found in the whole
picture (where that has up to some 25,000 pixels)."""

MIN_CONFIDENCE = 0.7
STRIDES = (8, 16, 32)


class YuNet:
    """The network in an ONNX Runtime session; safe to call from several threads.

    Args:
        path: the prepared graph; takes `pixels`, (height, width, 3) uint8 RGB.
        threads: for one picture; 0 is all cores.

    Raises:
        UserError: the file is missing, damaged or another network.
    """

    name = "yunet"
    geometry = CropGeometry(size=1.11, right=0.01, down=-0.02)

    def __init__(self, path: Path = FILE, threads: int = 0) -> None:
        try:
            self._session = open_session(str(path), threads)
            self._outputs = [
                f"{kind}_{n}" for n in STRIDES for kind in ("cls", "obj", "bbox", "kps")
            ]
            self._detect(np.zeros((SMALLEST, SMALLEST, 3), np.uint8))
        except Exception as error:  # ONNX Runtime's errors share no public base class
            if not path.is_file():
                raise UserError(f"{path} is missing; install mien again.") from None
            if isinstance(error, ValueError) or type(error).__module__.startswith("onnxruntime"):
                raise UserError(f"{path} is damaged or not YuNet; install mien again.") from None
            raise

    def __call__(self, pixels: np.ndarray) -> list[Detection]:
        """The faces of a picture of any size, most confident first.

        Up to 2,560 pixels the picture is shrunk to 640 and looked at once. A larger one is also
        looked at in overlapping tiles, shrunk to a quarter: about one detection more for each
        5 megapixels.

        Args:
            pixels: (H, W, 3) uint8 RGB.

        Returns:
            Boxes and five landmarks in pixels of this picture.
        """
        longest = max(pixels.shape[:2])
        found = self._shrunk(pixels, LONGEST / longest)
        if longest > LONGEST * MAX_SHRINKING:
            small = shrink(pixels, 1 / MAX_SHRINKING)
            for tile, x, y in tiles(small):
                inside = [d for d in self._detect(tile) if not _is_cut(d, tile, x, y, small)]
                found += [d.moved(x, y).scaled(MAX_SHRINKING) for d in inside]
            found = non_maximum_suppression(found)
        return found

    def _shrunk(self, pixels: np.ndarray, scale: float) -> list[Detection]:
        small = shrink(pixels, scale) if scale < 1 else pixels
        scale = max(small.shape[:2]) / max(pixels.shape[:2])
        return [d.scaled(1 / scale) for d in self._detect(small)]

    def _detect(self, pixels: np.ndarray) -> list[Detection]:
        """The faces of a picture as it is: (H, W, 3) uint8, at most some 1,300 pixels a side."""
        padded = pad(pixels)
        outputs = self._session.run(self._outputs, {"pixels": padded})
        rows = [
            decode(outputs[4 * k : 4 * k + 4], stride, padded.shape[1] // stride)
            for k, stride in enumerate(STRIDES)
        ]
        return non_maximum_suppression([_detection(row) for row in np.concatenate(rows).tolist()])


def decode(answers: Sequence[np.ndarray], stride: int, columns: int) -> np.ndarray:
    """One level of the network's answers as boxes, landmarks and confidences.

    Args:
        answers: classes and objects, (1, cells, 1) each, 0 to 1, whose geometric mean is the
            confidence; boxes, (1, cells, 4): centre and logarithm of the size, in strides from the
            cell; points, (1, cells, 10): landmarks, in strides from the cell.
        stride: pixels between cells.
        columns: cells in a row.

    Returns:
        (N, 15) float64: x, y, width, height, five landmarks, confidence, of the cells that are
        confident enough.
    """
    classes, objects, boxes, points = answers
    confidence = np.sqrt(classes[0, :, 0].clip(0, 1) * objects[0, :, 0].clip(0, 1))
    (cells,) = np.nonzero(confidence >= MIN_CONFIDENCE)
    place = np.stack([cells % columns, cells // columns], 1).astype(np.float64)  # (N, 2): x, y
    box = boxes[0, cells].astype(np.float64)
    size = np.exp(box[:, 2:]) * stride
    corner = (place + box[:, :2]) * stride - size / 2
    landmarks = (points[0, cells].reshape(-1, 5, 2) + place[:, None]) * stride
    return np.concatenate(
        [corner, size, landmarks.reshape(-1, 10), confidence[cells, None]], axis=1
    )


def _detection(row: list[float]) -> Detection:
    points = tuple((row[k], row[k + 1]) for k in range(4, 14, 2))
    return Detection((row[0], row[1], row[2], row[3]), row[14], points)


def pad(pixels: np.ndarray) -> np.ndarray:
    """The picture with a black border on the right and below, both sides multiples of 32."""
    height, width = pixels.shape[:2]
    tall, wide = (-(-max(n, SMALLEST) // 32) * 32 for n in (height, width))
    if (tall, wide) == (height, width):
        return np.ascontiguousarray(pixels)
    padded = np.zeros((tall, wide, 3), np.uint8)
    padded[:height, :width] = pixels
    return padded


def shrink(pixels: np.ndarray, scale: float) -> np.ndarray:
    """The picture at a smaller scale: (H, W, 3) uint8 -> the same, sides of at least one pixel.

    Averaged down by a whole number first, which is ten times as fast as exact averaging.
    """
    size = [max(1, round(n * scale)) for n in (pixels.shape[1], pixels.shape[0])]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0))


def tiles(pixels: np.ndarray) -> Iterator[tuple[np.ndarray, int, int]]:
    """Overlapping tiles that cover a picture, each with its left and top."""
    height, width = pixels.shape[:2]
    for top, bottom in spans(height):
        for left, right in spans(width):
            yield pixels[top:bottom, left:right], left, top


def spans(length: int) -> list[tuple[int, int]]:
    """Where tiles begin and end along a side: as few as can be, evenly spaced, of equal size."""
    count = max(1, -(-(length - TILE_OVERLAP) // (TILE - TILE_OVERLAP)))
    size = -(-(length + (count - 1) * TILE_OVERLAP) // count)
    return [(start, min(start + size, length)) for start in _starts(length, size, count)]


def _starts(length: int, size: int, count: int) -> list[int]:
    return [round(k * (length - size) / max(count - 1, 1)) for k in range(count)]


def _is_cut(one: Detection, tile: np.ndarray, left: int, top: int, whole: np.ndarray) -> bool:
    """Whether a box reaches over a border of its tile that is not one of the picture."""
    x, y, width, height = one.box
    return (
        (x < 0 and left > 0)
        or (y < 0 and top > 0)
        or (x + width > tile.shape[1] and left + tile.shape[1] < whole.shape[1])
        or (y + height > tile.shape[0] and top + tile.shape[0] < whole.shape[0])
    )


def load(threads: int = 0) -> YuNet:
    """YuNet as it is packaged; threads: for one picture, 0 is all cores."""
    return YuNet(threads=threads)
