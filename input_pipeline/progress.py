"""Progress of long work: a bar in a terminal, otherwise a plain line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

LINE_SECONDS = 30.0  # between two plain lines

T = TypeVar("T")


def progress(items: Iterable[T], total: int, unit: str) -> Iterator[T]:
    """Passes `items` on and shows on stderr how many of `total` have come, in `unit`s."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, unit=f" {unit}")
        return
    start = last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= LINE_SECONDS:
            last = now
            rate = count / (now - start)
            print(f"{count} of {total} {unit}, {rate:.1f} a second", file=sys.stderr, flush=True)
