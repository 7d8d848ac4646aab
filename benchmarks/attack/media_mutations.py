"""Random mutations of the bytes of media files."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from benchmarks.attack.media_samples import TITLE

Mutation = Callable[[bytearray, random.Random, list[bytes]], bytearray]
"""Takes the bytes of a file, a random generator, and the bytes of all valid files of the same kind;
returns the mutated bytes."""

EXTREMES = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
"""Extreme values of sizes and counts in headers."""

HEADER_BYTES = 600
"""Number of bytes at the start or end of a file that `_edit_header` may change."""

FOUR_CHARACTER_CODE = re.compile(rb"(?=[A-Za-z0-9]{4})")
"""A lookahead, so that codes may overlap: in b"xmoov", both b"xmoo" and b"moov" are found."""


def mutate(body: bytes, rng: random.Random, others: list[bytes]) -> tuple[str, bytes]:
    """Apply one to three random mutations.

    Args:
        body: The bytes of a file.
        rng: Random generator.
        others: The bytes of all valid files of the same kind, parts of which are inserted.

    Returns:
        The names of the mutations, and the mutated bytes.
    """
    mutated, names = bytearray(body), []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        name = rng.choice(list(MUTATIONS))
        names.append(name)
        if mutated:
            mutated = MUTATIONS[name](mutated, rng, others)
    return " + ".join(names), bytes(mutated)


def _flip_bits(body: bytearray, rng: random.Random, _: list[bytes]) -> bytearray:
    for _ in range(int(2 ** rng.uniform(0, 7))):
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    return body


def _edit_header(body: bytearray, rng: random.Random, _: list[bytes]) -> bytearray:
    """Replace bytes near the start, or near the end, where some formats have their index."""
    size = min(HEADER_BYTES, len(body))
    start = rng.choice((0, 0, len(body) - size))
    for _ in range(int(2 ** rng.uniform(0, 4))):
        body[start + rng.randrange(size)] = rng.choice((0, 0xFF, rng.randrange(256)))
    return body


def _truncate(body: bytearray, rng: random.Random, _: list[bytes]) -> bytearray:
    return body[: rng.randrange(len(body))]


def _splice(body: bytearray, rng: random.Random, others: list[bytes]) -> bytearray:
    """Continue with the rest of another file."""
    other = rng.choice(others)
    return body[: rng.randrange(len(body))] + other[rng.randrange(len(other)) :]


def _move_block(body: bytearray, rng: random.Random, _: list[bytes]) -> bytearray:
    """Delete, repeat, clear or move a block of random size."""
    start = rng.randrange(len(body))
    end = start + int(2 ** rng.uniform(0, 12))
    block, rest = body[start:end], body[:start] + body[end:]
    position = rng.randrange(len(rest) + 1)
    return rng.choice((
        rest,
        body[:end] + block + body[end:],
        body[:start] + bytes(len(block)) + body[end:],
        rest[:position] + block + rest[position:],
    ))  # fmt: skip


def _set_size(body: bytearray, rng: random.Random, _: list[bytes]) -> bytearray:
    """Write an extreme number, mostly next to a four-character code, where formats store sizes."""
    codes = _code_positions(body)
    width = rng.choice((1, 2, 4, 4, 4, 8))
    position = rng.randrange(len(body))
    if codes and rng.random() < 0.8:
        # The size is before the code in MP4 and PNG, after it in RIFF; other fields follow.
        position = rng.choice(codes) + rng.choice((-4, -4, 4, 8, rng.randrange(4, 80)))
    value = rng.choice((*EXTREMES, rng.randrange(2**32))) % 256**width
    position = max(0, min(position, len(body) - width))
    body[position : position + width] = value.to_bytes(width, rng.choice(("big", "little")))
    return body


def _exchange_codes(body: bytearray, rng: random.Random, others: list[bytes]) -> bytearray:
    """Replace a four-character code, such as that of a codec, by another or a random one."""
    positions = _code_positions(body)
    if not positions:
        return body
    donor = rng.choice(others) if rng.random() < 0.3 else body
    code = bytes(rng.choice(b"ABCXYZabcxyz0189 ") for _ in range(4))
    if rng.random() < 0.6 and (donor_positions := _code_positions(donor)):
        position = rng.choice(donor_positions)
        code = bytes(donor[position : position + 4])
    start = rng.choice(positions)
    old_code = bytes(body[start : start + 4])
    if rng.random() < 0.3:  # replace all occurrences
        return bytearray(bytes(body).replace(old_code, code))
    body[start : start + 4] = code
    return body


def _corrupt_title(body: bytearray, rng: random.Random, _: list[bytes]) -> bytearray:
    """Replace the title by bytes of the same length that are not valid UTF-8."""
    title = TITLE.encode()
    corrupted = title.replace(b"\xc3", b"\xe9")
    if rng.random() < 0.5:
        corrupted = bytes(rng.randrange(256) for _ in title)
    return bytearray(bytes(body).replace(title, corrupted))


def _code_positions(body: bytes | bytearray) -> list[int]:
    """Positions of all sequences of four letters or digits."""
    return [match.start() for match in FOUR_CHARACTER_CODE.finditer(body)]


MUTATIONS: dict[str, Mutation] = {
    "bits flipped": _flip_bits,
    "header edited": _edit_header,
    "truncated": _truncate,
    "spliced": _splice,
    "block moved": _move_block,
    "size changed": _set_size,
    "code exchanged": _exchange_codes,
    "metadata not UTF-8": _corrupt_title,
}
