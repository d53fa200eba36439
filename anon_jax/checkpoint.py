"""Checkpoints of one phase: the training state together with the data iterator's position.

    DIRECTORY/STEP/state          written by Orbax, each process its part of the arrays
    DIRECTORY/STEP/data           the iterator's position, which is the same in all processes
    DIRECTORY/STEP/loop.json      what the loop carries from one step to the next
    DIRECTORY/STEP/metrics        the score on validation, once it is known
    DIRECTORY/STEP/manifest.json  the checksums of all these

A folder is called by its step alone when it is whole; others (STEP.partial) are leftovers of a dead
process. Of several processes the first one does what is done with folders, and says what it has
found; how many there are, and of how many devices, may change between a save and a restore.
"""

import contextlib
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from anon_jax import distributed, interruption
from anon_jax.errors import WorkdirError
from anon_jax.manifest import find_damage, read_manifest, write_manifest
from anon_jax.results import PARTIAL, write_json
from anon_jax.state import NetState, TrainState
from input_pipeline.progress import say

_KEPT = 2  # newest ones: where the last is damaged, training goes on from the one before
_LOOP = "loop.json"
_POSITION = "data/process_0-of-1.json"  # where Grain's own handler of checkpoints looks for it
_SCORE = "metrics/metrics"  # where Orbax's manager keeps it
# What Orbax, tensorstore and Grain raise for what they cannot read or write.
_UNREADABLE = (ValueError, KeyError, TypeError, OSError)


class Checkpointer:
    """Saves and restores below one folder; keeps the newest checkpoints and the one scored best.

    A save is atomic: a kill in the middle of it leaves the former checkpoints as they were. Only
    `save`, `record_score` and `restore` change anything on disk.
    """

    def __init__(self, directory: Path, *, scored: bool = False):
        """`scored`: each checkpoint is to have a score, and the best one is read in the end."""
        self.directory = directory.absolute()
        self._scored = scored
        self._orbax = ocp.Checkpointer(ocp.CompositeCheckpointHandler())

    def latest_step(self) -> int | None:
        """Step of the newest whole checkpoint."""
        return distributed.first(self._latest_step)

    def best_step(self) -> int | None:
        """Step of the highest score, of the later one among equals."""
        return distributed.first(self._best_step)

    def score(self, step: int) -> float | None:
        """The score that was recorded for a checkpoint."""
        return distributed.first(lambda: self._score(step))

    def save(self, state: TrainState, iterator: Any, loop: dict[str, Any] | None = None) -> None:
        """Saves at `state.step`, then removes the checkpoints that are no longer kept.

        Args:
          loop: JSON values that `restore` gives back.

        Raises:
          WorkdirError: the disk is full, or the folder may not be written; what was saved before
            stays.
        """
        step = int(state.step)
        partial = self.directory / f"{step}{PARTIAL}"
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(state))
        position = iterator.get_state()
        kept = self.latest_step()
        with interruption.saving():
            try:
                distributed.first(self._remove_leftovers)
                self._orbax.save(partial, args=arguments)
                distributed.first(lambda: self._complete(partial, step, position, loop or {}))
            except _UNREADABLE as error:
                if distributed.is_first():
                    with contextlib.suppress(OSError):
                        self._remove_leftovers()
                raise WorkdirError(
                    f"The checkpoint of step {step} could not be written to {self.directory}: "
                    f"{_first_line(error)}. Kept is {_named(kept)}; make room or restore the "
                    "rights, and the same command goes on from there"
                ) from error
            distributed.first(self._prune)

    def record_score(self, step: int, score: float) -> None:
        """The checkpoint of `step` competes for the best with `score` (higher is better)."""
        distributed.first(lambda: self._record_score(step, score))

    def restore(self, state: TrainState, iterator: Any) -> tuple[TrainState, dict[str, Any]]:
        """The newest undamaged checkpoint, or `state` where there is none, and what `save` took.

        Moves `iterator` along. Damaged checkpoints are named on stderr and removed, and so are
        leftovers of a killed process. Any that is damaged may have been the best of a scored phase:
        there training goes on from before it, which brings it back.

        Raises:
          WorkdirError: all that would do are damaged, or what is there does not fit `state`.
        """
        newest = distributed.first(self._newest_sound)
        if newest is None:
            return state, {}
        step = newest["step"]
        found = self._read(step, state=ocp.args.StandardRestore(_abstract(state)))
        with self._explained(step):
            iterator.set_state(newest["position"])
        distributed.first(lambda: self._remove_others(step, newest["damaged"]))
        return found["state"], newest["loop"]

    def restore_best(self, state: TrainState) -> TrainState:
        """The checkpoint of the best score, into the structure and sharding of `state`.

        Raises:
          WorkdirError: there is none, or it is damaged.
        """
        step = distributed.first(lambda: self._sound(self._best_step()))
        return self._read(step, state=ocp.args.StandardRestore(_abstract(state)))["state"]

    def restore_net(self, name: str, like: NetState, sharding: jax.sharding.Sharding) -> NetState:
        """One network of the latest checkpoint, without its optimizer, in the structure of `like`.

        Raises:
          WorkdirError: there is no checkpoint, or it is damaged.
        """
        step = distributed.first(lambda: self._sound(self._latest_step()))
        net = {"params": like.params, "batch_stats": like.batch_stats}
        target = {"nets": {name: _abstract(net, sharding)}}
        arguments = ocp.args.PyTreeRestore(
            item=target,
            partial_restore=True,
            restore_args=ocp.checkpoint_utils.construct_restore_args(target),
        )
        return NetState(**self._read(step, state=arguments)["state"]["nets"][name])

    def close(self) -> None:
        """Frees Orbax's threads."""
        self._orbax.close()

    # What follows is called in the first process alone, but for `_read`.

    def _steps(self) -> list[int]:
        if not self.directory.is_dir():
            return []
        return [int(path.name) for path in self.directory.iterdir() if path.name.isdecimal()]

    def _folder(self, step: int) -> Path:
        return self.directory / str(step)

    def _latest_step(self) -> int | None:
        return max(self._steps(), default=None)

    def _best_step(self) -> int | None:
        scores = {step: self._score(step) for step in self._steps()}
        ranked = [(_rank(score), step) for step, score in scores.items() if score is not None]
        return max(ranked)[1] if ranked else None

    def _score(self, step: int) -> float | None:
        folder = self._folder(step)
        try:
            listed = read_manifest(folder)
            if listed is not None and _SCORE not in listed:
                return None  # a kill came between the score and the manifest
            score = json.loads((folder / _SCORE).read_text())["score"]
            return math.nan if score is None else float(score)
        except (OSError, ValueError, KeyError):
            return None

    def _record_score(self, step: int, score: float) -> None:
        folder = self._folder(step)
        write_json(folder / _SCORE, {"score": None if math.isnan(score) else score})
        write_manifest(folder)
        self._prune()

    def _complete(self, partial: Path, step: int, position: Any, loop: dict[str, Any]) -> None:
        """Adds what Orbax has not written, and gives the folder its name."""
        write_json(partial / _POSITION, position)
        write_json(partial / _LOOP, loop)
        write_manifest(partial)
        partial.rename(self._folder(step))

    def _newest_sound(self) -> dict[str, Any] | None:
        """What to go on from, and what is damaged; removes the leftovers of dead processes."""
        self._remove_leftovers()
        steps = self._steps()
        damaged = {step: words for step in steps if (words := find_damage(self._folder(step)))}
        end = min(damaged) if damaged and self._scored else math.inf
        sound = [step for step in steps if step < end and step not in damaged]
        if not sound:
            if damaged:
                raise WorkdirError(self._damage(damaged))
            return None
        folder = self._folder(max(sound))
        loop = folder / _LOOP  # a checkpoint of an older version has none
        with self._explained(max(sound)):
            return {
                "step": max(sound),
                "damaged": list(damaged.items()),
                "loop": json.loads(loop.read_text()) if loop.is_file() else {},
                "position": json.loads((folder / _POSITION).read_text()),
            }

    def _remove_others(self, step: int, damaged: list[tuple[int, str]]) -> None:
        """Removes what lies beyond `step`, and what is damaged."""
        for other, words in damaged:
            say(f"{self._folder(other)} is damaged: {words}; going on from step {step}")
        for other in self._steps():
            if other > step or other in dict(damaged):
                self._remove(other)

    def _read(self, step: int, **items: Any) -> Any:
        # Orbax's threads are loud when its loop is left.
        with self._explained(step), interruption.deferred():
            return self._orbax.restore(self._folder(step), args=ocp.args.Composite(**items))

    @contextlib.contextmanager
    def _explained(self, step: int) -> Iterator[None]:
        """Makes an error in reading the checkpoint of `step` a sentence."""
        try:
            yield
        except _UNREADABLE as error:
            raise WorkdirError(
                f"{self._folder(step)} cannot be restored: {_first_line(error)}. It is damaged, or "
                "was written by another version of anon_jax; remove this folder to go on from an "
                f"earlier checkpoint, or {self.directory} to begin the phase anew"
            ) from error

    def _sound(self, step: int | None) -> int:
        """`step`, where its checkpoint is there and undamaged."""
        if step is None:
            raise WorkdirError(
                f"There is no checkpoint in {self.directory}: the phase that writes it has not run "
                "yet; add it to config.phases"
            )
        if damage := find_damage(self._folder(step)):
            raise WorkdirError(self._damage({step: damage}))
        return step

    def _damage(self, damaged: dict[int, str]) -> str:
        named = "; ".join(f"step {step}: {damage}" for step, damage in damaged.items())
        return (
            f"No undamaged checkpoint of those needed is in {self.directory} ({named}). Put a copy "
            "back, or remove this folder: its phase then runs anew, with the same result"
        )

    def _prune(self) -> None:
        kept = {*sorted(self._steps())[-_KEPT:], self._best_step()}
        for step in self._steps():
            if step not in kept:
                self._remove(step)

    def _remove(self, step: int) -> None:
        """Under another name first: a kill must not leave half a checkpoint that looks whole."""
        going = self.directory / f"{step}{PARTIAL}"
        self._folder(step).rename(going)
        shutil.rmtree(going)

    def _remove_leftovers(self) -> None:
        """Half a save or half a removal, of Orbax or of this class."""
        for path in self.directory.glob(f"*{PARTIAL}*"):
            shutil.rmtree(path)


def _rank(score: float) -> float:
    return -math.inf if math.isnan(score) else score


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def _named(step: int | None) -> str:
    return "none" if step is None else f"that of step {step}"


def _abstract(tree: Any, sharding: jax.sharding.Sharding | None = None) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding), tree
    )
