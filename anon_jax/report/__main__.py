"""Compares finished runs: python -m anon_jax.report DIR... --output=DIR.

Each DIR is a workdir of `anon_jax.main`, for example a cell of a sweep (SWEEP/cells/*).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from anon_jax.errors import RunError
from anon_jax.report.compare import write_comparison


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script; it exits with 0 where at least one run could be used."""
    given = _parser().parse_args(arguments)
    try:
        left_out = write_comparison(given.folders, given.output)
    except (RunError, OSError) as error:
        sys.exit(f"error: {error}")
    for item in left_out:
        print(f"left out: {item.folder}: {item.reason}", file=sys.stderr)
    print(f"Report: {given.output / 'report.html'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m anon_jax.report", description="Compares finished runs on one page."
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="workdir of a run")
    parser.add_argument(
        "--output", required=True, type=Path, help="folder of report.html, report.md, report.json"
    )
    return parser


if __name__ == "__main__":
    main()
