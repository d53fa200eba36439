"""Event files for TensorBoard.

Imported by those who write one alone: tensorboardX loads PyTorch where it is installed, which takes
longer than all else that a run imports.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tensorboardX.summary import scalar


class EventFile:
    """A new event file; what an earlier one of its folder has from `step` on is no longer shown."""

    def __init__(self, prefix: Path, step: int):
        prefix.parent.mkdir(parents=True, exist_ok=True)
        # Not a SummaryWriter: the thread that it writes in dies of a full disk without a word, and
        # the training then waits for it for ever.
        self._writer = EventsWriter(str(prefix))
        self._add(step=step, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to the curve of each value.

        Raises:
          OSError: the disk is full.
        """
        for name, value in values.items():
            self._add(step=step, summary=scalar(name, value))

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _add(self, **content: Any) -> None:
        self._writer.write_event(event_pb2.Event(wall_time=time.time(), **content))
        self._writer.flush()
