"""A live window: the anonymized frames on a page of this machine, as they are made.

A browser shows them (motion JPEG, which every browser plays): a window of a graphics toolkit would
need one to be installed, and a screen at the machine with the camera.
"""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2

from anon_jax.anonymize.frames import Frame, VideoFormat
from anon_jax.local_requests import HOST, is_ours
from input_pipeline.errors import DataError

_QUALITY = 90  # of the JPEGs
_LONGEST_WAIT = 2.0  # seconds; a longer pause of a file is shortened, so that Ctrl-C is heard
_BOUNDARY = "frame"
_PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>anonymized</title><style>
body { margin: 0; background: #111; color: #ccc; font: 14px sans-serif; text-align: center }
img { max-width: 100vw; max-height: calc(100vh - 3em); margin: auto; display: block }
</style></head><body><img src="/frames" alt="the anonymized video">
<p>Anonymized, on this machine only. No method is a guarantee that nobody can be recognised.</p>
</body></html>
"""


class Window:
    """Serves what it is shown at `url`, to browsers of this machine alone.

    Args:
      port: 0 = any free one.

    Raises:
      DataError: the port is taken.
    """

    def __init__(self, port: int):
        self._changed = threading.Condition()
        self._picture: bytes | None = None
        self._number = 0  # pictures shown so far
        self._viewers = 0
        self._closed = False
        try:
            self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        except (OSError, OverflowError) as error:
            raise DataError(
                f"--port={port} cannot be used: {error}; take another one, or 0 for any free one"
            ) from error
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it can be looked at."""
        return f"http://{HOST}:{self._server.server_port}/"

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the pages and frees the port."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def wait_for_viewer(self) -> None:
        """Returns when a browser has opened the page; Ctrl-C is heard meanwhile."""
        with self._changed:
            while not self._viewers:
                self._changed.wait(0.2)

    def show(self, frame: Frame) -> None:
        """Hands an anonymized frame, uint8 RGB [H, W, 3], to whoever looks at the page."""
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if not done:
            raise DataError(f"a frame of {frame.shape} cannot be shown")
        with self._changed:
            self._picture, self._number = encoded.tobytes(), self._number + 1
            self._changed.notify_all()

    def pictures(self) -> Iterator[bytes]:
        """The JPEGs of the frames from now on, those left out that came too fast for the caller."""
        with self._changed:
            self._viewers += 1
            self._changed.notify_all()
        try:
            seen = 0
            while True:
                with self._changed:
                    while self._number == seen and not self._closed:
                        self._changed.wait()
                    if self._number == seen or self._picture is None:
                        return
                    seen, picture = self._number, self._picture
                yield picture
        finally:
            with self._changed:
                self._viewers -= 1


class WindowWriter:
    """Shows frames at their times instead of writing them; see `writing.VideoWriter`.

    Args:
      timed: frames come faster than they are to be shown (of a file); those of a camera are shown
        as soon as they are there.
    """

    def __init__(self, window: Window, video: VideoFormat, *, timed: bool):
        self._window, self._video, self._timed = window, video, timed
        self._next: float | None = None  # when the next frame is due
        self._last_pts = 0

    def write(self, frame: Frame | None, pts: int, duration: int) -> None:
        """Shows one frame when it is due; a damaged one (None) leaves the one before it."""
        if self._timed:
            now = time.monotonic()
            gap = float((pts - self._last_pts) * self._video.time_base)
            # Late frames do not hasten those after them.
            due = now if self._next is None else max(now, self._next + min(gap, _LONGEST_WAIT))
            time.sleep(due - now)
            self._next, self._last_pts = due, pts
        if frame is not None:
            self._window.show(frame)

    def finish(self) -> None:
        """Nothing is left to do: every frame was shown."""

    def abandon(self) -> None:
        """Nothing is left behind."""


def _handler(window: Window) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            if not is_ours(headers):
                self.send_error(403, "Only from this machine")
            elif self.path == "/":
                self._send("text/html; charset=utf-8")
                self.wfile.write(_PAGE)
            elif self.path == "/frames":
                self._send(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
                self._stream()
            else:
                self.send_error(404)

        def _send(self, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()

        def _stream(self) -> None:
            try:
                for picture in window.pictures():
                    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                    self.wfile.write(f"{head}Content-Length: {len(picture)}\r\n\r\n".encode())
                    self.wfile.write(picture + b"\r\n")
            except ConnectionError:  # the page was closed
                return

        def log_message(self, format: str, *arguments: Any) -> None:
            """Requests are not worth a line."""

    return Handler
