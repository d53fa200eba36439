"""Evaluates a finished run once more, in another folder, and compares the figures.

    python -m anon_jax.main --verify=DIR [--workdir=SCRATCH] [--tolerance=0.02]

The networks that were trained (reconstruct, pretrain_privacy, minimax) are taken from DIR; the
attackers and classifiers of all evaluations are trained anew with the same seed. On the same
machine and versions every figure then agrees bit for bit; on another one the rounding of sums
differs, and what is trained on it drifts apart.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from anon_jax import settings
from anon_jax.errors import ConfigError, WorkdirError
from anon_jax.read_json import read_json
from configs import base
from input_pipeline.progress import say

# The evaluation that a measurement of results.json comes from.
_EVALUATIONS = {
    "action": "evaluate_action",
    "privacy": "evaluate_privacy",
    "reconstruction": "evaluate_reconstruction",
    "identity": "evaluate_identity",
    "frames": "evaluate_frames",
}
_TRAINED = ("reconstruct", "pretrain_privacy", "minimax")
_COMPARED = ("methods", "method", "seed", "datasets", "minimax")
_TIMED = ("ms_per_frame",)  # no two runs have the same
_CIRCUMSTANCES = ("versions", "commit", "machine", "data")


def verified_config(run: Path) -> ConfigDict:
    """The config by which a finished run is evaluated once more.

    Raises:
      WorkdirError: `run` is no workdir, or has no results yet.
      ConfigError: its config is not one of this version.
    """
    stored, results = (_read(run, name) for name in ("config.json", "results.json"))
    config = base.get_config()
    with config.unlocked():
        try:
            config.update(stored)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{run}/config.json is no config of this version: {error}") from error
    methods = results.get("methods", {})
    measured = {name for found in methods.values() for name in found}
    if not measured & set(_EVALUATIONS):
        raise WorkdirError(f"{run} evaluated nothing: its results.json has no figures to compare")
    phases = [phase for name, phase in _EVALUATIONS.items() if name in measured]
    config.phases = (*(phase for phase in base.PHASES if phase in phases), "report")
    config.pretrained = ""  # only what trains networks reads it
    config.evaluate_raw = "raw" in methods
    settings.check_config(config)
    return config


def prepare(run: Path, scratch: Path, config: ConfigDict) -> None:
    """Makes `scratch` a workdir that finds the trained networks of `run`; nothing is written there.

    Raises:
      WorkdirError: `scratch` is in use by something else, or is `run` itself.
    """
    if scratch.resolve() == run.resolve():
        raise WorkdirError(f"--workdir is {run}, the run itself; name another folder or none")
    settings.claim_workdir(scratch, config)
    trained = [Path("checkpoints") / phase for phase in _TRAINED]
    for name in [*trained, Path("metrics") / "minimax.jsonl"]:
        link = scratch / name
        if (run / name).exists() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((run / name).resolve())


def differing_figures(run: Path, scratch: Path, tolerance: float) -> list[str]:
    """A line for each figure of results.json that is not the same in both folders.

    Two numbers are the same where they differ by at most `tolerance`, in the figure's own unit
    (scores are in [0, 1]); all else where it is equal. Times are not compared. Says on stderr which
    circumstances are others than those of the run, as these explain differences.
    """
    then, now = (_read(folder, "results.json") for folder in (run, scratch))
    for name in _CIRCUMSTANCES:
        if name not in then:
            say(f"note: results.json of {run} does not say its {name}: an older version wrote it")
        elif then[name] != now[name]:
            say(f"note: {name} differs: {_short(then[name])} then, {_short(now[name])} now")
    ours, theirs = (dict(_leaves({k: r.get(k) for k in _COMPARED})) for r in (then, now))
    missing = "missing"
    return [
        f"{name}: {ours.get(name, missing)} then, {theirs.get(name, missing)} now"
        for name in [*ours, *(name for name in theirs if name not in ours)]
        if not _same(ours.get(name, missing), theirs.get(name, missing), tolerance)
    ]


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = read_json(folder / name)
    except FileNotFoundError as error:
        raise WorkdirError(f"{folder} is no finished run: there is no {name}") from error
    except ValueError as error:
        raise WorkdirError(f"{folder / name} is damaged: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("methods", {}), dict):
        raise WorkdirError(f"{folder / name} is not what a run has written")
    return found


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """{"a": {"b": [1]}} -> ("a.b.0", 1)."""
    if not isinstance(tree, dict | list):
        yield name, tree
        return
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if key not in _TIMED:
            yield from _leaves(value, f"{name}.{key}" if name else str(key))


def _same(ours: Any, theirs: Any, tolerance: float) -> bool:
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return ours == theirs or math.isclose(ours, theirs, rel_tol=0.0, abs_tol=tolerance)
    return bool(ours == theirs)


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
