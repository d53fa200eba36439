"""Shows one anonymized video in a live window; nothing of it is written anywhere."""

import contextlib
import dataclasses
import math

from anon_jax.anonymize.batch import open_reader
from anon_jax.anonymize.frames import VideoFormat
from anon_jax.anonymize.jobs import kind_of
from anon_jax.anonymize.methods import Method
from anon_jax.anonymize.pipeline import Pipeline
from anon_jax.anonymize.selfcheck import SelfCheck
from anon_jax.anonymize.urls import shown
from anon_jax.anonymize.window import Window, WindowWriter
from input_pipeline.errors import DataError
from input_pipeline.progress import say


def watch(
    source: str, method: Method, *, port: int, seconds: float | None, preview: bool
) -> dict[str, object]:
    """Anonymizes a file, a camera or a URL into a page of this machine, until it ends or Ctrl-C.

    A file is shown at its own pace, beginning when somebody looks; frames of a camera or a URL that
    come faster than they are anonymized are left out. Returns an entry of the summary.

    Args:
      port: of the page; 0 = any free one.
      seconds: of a camera or URL; None = until it ends.
      preview: raw and anonymized side by side.

    Raises:
      DataError: the source cannot be read, is an image, or the port is taken.
    """
    kind = kind_of(source)
    if kind == "image":
        raise DataError(f"{source} is an image; --window shows videos, cameras and URLs")
    live = kind == "live"
    check = SelfCheck()
    endless = math.inf if live and source.isdecimal() else None
    with open_reader(source, kind, endless if seconds is None else seconds) as reader:
        with Window(port) as window:
            if preview:
                say("warning: the page shows the raw frames beside the anonymized ones")
            say(f"Open {window.url} in a browser on this machine; Ctrl-C ends it.")

            def open_writer(video: VideoFormat) -> WindowWriter:
                width = video.width * (2 if preview else 1)
                return WindowWriter(window, dataclasses.replace(video, width=width), timed=not live)

            pipeline = Pipeline(
                reader,
                method,
                open_writer,
                check=check,
                preview=preview,
                advance=lambda frames: None,
                drop_late=live,
            )
            with contextlib.suppress(KeyboardInterrupt):  # how a window is closed
                if not live:
                    window.wait_for_viewer()
                pipeline.run()
        stream = pipeline.stream
        warnings = [*reader.warnings, *(stream.warnings() if stream else ()), *check.warnings()]
        for warning in warnings:
            say(f"  warning: {warning}")
        say(f"{shown(source)}: {pipeline.frames} frames shown, {pipeline.dropped} came too fast")
        return {
            "file": shown(source),
            "output": "window",
            "status": "done",
            "frames": pipeline.frames,
            "dropped": pipeline.dropped,
            "damaged": reader.damaged,
            "method": method.name,
            **method.facts,
            "nearly_unchanged": check.facts(),
            "warnings": warnings,
        }
