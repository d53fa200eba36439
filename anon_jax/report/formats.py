"""How numbers are written in a report; what is missing is a dash."""

from collections.abc import Sequence
from typing import Any

MISSING = "\u2014"  # an em dash: not measured, or not defined
SPACE = "\u00a0"  # keeps a number and its unit on one line


def percent(share: float | None, digits: int = 1) -> str:
    """0.8 -> "80.0 %"."""
    return MISSING if share is None else f"{100 * share:.{digits}f}{SPACE}%"


def points(share: float | None) -> str:
    """A difference of two shares, 0.051 -> "5.1 points"."""
    return MISSING if share is None else f"{100 * share:.1f}{SPACE}points"


def decimal(value: float | None, digits: int = 3) -> str:
    """0.8 -> "0.800"."""
    return MISSING if value is None else f"{value:.{digits}f}"


def short(value: Any) -> str:
    """A setting as it was given: 0.3 -> "0.3", 1.0 -> "1"."""
    if value is None:
        return MISSING
    return f"{value:g}" if isinstance(value, float) else str(value)


def count(value: float | None) -> str:
    """A large number, 1234567 -> "1,234,567"."""
    return MISSING if value is None else f"{value:,.0f}"


def limits(interval: Sequence[float] | None) -> str:
    """The limits of shares, (0.612, 0.701) -> "61.2 to 70.1 %"."""
    if interval is None:
        return MISSING
    low, high = (f"{100 * limit:.1f}" for limit in interval)
    return f"{low}{SPACE}to{SPACE}{high}{SPACE}%"


def change(before: float | None, after: float | None, digits: int = 3) -> str:
    """What a figure was, and became: "0.312 -> 0.045" with an arrow."""
    return f"{decimal(before, digits)}{SPACE}\u2192{SPACE}{decimal(after, digits)}"


def duration(seconds: float) -> str:
    """3725 -> "1 h 02 min"; below an hour "3 min 05 s", below a minute "5.0 s"."""
    if seconds < 60:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest:02d}{SPACE}s"
    return f"{minutes // 60}{SPACE}h {minutes % 60:02d}{SPACE}min"
