"""The finished runs of a comparison, and the folders that are none, with the reason."""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anon_jax.errors import WorkdirError
from anon_jax.read_json import read_json
from anon_jax.report.tree import at, number
from anon_jax.writers import read_metrics


@dataclasses.dataclass(frozen=True)
class Run:
    """A workdir of `anon_jax.main` whose phase "report" has run.

    Attributes:
      folder: as it was given.
      method: the run's own; others (raw) may have been measured beside it.
      results, config: of results.json and config.json.
      minimax: the lines of that phase's metrics; empty where it was not run.
      damaged: a sentence on a file of the run that is not needed and cannot be read; mostly empty.
    """

    folder: Path
    method: str
    seed: int
    results: Mapping[str, Any]
    config: Mapping[str, Any]
    minimax: Sequence[Mapping[str, float]] = ()
    damaged: str = ""

    @property
    def measured(self) -> Mapping[str, Any]:
        """{method: {"action": ..., "privacy": ...}}."""
        return self.results["methods"]


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """What does not enter a comparison, and the sentence that says why."""

    folder: str
    reason: str


def read_runs(folders: Sequence[Path]) -> tuple[list[Run], list[LeftOut]]:
    """The runs in the order given; a folder that cannot be used is left out, by name."""
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    seen: set[Path] = set()
    for folder in folders:
        try:
            if folder.resolve() in seen:
                raise WorkdirError("It was given twice; it counts once.")
            seen.add(folder.resolve())
            runs.append(read_run(folder))
        except WorkdirError as error:
            left_out.append(LeftOut(str(folder), str(error)))
    return runs, left_out


def read_run(folder: Path) -> Run:
    """One run.

    Raises:
      WorkdirError: it is no workdir, not finished, or its files are damaged; a sentence, without
        the name of the folder.
    """
    if not folder.is_dir():
        raise WorkdirError("It is no folder." if folder.exists() else "There is no such folder.")
    config = _read_object(folder, "config.json", "It is no workdir of anon_jax.main")
    phases = config.get("phases")
    if isinstance(phases, list) and "report" not in phases:
        raise WorkdirError(
            f"Its config ends before the report (phases: {', '.join(map(str, phases))}), so it has "
            "no results to compare."
        )
    results = _read_object(folder, "results.json", "It is not finished")
    methods, seed = results.get("methods"), results.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise WorkdirError(f"Its results.json has the seed {seed!r}, which is no integer.")
    if not isinstance(methods, dict) or not any(map(_has_scores, methods.values())):
        raise WorkdirError("It evaluated nothing: results.json has no Top-1 and no cMAP.")
    method = str(results.get("method", ""))
    return Run(folder, method, seed, results, config, *_minimax(folder))


def _minimax(folder: Path) -> tuple[list[dict[str, float]], str]:
    """The lines, and what is wrong with them."""
    name = "metrics/minimax.jsonl"
    try:
        lines = read_metrics(folder / name)
    except (OSError, ValueError) as error:
        problem = str(error)
    else:
        # A line without a step does not rise above the one before it.
        steps = [0.0, *(number(at(line, "step")) or 0.0 for line in lines)]
        rising = all(before < step for before, step in itertools.pairwise(steps))
        if rising and all(number(line.get("penalty/active", 0)) is not None for line in lines):
            return lines, ""
        problem = "a line has no step above the one before it, or what is no number"
    return [], f"{folder / name} cannot be read ({problem}), so that figures of it are missing."


def _has_scores(found: Any) -> bool:
    scores = (at(found, "action", "top1"), at(found, "privacy", "cmap"))
    return any(number(score) is not None for score in scores)


def _read_object(folder: Path, name: str, problem: str) -> dict[str, Any]:
    try:
        content = read_json(folder / name)
    except FileNotFoundError:
        raise WorkdirError(f"{problem}: there is no {name}.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise WorkdirError(f"Its {name} is broken: {error.msg} ({place}).") from None
    except (OSError, ValueError) as error:
        raise WorkdirError(f"Its {name} cannot be read: {error}.") from None
    if not isinstance(content, dict):
        raise WorkdirError(f"Its {name} is broken: it holds no JSON object.")
    return content
