"""Progress of long work: a bar in a terminal, otherwise a plain line now and then."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

LINE_SECONDS = 30.0  # between two plain lines


class Progress:
    """Shows on stderr how many of `total` items, counted in `unit`, are done; a context manager."""

    def __init__(self, total: int, unit: str):
        self._total, self._unit, self._count = total, unit, 0
        self._start = self._last = time.monotonic()
        self._bar = tqdm(total=total, unit=f" {unit}") if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.close()

    def advance(self) -> None:
        """One more item is done."""
        self.advance_to(self._count + 1)

    def advance_to(self, count: int) -> None:
        """`count` items are done in all."""
        if self._bar:
            self._bar.update(count - self._count)
        self._count = count
        now = time.monotonic()
        if not self._bar and now - self._last >= LINE_SECONDS:
            self._last = now
            rate = count / (now - self._start)
            left = (self._total - count) / rate if rate else float("inf")
            print(
                f"{count} of {self._total} {self._unit}, {rate:.1f} a second, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )


def say(message: str) -> None:
    """A line on stderr for the person who started the command."""
    print(message, file=sys.stderr, flush=True)
