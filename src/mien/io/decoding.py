"""Decode a video stream; report each damaged part once, and continue after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mien.errors import ErrorCallback, UserError
from mien.io.clock import PresentationClock
from mien.io.container import demux, may_reset_timestamps

MAX_DAMAGED = 10_000
"""Reading of a file ends after more than this many consecutive damaged packets and frames, or more
than this many packets, consecutive or not, that cannot be read from the container."""

SEGMENT_ID = b"\x18\x53\x80\x67"
"""Identifier of the element that contains the streams of a Matroska or WebM file."""

VP8_SHOW_FRAME = 0x10
"""Bit in the first byte of a VP8 frame; 0 for a frame that is used only as a reference."""


class TimedDecoder:
    """Decodes a stream to frames with their seconds.

    A file counts as damaged if packets cannot be read or decoded, if the decoder marks frames as
    corrupt, or if the file is shorter than its container states. Irregular timestamps and a wrong
    frame count or duration in the header do not count as damage, because intact files have them.
    Nor does a recording that begins between key frames or, as of a broadcast, ends within a frame.

    Args:
        container: An open PyAV container.
        stream: Its video stream.
        decoder: The decoder of the stream.
        clock: Computes the seconds of its frames.
        name: Name of the source in messages.
        on_warning: Called with a `UserError` for each damaged part.
    """

    def __init__(
        self,
        container: Any,
        stream: Any,
        decoder: Any,
        clock: PresentationClock,
        name: str,
        on_warning: ErrorCallback,
    ) -> None:
        self._container, self._stream, self._decoder = container, stream, decoder
        self._clock, self._name, self._on_warning = clock, name, on_warning
        self._damaged_count, self._intact_until = 0, 0.0
        self._failed_packets = 0
        self._is_last_packet_corrupt = False
        self._has_key_frame = False

    def __iter__(self) -> Iterator[tuple[float, Any]]:
        """Yield the seconds of each frame and the decoded frame, in temporal order."""
        for decoded in self._decoded_packets():
            for av_frame in decoded:
                yield from self._with_seconds(av_frame)
            if self._damaged_count > MAX_DAMAGED:
                break
        if self._failed_packets and not self._clock.count:
            self._report("is damaged: no frame could be read")
            return
        # Recordings of broadcasts may end within a frame. Their formats let timestamps restart.
        may_be_broadcast = may_reset_timestamps(self._container)
        if may_be_broadcast and self._damaged_count <= 1:
            return
        last = max(self._clock.last, 0.0)
        # Corrupt frames after the last intact one show that the file goes on after the damage.
        if self._damaged_count and self._intact_until < last:
            self._report_damage()
        elif self._damaged_count or self._is_truncated():
            self._report(f"is truncated: no frame could be read after {last:.1f} s")

    def _with_seconds(self, av_frame: Any) -> Iterator[tuple[float, Any]]:
        """Yield the frame if the clock returns its seconds; count damage or report its end."""
        # If a recording begins between two key frames, its first frame is incomplete.
        if av_frame.is_corrupt and self._clock.count:
            self._add_damage()
        elif self._damaged_count:
            self._report_damage()
        seconds = self._clock(av_frame)
        if seconds is not None:
            yield seconds, av_frame

    def _add_damage(self) -> None:
        if not self._damaged_count:
            self._intact_until = max(self._clock.last, 0.0)
        self._damaged_count += 1

    def _report_damage(self) -> None:
        self._report(f"is damaged after {self._intact_until:.1f} s; reading continues after that")
        self._damaged_count = 0

    def _report(self, damage: str) -> None:
        self._on_warning(UserError(f"{self._name} {damage}."))

    def _decoded_packets(self) -> Iterator[list]:
        """Yield the decoded frames of each packet; the list is empty for a damaged packet."""
        import av

        for packet in self._packets():
            if packet is not None:
                self._has_key_frame |= packet.is_keyframe
                self._is_last_packet_corrupt = packet.is_corrupt
            try:
                yield self._decoder.decode(packet)
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, ValueError):  # ValueError: the decoder cannot be opened
                self._failed_packets += 1
                # If a recording begins between two key frames, it is decodable from the second one.
                if self._has_key_frame:
                    self._add_damage()
                yield []

    def _packets(self) -> Iterator[Any]:
        """Yield all packets with data, then None, which flushes the decoder."""
        for packet in _read_packets(self._container, self._stream, self._add_damage):
            # AVI has an empty packet for each dropped frame; the previous one is shown instead.
            if packet.size:
                yield packet
        yield None

    def _is_truncated(self) -> bool:
        """Return whether the file ends within its last packet, or is shorter than it states."""
        name, size = self._container.format.name, self._container.size
        if self._is_last_packet_corrupt:
            return True
        if "mp4" in name and size > 0:
            return any(entry.pos + entry.size > size for entry in self._stream.index_entries)
        if "matroska" in name and Path(self._container.name).is_file():
            return _matroska_end(Path(self._container.name)) > size
        return False


def _read_packets(
    container: Any, stream: Any, on_damage: Callable[[], None] = lambda: None
) -> Iterator[Any]:
    """Yield the packets of a stream; call `on_damage` for each packet that cannot be read."""
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
        before: Presentation timestamp (PTS) of the first frame that is not counted, in units of the
            stream's time base.
    """
    times = set()  # of several frames with the same time, `PresentationClock` keeps one
    for packet in _read_packets(container, stream):
        time = packet.pts if packet.pts is not None else packet.dts
        # Decoding timestamps increase, and a frame is never shown before it is decoded.
        if packet.dts is not None and packet.dts >= before:
            break
        if time is not None and time < before and _is_shown(packet):
            times.add(time)
    return len(times)


def _is_shown(packet: Any) -> bool:
    """Return whether a packet contains a frame that is shown."""
    if packet.is_discard or not packet.size:
        return False
    is_vp8 = packet.stream.codec_context.name == "vp8"
    return not is_vp8 or bool(memoryview(packet)[0] & VP8_SHOW_FRAME)


def _matroska_end(path: Path) -> int:
    """Return the size in bytes that a Matroska or WebM file states, or 0 if it states none."""
    with open(path, "rb") as file:
        head = file.read(4096)
    id_start = head.find(SEGMENT_ID)
    if id_start < 0:
        return 0
    # The size of the segment is a variable-length integer of EBML: the number of leading zero bits
    # is the number of bytes after the first one, and the 1 after them is not part of the value.
    size_start = id_start + len(SEGMENT_ID)
    size_bytes = head[size_start : size_start + 8]
    length = 9 - size_bytes[0].bit_length() if size_bytes else 9
    if length > 8 or len(size_bytes) < length:
        return 0
    value_mask = (1 << 7 * length) - 1
    size = int.from_bytes(size_bytes[:length], "big") & value_mask
    is_unknown = size == value_mask  # as in recordings that were streamed
    return 0 if is_unknown else size_start + length + size
