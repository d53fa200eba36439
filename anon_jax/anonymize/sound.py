"""The sound of a video, encoded anew beside the anonymized frames."""

from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av

from input_pipeline.errors import DataError

_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OTHER_RATE = 48000
_SAMPLES = {"aac": 1024, "libopus": 960}  # of one frame of the codec
_FORMATS = {"aac": "fltp", "libopus": "flt"}  # the samples that the encoders take


class Sound:
    """The first audio stream of a file, decoded and encoded anew as mono or stereo.

    Not copied: what a sound stream may carry besides sound does not pass. Packets that cannot be
    decoded are left out and counted.

    Attributes:
      there: whether the input has a sound stream.
      found: whether it can be decoded.
      damaged: packets that were left out.

    Args:
      container: of the input, opened for the sound alone; it is closed by whoever opened it.
    """

    def __init__(self, container: av.container.InputContainer):
        self._container = container
        self._streams = container.streams.audio
        self.there = bool(self._streams)
        self.damaged = 0
        self._frames = self._decoded()
        self._ahead = next(self._frames, None)
        self.found = self._ahead is not None

    def start(self, container: av.container.OutputContainer, codec: str, start: Fraction) -> None:
        """Adds the stream to the output; `start` is the input's time in seconds that becomes 0."""
        first = self._ahead
        assert first is not None, "there is no sound"
        same = first.sample_rate in _AAC_RATES and codec == "aac"
        self._rate = first.sample_rate if same else _OTHER_RATE
        layout = "mono" if first.layout.nb_channels == 1 else "stereo"
        try:
            stream = container.add_stream(codec, rate=self._rate, layout=layout)
        except ValueError as error:
            raise DataError(f"PyAV was built without the encoder {codec}: {error}") from error
        self._stream = cast(av.AudioStream, stream)
        self._output, self._start = container, start
        self._resampler = av.AudioResampler(
            format=_FORMATS[codec],
            layout=layout,
            rate=self._rate,
            frame_size=_SAMPLES[codec],
        )
        self._ended = False
        self._next = 0  # samples given so far, gaps included

    def advance(self, until: Fraction | None) -> None:
        """Writes the sound up to a time of the output in seconds, or (None) all that is left."""
        while self._ahead is not None:
            time = (self._ahead.pts or 0) * Fraction(self._ahead.time_base or 1) - self._start
            if until is not None and time > until:
                return
            if time >= 0:
                rate = self._ahead.sample_rate
                # A damaged file may go back in time, which no container can.
                self._ahead.pts = max(round(time * rate), self._next)
                self._ahead.time_base = Fraction(1, rate)
                self._next = self._ahead.pts + self._ahead.samples
                self._write(self._ahead)
            self._ahead = next(self._frames, None)
        if until is None and not self._ended:
            self._ended = True
            self._write(None)
            self._encode(None)

    def _write(self, frame: av.AudioFrame | None) -> None:
        try:
            resampled = self._resampler.resample(frame)
        except (av.FFmpegError, ValueError):  # a frame whose layout or rate changed, e.g.
            self.damaged += 1
            return
        for part in resampled:
            if part is not None:
                self._encode(part)

    def _encode(self, frame: av.AudioFrame | None) -> None:
        try:
            self._output.mux(self._stream.encode(frame))
        except av.FFmpegError as error:
            raise DataError(
                f"the sound cannot be written ({error.strerror}); leave --keep-audio out"
            ) from error

    def _decoded(self) -> Iterator[av.AudioFrame]:
        if not self._streams:
            return
        stream = self._streams[0]
        if stream.codec_context is None:  # of a codec that FFmpeg lacks
            return
        try:
            for packet in self._container.demux(stream):
                try:
                    yield from stream.codec_context.decode(packet)
                except av.FFmpegError:
                    self.damaged += 1
        except av.FFmpegError:  # the file breaks off
            self.damaged += 1
