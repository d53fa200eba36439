"""The folders of one phase's checkpoints: which are whole, sound and the best, and which go.

    DIRECTORY/STEP/state          written by Orbax, each process its part of the arrays
    DIRECTORY/STEP/data           the iterator's position, which is the same in all processes
    DIRECTORY/STEP/loop.json      what the loop carries from one step to the next
    DIRECTORY/STEP/metrics        the score on validation, once it is known
    DIRECTORY/STEP/manifest.json  the checksums of all these

A folder is called by its step alone when it is whole; others (STEP.partial) are leftovers of a dead
process.
"""

import contextlib
import json
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anon_jax.errors import WorkdirError, first_line
from anon_jax.manifest import find_damage, read_manifest, write_manifest
from anon_jax.results import PARTIAL, write_json
from input_pipeline.progress import say

# What Orbax, tensorstore and Grain raise for what they cannot read or write.
UNREADABLE = (ValueError, KeyError, TypeError, OSError)

_REMOVALS = 50  # tries, at most
_BETWEEN_REMOVALS = 0.1  # seconds
_KEPT = 2  # newest ones: where the last is damaged, training goes on from the one before
_LOOP = "loop.json"
_POSITION = "data/process_0-of-1.json"  # where Grain's own handler of checkpoints looks for it
_SCORE = "metrics/metrics"  # where Orbax's manager keeps it


class CheckpointFolders:
    """What is done with the folders as such; of several processes the first one alone does it.

    Args:
      directory: absolute.
      scored: each checkpoint is to have a score, and the best one is read in the end.
    """

    def __init__(self, directory: Path, *, scored: bool):
        self.directory = directory
        self._scored = scored

    def folder(self, step: int) -> Path:
        """Where the checkpoint of a step is, or will be."""
        return self.directory / str(step)

    def partial(self, step: int) -> Path:
        """Where it is until it is whole."""
        return self.directory / f"{step}{PARTIAL}"

    def latest_step(self) -> int | None:
        """Step of the newest whole checkpoint."""
        return max(self._steps(), default=None)

    def best_step(self) -> int | None:
        """Step of the highest score, of the later one among equals."""
        scores = {step: self.score(step) for step in self._steps()}
        ranked = [(_rank(score), step) for step, score in scores.items() if score is not None]
        return max(ranked)[1] if ranked else None

    def score(self, step: int) -> float | None:
        """The score that was recorded for a checkpoint; NaN is one."""
        folder = self.folder(step)
        try:
            listed = read_manifest(folder)
            if listed is not None and _SCORE not in listed:
                return None  # a kill came between the score and the manifest
            score = json.loads((folder / _SCORE).read_text())["score"]
            return math.nan if score is None else float(score)
        except (OSError, ValueError, KeyError):
            return None

    def record_score(self, step: int, score: float) -> None:
        """Adds the score to a checkpoint, then removes those that are no longer kept."""
        folder = self.folder(step)
        write_json(folder / _SCORE, {"score": None if math.isnan(score) else score})
        write_manifest(folder)
        self.prune()

    def complete(self, step: int, position: Any, loop: dict[str, Any]) -> None:
        """Adds to a partial checkpoint what Orbax has not written, and gives it its name."""
        partial = self.partial(step)
        write_json(partial / _POSITION, position)
        write_json(partial / _LOOP, loop)
        write_manifest(partial)
        partial.rename(self.folder(step))

    def newest_sound(self) -> dict[str, Any] | None:
        """What to go on from, and what is damaged; removes the leftovers of dead processes.

        Returns:
          {"step", "loop", "position", "damaged": [(step, words), ...]}, None where nothing is.

        Raises:
          WorkdirError: all that would do are damaged.
        """
        self.remove_leftovers()
        steps = self._steps()
        damaged = {step: words for step in steps if (words := find_damage(self.folder(step)))}
        end = min(damaged) if damaged and self._scored else math.inf
        sound = [step for step in steps if step < end and step not in damaged]
        if not sound:
            if damaged:
                raise WorkdirError(self._damage(damaged))
            return None
        folder = self.folder(max(sound))
        loop = folder / _LOOP  # a checkpoint of an older version has none
        with self.explained(max(sound)):
            return {
                "step": max(sound),
                "damaged": list(damaged.items()),
                "loop": json.loads(loop.read_text()) if loop.is_file() else {},
                "position": json.loads((folder / _POSITION).read_text()),
            }

    def sound(self, step: int | None) -> int:
        """`step`, where its checkpoint is there and undamaged.

        Raises:
          WorkdirError: it is not.
        """
        if step is None:
            raise WorkdirError(
                f"There is no checkpoint in {self.directory}: the phase that writes it has not run "
                "yet; add it to config.phases"
            )
        if damage := find_damage(self.folder(step)):
            raise WorkdirError(self._damage({step: damage}))
        return step

    @contextlib.contextmanager
    def explained(self, step: int) -> Iterator[None]:
        """Makes an error in reading the checkpoint of `step` a WorkdirError."""
        try:
            yield
        except UNREADABLE as error:
            raise WorkdirError(
                f"{self.folder(step)} cannot be restored: {first_line(error)}. It is damaged, or "
                "was written by another version of anon_jax; remove this folder to go on from an "
                f"earlier checkpoint, or {self.directory} to begin the phase anew"
            ) from error

    def prune(self) -> None:
        """Removes all but the newest ones and the best."""
        kept = {*sorted(self._steps())[-_KEPT:], self.best_step()}
        for step in self._steps():
            if step not in kept:
                self._remove(step)

    def remove_others(self, step: int, damaged: list[tuple[int, str]]) -> None:
        """Removes what lies beyond `step`, and what is damaged, which is said on stderr."""
        for other, words in damaged:
            say(f"{self.folder(other)} is damaged: {words}; going on from step {step}")
        for other in self._steps():
            if other > step or other in dict(damaged):
                self._remove(other)

    def remove_leftovers(self) -> None:
        """Half a save or half a removal, of Orbax or of this class."""
        for path in self.directory.glob(f"*{PARTIAL}*"):
            shutil.rmtree(path)

    def remove_failed(self) -> None:
        """What a save that failed has left behind.

        Orbax raises the first error while other threads are still writing: what they write after
        the removal is removed as well. What cannot be removed stays for the next save to remove.
        """
        for _ in range(_REMOVALS):
            with contextlib.suppress(OSError):
                self.remove_leftovers()
            time.sleep(_BETWEEN_REMOVALS)
            if not list(self.directory.glob(f"*{PARTIAL}*")):
                return

    def _steps(self) -> list[int]:
        if not self.directory.is_dir():
            return []
        return [int(path.name) for path in self.directory.iterdir() if path.name.isdecimal()]

    def _remove(self, step: int) -> None:
        """Under another name first: a kill must not leave half a checkpoint that looks whole."""
        going = self.partial(step)
        self.folder(step).rename(going)
        shutil.rmtree(going)

    def _damage(self, damaged: dict[int, str]) -> str:
        named = "; ".join(f"step {step}: {damage}" for step, damage in damaged.items())
        return (
            f"No undamaged checkpoint of those needed is in {self.directory} ({named}). Put a copy "
            "back, or remove this folder: its phase then runs anew, with the same result"
        )


def _rank(score: float) -> float:
    return -math.inf if math.isnan(score) else score
