"""Map HDR and wide-gamut video to SDR RGB, with a look-up table for each kind of video.

HDR encodes light far brighter than a white page, so its values look dark and pale if they are
interpreted as SDR. The conversion is relative to the reference white of HDR (203 cd/m2, ITU-R
BT.2408):

- Light up to 70 % of the reference white keeps its brightness.
- Brighter light is compressed into the remaining range. Red, green and blue are scaled by the same
  factor, to preserve hues.
- Colors outside BT.709 are clipped.
- Metadata about the brightest pixel (MaxCLL) is not used.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

PQ, HLG = 16, 18
"""FFmpeg's numbers of the HDR transfer functions SMPTE ST 2084 and ARIB STD-B67."""

BT2020, UNSPECIFIED = 9, 2
"""FFmpeg's numbers of the color primaries of BT.2020 and of unspecified ones."""

REFERENCE_WHITE = 203.0
"""Luminance of a white page in HDR video, in cd/m2."""

HLG_PEAK = 1000.0
"""Nominal peak luminance of an HLG display, in cd/m2; `HLG_SYSTEM_GAMMA` depends on it."""

HLG_SYSTEM_GAMMA = 1.2
"""Exponent from the luminance of the scene to that of a display with `HLG_PEAK`."""

KNEE = 0.7
"""Fraction of the reference white above which light is compressed."""

GAMMA = 2.2
"""Exponent of the transfer function of SDR displays."""

TABLE_BITS = 7
"""Number of bits per channel that index a table. With 7, two adjacent 8-bit values share an entry,
and a table takes 8 MB."""

BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)
"""Weights of red, green and blue in the luminance of BT.2020."""

BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
"""Conversion matrix for linear RGB, from ITU-R BT.2087."""


def is_needed(transfer: int, primaries: int) -> bool:
    """Return whether a frame is HDR or has BT.2020's wide gamut; see `to_sdr` for the arguments."""
    return transfer in (PQ, HLG) or primaries == BT2020


def to_sdr(pixels: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Convert decoded RGB for which `is_needed` is true to SDR.

    Args:
        pixels: (H, W, 3) uint8 RGB, or (H, W, 4) with an alpha channel, which is not changed.
        transfer: FFmpeg's number of the transfer function.
        primaries: FFmpeg's number of the color primaries.

    Returns:
        uint8, of the same shape as `pixels`.
    """
    # HDR with unspecified primaries is assumed to be BT.2020, as in all HDR television.
    is_wide = primaries in (BT2020, UNSPECIFIED)
    codes = pixels >> np.uint8(8 - TABLE_BITS)
    index = codes[..., 0].astype(np.uint32) << np.uint32(2 * TABLE_BITS)
    index |= codes[..., 1].astype(np.uint32) << np.uint32(TABLE_BITS)
    index |= codes[..., 2]
    mapped = _table(transfer, is_wide)[index].view(np.uint8).reshape(*index.shape, 4)
    if pixels.shape[2] == 4:
        mapped[..., 3] = pixels[..., 3]
        return mapped
    return np.ascontiguousarray(mapped[..., :3])


@lru_cache(maxsize=4)
def _table(transfer: int, is_wide: bool) -> np.ndarray:
    """Compute the SDR color of each input color with `TABLE_BITS` bits per channel.

    Returns:
        (2 ** (3 * TABLE_BITS),) uint32; each consists of the bytes red, green, blue and 0.
    """
    levels, values_per_level = 2**TABLE_BITS, 2 ** (8 - TABLE_BITS)
    # Each entry is computed for the mean of the 8-bit values that share it.
    means = np.arange(levels, dtype=np.float32) * values_per_level + (values_per_level - 1) / 2
    codes = means / 255
    sdr = np.zeros((levels, levels, levels, 4), np.uint8)
    for red, plane in zip(codes, sdr, strict=True):  # one level of red at a time, to save memory
        rgb = np.stack([np.full((levels, levels), red), *np.meshgrid(codes, codes, indexing="ij")])
        light = _to_linear_light(np.moveaxis(rgb, 0, -1), transfer)
        light = np.maximum(light @ BT2020_TO_BT709.T if is_wide else light, 0)
        light = _compress_highlights(light) if transfer in (PQ, HLG) else light
        plane[..., :3] = (light ** (1 / GAMMA) * 255).round().clip(0, 255)
    return sdr.view(np.uint32).reshape(-1)


def _to_linear_light(values: np.ndarray, transfer: int) -> np.ndarray:
    """Convert encoded RGB to the linear light of a display, where 1 is the reference white."""
    # The constants of PQ and HLG are those of ITU-R BT.2100.
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
        return scene * luminance ** (HLG_SYSTEM_GAMMA - 1) * (HLG_PEAK / REFERENCE_WHITE)
    return values**GAMMA


def _compress_highlights(light: np.ndarray) -> np.ndarray:
    """Compress (..., 3) light above `KNEE` smoothly, so that no value is above 1."""
    brightest = np.maximum(light.max(axis=-1, keepdims=True), KNEE)
    compressed = KNEE + (1 - KNEE) * (1 - np.exp(-(brightest - KNEE) / (1 - KNEE)))
    return light * (compressed / brightest)
