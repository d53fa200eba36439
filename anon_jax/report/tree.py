"""Reading what a run left, of which any part may be missing."""

import math
from collections.abc import Mapping
from typing import Any


def at(tree: Any, *path: str) -> Any:
    """The value at a path of nested dicts, or None where the path ends early."""
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def number(value: Any) -> float | None:
    """The value if it is a finite number, else None: NaN stands for "not defined" here."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None
