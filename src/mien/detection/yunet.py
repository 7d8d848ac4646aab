"""YuNet, a small convolutional face detector, on ONNX Runtime.

Wu et al. 2023, https://doi.org/10.1007/s11633-023-1423-y; weights of the OpenCV Zoo (MIT), added
to the package by `hatch_build.py`. Boxes and landmarks are decoded as in OpenCV's
FaceDetectorYN; `tests/detection/test_detectors.py` checks that the results are the same.
Unlike OpenCV's, this version handles large images: faces that would be too small after downscaling
to 640 pixels are detected in overlapping tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mien.classification.model_spec import CropGeometry
from mien.errors import UserError
from mien.onnx_runtime import open_session, shrink_options
from mien.results import Detection, non_maximum_suppression

FILE = Path(__file__).with_name("yunet.onnx")

INPUT_SIDE = 640
"""Longer side in pixels to which larger images are downscaled; smaller values miss small faces."""

MIN_PADDED_SIDE = 64
"""Side in pixels to which smaller images are padded; below 33 pixels, detections are wrong."""

TILE_DOWNSCALING = 4.0
"""Factor by which tiles are downscaled; faces of at least 40 pixels are then detected. Images whose
longer side is more than this factor times `INPUT_SIDE` are searched in tiles, too."""

TILE_SIDE, TILE_OVERLAP = 1280, 160
"""Maximum side of a tile and overlap of neighboring tiles, in pixels after downscaling.

A face that crosses the border of one tile is either complete in the next tile or large enough to be
detected in the downscaled whole image. This holds for sides of up to about 25,000 pixels."""

MIN_CONFIDENCE = 0.7
"""Minimum confidence of a detection."""

STRIDES = (8, 16, 32)
"""Distance between cells in pixels, for each level of the feature pyramid."""


class YuNet:
    """YuNet, run by ONNX Runtime; thread-safe.

    Args:
        path: Model file with the input `pixels`, (height, width, 3) uint8 RGB.
        threads: Number of threads per image; 0 uses all cores.

    Raises:
        UserError: If the file is missing, damaged or not YuNet.

    Example:
        ```python
        detections = YuNet()(pixels)
        ```
    """

    name = "yunet"
    geometry = CropGeometry(size=1.11, right=0.01, down=-0.02)

    def __init__(self, path: Path = FILE, threads: int = 0) -> None:
        try:
            self._session = open_session(str(path), threads)
            self._outputs = [
                f"{kind}_{n}" for n in STRIDES for kind in ("cls", "obj", "bbox", "kps")
            ]
            self._detect(np.zeros((MIN_PADDED_SIDE, MIN_PADDED_SIDE, 3), np.uint8))
        except Exception as error:  # ONNX Runtime's errors share no public base class
            if not path.is_file():
                raise UserError(f"{path} is missing. Install mien again.") from None
            if isinstance(error, ValueError) or type(error).__module__.startswith("onnxruntime"):
                raise UserError(f"{path} is damaged or not YuNet. Install mien again.") from None
            raise

    def __call__(self, pixels: np.ndarray) -> list[Detection]:
        """Detect the faces of an image of any size.

        An image whose longer side has more than 640 pixels is downscaled to 640 pixels. If it has
        more than 2,560 pixels, it is also searched in overlapping tiles, downscaled by 4. Each 5
        megapixels of the image then take as long as one detection at 640 pixels.

        Args:
            pixels: (H, W, 3) uint8 RGB.

        Returns:
            Boxes and five landmarks in pixels of this image, most confident first.
        """
        longer_side = max(pixels.shape[:2])
        detections = self._detect_downscaled(pixels, INPUT_SIDE / longer_side)
        if longer_side > INPUT_SIDE * TILE_DOWNSCALING:
            detections = non_maximum_suppression(detections + self._detect_in_tiles(pixels))
        return detections

    def _detect_downscaled(self, pixels: np.ndarray, scale: float) -> list[Detection]:
        small = downscale(pixels, scale) if scale < 1 else pixels
        # The sides of the downscaled image are rounded.
        scale = max(small.shape[:2]) / max(pixels.shape[:2])
        return [detection.scaled(1 / scale) for detection in self._detect(small)]

    def _detect_in_tiles(self, pixels: np.ndarray) -> list[Detection]:
        small = downscale(pixels, 1 / TILE_DOWNSCALING)
        tiles, shrink = list(split_into_tiles(small)), shrink_options()
        detections: list[Detection] = []
        for number, (tile, left, top) in enumerate(tiles, 1):
            # Tiles need more memory than whole images; the run of the last one frees it.
            run_options = shrink if number == len(tiles) else None
            complete = [
                face
                for face in self._detect(tile, run_options)
                if not _crosses_tile_border(face, tile, left, top, small)
            ]
            detections += [face.shifted(left, top).scaled(TILE_DOWNSCALING) for face in complete]
        return detections

    def _detect(self, pixels: np.ndarray, run_options: Any = None) -> list[Detection]:
        """Detect faces without resizing, in an image of at most `TILE_SIDE` pixels a side."""
        padded = pad(pixels)
        outputs = self._session.run(self._outputs, {"pixels": padded}, run_options)
        rows = [
            decode(outputs[4 * k : 4 * k + 4], stride, padded.shape[1] // stride)
            for k, stride in enumerate(STRIDES)
        ]
        return non_maximum_suppression(
            [_to_detection(row) for row in np.concatenate(rows).tolist()]
        )


def decode(outputs: Sequence[np.ndarray], stride: int, columns: int) -> np.ndarray:
    """Decode the outputs of one pyramid level into boxes, landmarks and confidences.

    Args:
        outputs: Four arrays:

            - class scores, (1, cells, 1), 0 to 1
            - objectness scores, (1, cells, 1), 0 to 1
            - boxes, (1, cells, 4): center / stride - cell position, and log(size / stride)
            - landmarks, (1, cells, 10): point / stride - cell position
        stride: Distance between cells in pixels.
        columns: Number of cells per row.

    Returns:
        (N, 15) float64: x, y, width, height, five landmarks (x, y) and confidence of the N cells
        whose confidence is at least `MIN_CONFIDENCE`. The confidence is the geometric mean of both
        scores.
    """
    class_scores, objectness, boxes, points = outputs
    confidence = np.sqrt(class_scores[0, :, 0].clip(0, 1) * objectness[0, :, 0].clip(0, 1))
    (cells,) = np.nonzero(confidence >= MIN_CONFIDENCE)
    anchors = np.stack([cells % columns, cells // columns], 1).astype(np.float64)  # (N, 2): x, y
    box = boxes[0, cells].astype(np.float64)
    size = np.exp(box[:, 2:]) * stride
    corner = (anchors + box[:, :2]) * stride - size / 2
    landmarks = (points[0, cells].reshape(-1, 5, 2) + anchors[:, None]) * stride
    return np.concatenate(
        [corner, size, landmarks.reshape(-1, 10), confidence[cells, None]], axis=1
    )


def _to_detection(row: list[float]) -> Detection:
    landmarks = tuple((row[k], row[k + 1]) for k in range(4, 14, 2))
    return Detection((row[0], row[1], row[2], row[3]), row[14], landmarks)


def pad(pixels: np.ndarray) -> np.ndarray:
    """Pad an image with black on the right and below, to multiples of 32 from 64 on."""
    height, width = pixels.shape[:2]
    padded_height, padded_width = (
        math.ceil(max(side, MIN_PADDED_SIDE) / STRIDES[-1]) * STRIDES[-1]
        for side in (height, width)
    )
    if (padded_height, padded_width) == (height, width):
        return np.ascontiguousarray(pixels)
    padded = np.zeros((padded_height, padded_width, 3), np.uint8)
    padded[:height, :width] = pixels
    return padded


def downscale(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Downscale (H, W, 3) uint8 pixels by `scale`, to at least one pixel a side.

    Pillow first reduces the image by an integer factor (`reducing_gap`), which is ten times as fast
    as exact averaging.
    """
    size = [max(1, round(n * scale)) for n in (pixels.shape[1], pixels.shape[0])]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0))


def split_into_tiles(pixels: np.ndarray) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield overlapping tiles that cover an image, each with its left and top coordinates."""
    height, width = pixels.shape[:2]
    for top, bottom in tile_intervals(height):
        for left, right in tile_intervals(width):
            yield pixels[top:bottom, left:right], left, top


def tile_intervals(length: int) -> list[tuple[int, int]]:
    """Return start and end of each tile along one axis: as few tiles as possible, of equal size."""
    count = max(1, math.ceil((length - TILE_OVERLAP) / (TILE_SIDE - TILE_OVERLAP)))
    size = math.ceil((length + (count - 1) * TILE_OVERLAP) / count)
    starts = [round(k * (length - size) / max(count - 1, 1)) for k in range(count)]
    return [(start, min(start + size, length)) for start in starts]


def _crosses_tile_border(
    detection: Detection, tile: np.ndarray, left: int, top: int, image: np.ndarray
) -> bool:
    """Return whether a box crosses a border of its tile that is not a border of the image."""
    x, y, width, height = detection.box
    return (
        (x < 0 and left > 0)
        or (y < 0 and top > 0)
        or (x + width > tile.shape[1] and left + tile.shape[1] < image.shape[1])
        or (y + height > tile.shape[0] and top + tile.shape[0] < image.shape[0])
    )


def load(threads: int = 0) -> YuNet:
    """Load the packaged YuNet with `threads` threads per image; 0 uses all cores."""
    return YuNet(threads=threads)
