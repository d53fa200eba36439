"""The inner loop: decode in a thread, anonymize here, encode in a thread, bounded queues between.

Memory holds two queues of _QUEUED frames, a batch, and what the method holds back.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from anon_jax.anonymize.frames import Anonymized, Frame, Shot, VideoFormat
from anon_jax.anonymize.methods import FrameStream, Method
from anon_jax.anonymize.selfcheck import SelfCheck

_QUEUED = 8  # frames in a queue
_POLL = 0.1  # seconds after which a waiting thread looks whether another one has failed
_GRACE = 5.0  # seconds in which a thread begins, once it is launched
_END = None


class Reader(Protocol):
    """Where shots come from."""

    format: VideoFormat | None

    def __iter__(self) -> Iterator[Shot]:
        """The shots in order; `format` is known with the first one."""


class Writer(Protocol):
    """Where frames go to."""

    def write(self, frame: Frame | None, pts: int, duration: int) -> None:
        """Takes one anonymized frame; None stands for a damaged one."""

    def finish(self) -> None:
        """After the last frame."""

    def abandon(self) -> None:
        """After an error."""


class Pipeline:
    """Anonymizes one video.

    Attributes:
      frames: written so far, black ones included.
      dropped: shots that came too late for `drop_late`.
      stream: the method's, once the first frame has come.

    Args:
      open_writer: VideoFormat of the frames to write -> the writer.
      preview: write raw and anonymized frames side by side.
      advance: called with `frames` after each one.
      drop_late: where the method is slower than the reader, leave shots out rather than lag behind.
    """

    def __init__(
        self,
        reader: Reader,
        method: Method,
        open_writer: Callable[[VideoFormat], Writer],
        *,
        check: SelfCheck,
        preview: bool,
        advance: Callable[[int], object],
        drop_late: bool = False,
    ):
        self._reader, self._method, self._open_writer = reader, method, open_writer
        self._check, self._preview, self._advance = check, preview, advance
        self._drop_late = drop_late
        self._waiting: deque[Shot] = deque()  # shots that are not written yet
        self._ready: deque[Anonymized] = deque()  # what the method made of their frames
        self._decoded, self._to_write = _Channel(), _Channel()
        self.frames = self.dropped = 0
        self.stream: FrameStream | None = None

    def run(self) -> None:
        """Runs until the last frame is encoded and the writer has finished.

        Raises whatever a part raises; then all parts have ended.
        """
        stop = threading.Event()
        threads = [_Part(self._decode, stop), _Part(self._encode, stop)]
        self._decoded.stop = self._to_write.stop = stop
        try:
            for thread in threads:
                thread.launch()
            self._anonymize()
            threads[1].join_politely()
        except _Stopped:
            pass  # the error is with the part that raised it
        finally:
            stop.set()
            for thread in threads:
                thread.wait_for_end()
        for thread in threads:
            if thread.error is not None:
                raise thread.error

    def _decode(self) -> None:
        for shot in self._reader:
            if self._drop_late:
                self.dropped += self._decoded.make_room()
            self._decoded.put(shot)
        self._decoded.put(_END)

    def _anonymize(self) -> None:
        shot = self._decoded.get()
        if shot is _END:
            return
        height, width = _format(self._reader).height, _format(self._reader).width
        self.stream, size = self._method.start(height, width)
        batch: list[Frame] = []
        while shot is not _END:
            self._waiting.append(shot)
            if shot.frame is not None:
                batch.append(shot.frame)
            if len(batch) == size:
                self._pass_on(self.stream.feed(batch))
                batch = []
            shot = self._decoded.get()
        if batch:
            self._pass_on(self.stream.feed(batch))
        self._pass_on(self.stream.finish())
        if self._waiting or self._ready:
            raise RuntimeError("the method returned another number of frames than it was given")
        self._to_write.put(_END)

    def _pass_on(self, anonymized: Iterable[Anonymized]) -> None:
        """Hands on what is ready, damaged shots in their places, in order."""
        self._ready.extend(anonymized)
        while self._waiting and (self._waiting[0].frame is None or self._ready):
            shot = self._waiting.popleft()
            self._to_write.put((self._finished(shot), shot.pts, shot.duration))
            self.frames += 1
            self._advance(self.frames)

    def _finished(self, shot: Shot) -> Frame | None:
        if shot.frame is None:
            return None
        result = self._ready.popleft()
        if result.frame.shape != shot.frame.shape:
            raise RuntimeError(f"the method made {result.frame.shape} of {shot.frame.shape}")
        self._check.add(shot.frame, result)
        return side_by_side(shot.frame, result.frame) if self._preview else result.frame

    def _encode(self) -> None:
        item = self._to_write.get()
        if item is _END:
            return
        writer = self._open_writer(_format(self._reader))
        try:
            while item is not _END:
                writer.write(*item)
                item = self._to_write.get()
            writer.finish()
        except BaseException:
            writer.abandon()
            raise


def side_by_side(raw: Frame, anonymized: Frame) -> Frame:
    """[H, W, 3] twice -> [H, 2 W, 3]: what a preview shows."""
    return np.concatenate([raw, anonymized], axis=1)


class _Stopped(Exception):
    """Another part has failed."""


class _Channel:
    """A bounded queue whose two ends notice when another part has failed."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(_QUEUED)
        self.stop = threading.Event()

    def put(self, item: Any) -> None:
        while not self.stop.is_set():
            try:
                return self._queue.put(item, timeout=_POLL)
            except queue.Full:
                continue
        raise _Stopped

    def make_room(self) -> int:
        """Takes the oldest item out where the queue is full; returns how many went."""
        if not self._queue.full():
            return 0
        try:
            self._queue.get_nowait()
        except queue.Empty:  # the other end was faster
            return 0
        return 1

    def get(self) -> Any:
        while not self.stop.is_set():
            try:
                return self._queue.get(timeout=_POLL)
            except queue.Empty:
                continue
        raise _Stopped


class _Part(threading.Thread):
    """A thread that keeps its error, and stops the others by it."""

    def __init__(self, action: Callable[[], None], stop: threading.Event):
        super().__init__(daemon=True)
        self._action, self._stop_all = action, stop
        self._launched = False
        self._begun, self._ended = threading.Event(), threading.Event()
        self.error: BaseException | None = None

    def launch(self) -> None:
        """Like `start`, which a signal may interrupt at any point."""
        self._launched = True
        self.start()

    def run(self) -> None:
        self._begun.set()
        try:
            self._action()
        except _Stopped:
            return
        except BaseException as error:
            self.error = error
            self._stop_all.set()
        finally:
            self._ended.set()

    def wait_for_end(self) -> None:
        """Waits until it touches nothing any more, whether or not it ever began."""
        if self._launched and self._begun.wait(_GRACE):
            self._ended.wait()

    def join_politely(self) -> None:
        """Waits for the end so that Ctrl-C is heard meanwhile."""
        while self.is_alive():
            self.join(_POLL)


def _format(reader: Reader) -> VideoFormat:
    assert reader.format is not None, "known with the first shot"
    return reader.format
