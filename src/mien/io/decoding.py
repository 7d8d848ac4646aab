"""Decode a video stream, report each damaged part once, and continue after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mien.errors import ErrorCallback, UserError
from mien.io.clock import PresentationClock
from mien.io.container import demux, has_timestamp_resets

MAX_DAMAGED = 10_000
"""Maximum consecutive damaged packets; reading ends after more."""

SEGMENT_ID = b"\x18\x53\x80\x67"
"""Identifier of the element of Matroska and WebM files that contains the streams."""


class TimedDecoder:
    """Decodes a stream to frames with their seconds.

    A file counts as damaged if the decoder rejects packets or frames, or if it is shorter than its
    container states. Time stamps, counters and durations in the header are ignored, because they
    are often wrong.

    Args:
        container: An open PyAV container.
        stream: Its video stream.
        decoder: The decoder of the stream.
        clock: Computes the seconds of its frames.
        name: Name of the source in messages.
        on_error: Called with a `UserError` for each damaged part.
    """

    def __init__(
        self,
        container: Any,
        stream: Any,
        decoder: Any,
        clock: PresentationClock,
        name: str,
        on_error: ErrorCallback,
    ) -> None:
        self._container, self._stream, self._decoder = container, stream, decoder
        self._clock, self._name, self._on_error = clock, name, on_error
        self._damaged_count, self._intact_until = 0, 0.0
        self._failed_packets = 0
        self._is_last_packet_corrupt = False
        self._found_key_frame = False

    def __iter__(self) -> Iterator[tuple[float, Any]]:
        """Yield the seconds and the decoded frame of each frame, in temporal order."""
        for decoded in self._decoded_packets():
            for av_frame in decoded:
                yield from self._timed(av_frame)
            if self._damaged_count > MAX_DAMAGED:
                break
        if self._failed_packets and not self._clock.count:
            self._report("is damaged: no frame could be read")
            return
        # Recordings of broadcasts may end within a frame.
        if has_timestamp_resets(self._container) and self._damaged_count <= 1:
            return
        last = max(self._clock.last, 0.0)
        if self._damaged_count and self._intact_until < last:
            self._report_damage()
        elif self._damaged_count or self._is_truncated():
            self._report(f"is truncated: no frame could be read after {last:.1f} s")

    def _timed(self, av_frame: Any) -> Iterator[tuple[float, Any]]:
        # The first frame is incomplete where a recording begins between two key frames.
        if av_frame.is_corrupt and self._clock.count:
            self._add_damage()
        elif self._damaged_count:
            self._report_damage()
        if (seconds := self._clock(av_frame)) is not None:
            yield seconds, av_frame

    def _add_damage(self) -> None:
        if not self._damaged_count:
            self._intact_until = max(self._clock.last, 0.0)
        self._damaged_count += 1

    def _report_damage(self) -> None:
        self._report(f"is damaged after {self._intact_until:.1f} s; reading continues after that")
        self._damaged_count = 0

    def _report(self, damage: str) -> None:
        self._on_error(UserError(f"{self._name} {damage}."))

    def _decoded_packets(self) -> Iterator[list]:
        """Yield the decoded frames of each packet; the list is empty for a damaged packet."""
        import av

        for packet in self._packets():
            if packet is not None:
                self._found_key_frame |= packet.is_keyframe
                self._is_last_packet_corrupt = packet.is_corrupt
            try:
                yield self._decoder.decode(packet)
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, ValueError):  # ValueError: it cannot be opened
                self._failed_packets += 1
                # A stream that begins between two key frames is decodable from the second one on.
                if self._found_key_frame:
                    self._add_damage()
                yield []

    def _packets(self) -> Iterator[Any]:
        """Yield all packets with data, then None, which flushes the decoder."""
        for packet in _packets(self._container, self._stream, self._add_damage):
            # AVI has an empty packet for each dropped frame; the previous frame is shown longer.
            if packet.size:
                yield packet
        yield None

    def _is_truncated(self) -> bool:
        """Return whether the file ends before the data that its container lists."""
        name, size = self._container.format.name, self._container.size
        if self._is_last_packet_corrupt:
            return True
        if "mp4" in name and size > 0:
            return any(entry.pos + entry.size > size for entry in self._stream.index_entries)
        if "matroska" in name and Path(self._container.name).is_file():
            return _matroska_end(Path(self._container.name)) > size
        return False


def _packets(
    container: Any, stream: Any, on_damage: Callable[[], None] = lambda: None
) -> Iterator[Any]:
    """Yield the packets of a stream; call `on_damage` where none can be read."""
    import av

    packets, failures = demux(container, stream), 0
    while failures <= MAX_DAMAGED:
        try:
            packet = next(packets)
        except (StopIteration, av.error.EOFError):
            return
        except av.error.InvalidDataError:
            packets, failures = demux(container, stream), failures + 1
            on_damage()
        except av.error.FFmpegError:
            on_damage()
            return
        else:
            yield packet


def count_frames(container: Any, stream: Any, before: int) -> int:
    """Count the frames that are shown before a time, without decoding them.

    Args:
        container: An open PyAV container.
        stream: Its video stream.
        before: The time, in ticks of the stream.
    """
    times = set()
    for packet in _packets(container, stream):
        time = packet.pts if packet.pts is not None else packet.dts
        if packet.dts is not None and packet.dts >= before:
            break
        if time is not None and time < before and _is_shown(packet):
            times.add(time)
    return len(times)


def _is_shown(packet: Any) -> bool:
    """Return whether a packet contains a frame that is shown, not only a reference frame."""
    if packet.is_discard or not packet.size:
        return False
    return packet.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & 0x10)


def _matroska_end(path: Path) -> int:
    """Return the stated size in bytes of a Matroska or WebM file, or 0 if it is not stated."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if (start := head.find(SEGMENT_ID)) < 0:
        return 0
    digits = head[start + len(SEGMENT_ID) :][:8]
    length = 9 - digits[0].bit_length() if digits else 9
    if length > 8 or len(digits) < length:
        return 0
    unknown = (1 << 7 * length) - 1
    size = int.from_bytes(digits[:length], "big") & unknown
    return 0 if size == unknown else start + len(SEGMENT_ID) + length + size
