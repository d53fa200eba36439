"""When frames are shown, and which of them the decoder has lost on the way."""

from collections.abc import Iterator

import av

# Containers that store no times of display: the order and the rate are all that there is.
_TIMELESS = ("avi", "h264", "hevc", "m4v", "mpegvideo", "mjpeg")

_BACK = 25  # steps by which the times of a stream that does not begin anew may be out of order

_Moment = tuple[None, int | None, int]


class Clock:
    """Times from 0 at the first frame, rising whatever the file says.

    Where its times go back by more than a few frames (a stream that begins anew), they go on from
    where they were.

    Args:
      step: units between two frames, where the file does not say.
    """

    def __init__(self, step: int):
        self._step = step
        self._first: int | None = None
        self._next = 0  # what a frame without a time gets
        self._least = 0

    @property
    def start(self) -> int:
        """The file's own time of the first frame."""
        return self._first or 0

    @property
    def end(self) -> int:
        """When the last frame is over, as far as its duration is known."""
        return self._next

    def place(self, pts: int | None, duration: int) -> tuple[int, int]:
        """The (time, duration) of the next frame, in units of the stream's time base."""
        earliest = self._least - _BACK * self._step
        if pts is not None and (self._first is None or pts - self._first < earliest):
            self._first = pts - self._next
        time = self._next if pts is None else pts - self.start
        time = max(time, self._least)  # two frames at one time would stop the encoder
        duration = duration if duration > 0 else self._step
        self._least, self._next = time + 1, time + duration
        return time, duration


class Lost:
    """Which packets never became a frame.

    Decoders drop what they cannot decode, often silently. Where packets carry times of display,
    those that frames come out without are the lost ones; elsewhere only what fails aloud is known.

    Attributes:
      skipped: packets that have no frame to show.
    """

    def __init__(self, container: str, codec: str):
        self._timed = not set(container.split(",")) & set(_TIMELESS)
        self._codec = codec
        self._waiting: dict[int, int] = {}  # time of display -> duration, of packets sent
        self._first: int | None = None  # decoding time of the first packet
        self._delay: int | None = None  # units by which the decoder holds frames back
        self.skipped = 0

    def sent(self, packet: av.Packet) -> None:
        """Takes note of a packet before it is decoded."""
        if self._first is None:
            self._first = packet.dts
        if packet.size == 0 or packet.is_discard or self._is_invisible(packet):
            self.skipped += 1
        elif self._timed and packet.pts is not None:
            self._waiting[packet.pts] = packet.duration or 0

    def failed(self, packet: av.Packet | None) -> Iterator[_Moment]:
        """The moment of a packet that the decoder refused, where no later frame will tell."""
        if packet is not None and packet.size and (not self._timed or packet.pts is None):
            yield None, packet.dts, packet.duration or 0

    def before(self, frame: av.VideoFrame) -> Iterator[_Moment]:
        """The moments before this frame that no frame came for."""
        if frame.interlaced_frame:
            self._waiting.clear()  # a frame may come from two packets, one for each field
        elif frame.pts is not None:
            for pts in sorted(pts for pts in self._waiting if pts < frame.pts):
                yield None, pts, self._waiting.pop(pts)

    def time_of(self, frame: av.VideoFrame) -> tuple[int | None, int]:
        """The (time, duration) of a decoded frame."""
        if not self._timed:
            if frame.dts is None:  # given out at the end
                return None, 0
            if self._delay is None:
                self._delay = frame.dts - (frame.dts if self._first is None else self._first)
            return frame.dts - self._delay, 0
        if frame.pts is None:
            return None, 0
        return frame.pts, self._waiting.pop(frame.pts, 0)

    def rest(self) -> Iterator[_Moment]:
        """The moments after the last frame."""
        for pts in sorted(self._waiting):
            yield None, pts, self._waiting[pts]
        self._waiting.clear()

    def _is_invisible(self, packet: av.Packet) -> bool:
        """Whether this is one of VP8's reference frames that are never shown (RFC 6386, 9.1)."""
        return self._codec == "vp8" and not bytes(packet)[0] & 0b10000
