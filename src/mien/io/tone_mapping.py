"""Map HDR and wide-gamut video to ordinary (SDR) RGB, with one look-up table per kind of video.

HDR stores light far above the white of paper, so that its values read as RGB are dark and pale.
Here light up to 70 % of the reference white of HDR (203 cd/m2, ITU-R BT.2408) keeps its brightness.
Brighter light is compressed into the rest, with the same factor for red, green and blue so that
hues stay. Colors outside of BT.709 are clipped. Metadata about the brightest pixel is not used.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

PQ, HLG = 16, 18
"""FFmpeg's numbers of the two HDR transfer functions: SMPTE ST 2084 and ARIB STD-B67."""

BT2020, UNSPECIFIED = 9, 2
"""FFmpeg's numbers of color primaries."""

REFERENCE_WHITE, HLG_PEAK = 203.0, 1000.0
"""Brightness in cd/m2 of a white page, and of the display that HLG is defined for."""

KNEE = 0.7
"""Fraction of the reference white above which light is compressed."""

GAMMA = 2.2

BITS = 7
"""Bits of each color that index the table: 8 MB, and errors as small as those of 8-bit video."""

BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)

BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
"""For linear light, from ITU-R BT.2087."""


def is_needed(transfer: int, primaries: int) -> bool:
    """Whether a frame with these color properties is HDR or has the wide gamut of BT.2020."""
    return transfer in (PQ, HLG) or primaries == BT2020


def to_sdr(pixels: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Convert RGB as decoded to SDR.

    Args:
        pixels: (H, W, 3) uint8, or (H, W, 4) with alpha, which is kept.
        transfer: FFmpeg's number of the transfer function.
        primaries: FFmpeg's number of the color primaries.

    Returns:
        uint8 of the same shape.
    """
    # HDR without stated primaries is taken for BT.2020, as all HDR television is.
    is_wide = primaries in (BT2020, UNSPECIFIED)
    codes = pixels >> np.uint8(8 - BITS)
    index = codes[..., 0].astype(np.uint32) << np.uint32(2 * BITS)
    index |= codes[..., 1].astype(np.uint32) << np.uint32(BITS)
    index |= codes[..., 2]
    mapped = _table(transfer, is_wide)[index].view(np.uint8).reshape(*index.shape, 4)
    if pixels.shape[2] == 4:
        mapped[..., 3] = pixels[..., 3]
        return mapped
    return np.ascontiguousarray(mapped[..., :3])


@lru_cache(maxsize=4)
def _table(transfer: int, is_wide: bool) -> np.ndarray:
    """SDR as four bytes (the last is 0) in a uint32 for each color of `BITS` bits per channel."""
    levels = 2**BITS
    # The middle of the 8-bit values that share an entry.
    codes = (np.arange(levels, dtype=np.float32) * 2 ** (8 - BITS) + 2 ** (7 - BITS) - 0.5) / 255
    sdr = np.zeros((levels, levels, levels, 4), np.uint8)
    for red, plane in zip(codes, sdr, strict=True):  # in planes, to need little memory
        rgb = np.stack([np.full((levels, levels), red), *np.meshgrid(codes, codes, indexing="ij")])
        light = _light(np.moveaxis(rgb, 0, -1), transfer)
        light = np.maximum(light @ BT2020_TO_BT709.T if is_wide else light, 0)
        light = _compressed(light) if transfer in (PQ, HLG) else light
        plane[..., :3] = (light ** (1 / GAMMA) * 255).round().clip(0, 255)
    return sdr.view(np.uint32).reshape(-1)


def _light(values: np.ndarray, transfer: int) -> np.ndarray:
    """Linear light of a display from encoded RGB, 1 being the reference white."""
    if transfer == PQ:
        m1, m2 = 2610 / 16384, 2523 / 32
        c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
        root = values ** (1 / m2)
        return (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) * (
            10_000 / REFERENCE_WHITE
        )
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
        luminance = np.maximum(scene @ BT2020_LUMINANCE, 1e-6)[..., None]
        return scene * luminance**0.2 * (HLG_PEAK / REFERENCE_WHITE)
    return values**GAMMA


def _compressed(light: np.ndarray) -> np.ndarray:
    """Light with its highlights below 1."""
    brightest = np.maximum(light.max(axis=-1, keepdims=True), KNEE)
    compressed = KNEE + (1 - KNEE) * (1 - np.exp(-(brightest - KNEE) / (1 - KNEE)))
    return light * (compressed / brightest)
