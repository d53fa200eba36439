"""Checkpoints of one phase: the training state together with the data iterator's position.

Of several processes each writes its part of the arrays, and the first one does what is done with
folders (`checkpoint_folders`) and says what it has found; how many processes there are, and of how
many devices, may change between a save and a restore.
"""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from anon_jax import distributed, interruption
from anon_jax.checkpoint_folders import UNREADABLE, CheckpointFolders
from anon_jax.errors import WorkdirError, first_line
from anon_jax.state import NetState, TrainState


class Checkpointer:
    """Saves and restores below one folder; keeps the newest checkpoints and the one scored best.

    A save is atomic: a kill in the middle of it leaves the former checkpoints as they were. Only
    `save`, `record_score` and `restore` change anything on disk.
    """

    def __init__(self, directory: Path, *, scored: bool = False):
        """`scored`: each checkpoint is to have a score, and the best one is read in the end."""
        self.directory = directory.absolute()
        self._folders = CheckpointFolders(self.directory, scored=scored)
        self._orbax = ocp.Checkpointer(ocp.CompositeCheckpointHandler())

    def latest_step(self) -> int | None:
        """Step of the newest whole checkpoint."""
        return distributed.first(self._folders.latest_step)

    def best_step(self) -> int | None:
        """Step of the highest score, of the later one among equals."""
        return distributed.first(self._folders.best_step)

    def score(self, step: int) -> float | None:
        """The score that was recorded for a checkpoint."""
        return distributed.first(lambda: self._folders.score(step))

    def save(self, state: TrainState, iterator: Any, loop: dict[str, Any] | None = None) -> None:
        """Saves at `state.step`, then removes the checkpoints that are no longer kept.

        Args:
          loop: JSON values that `restore` gives back.

        Raises:
          WorkdirError: the disk is full, or the folder may not be written; what was saved before
            stays.
        """
        step = int(state.step)
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(state))
        position = iterator.get_state()
        kept = self.latest_step()
        with interruption.saving():
            try:
                distributed.first(self._folders.remove_leftovers)
                self._orbax.save(self._folders.partial(step), args=arguments)
                distributed.first(lambda: self._folders.complete(step, position, loop or {}))
            except UNREADABLE as error:
                if distributed.is_first():
                    self._folders.remove_failed()
                raise WorkdirError(
                    f"The checkpoint of step {step} could not be written to {self.directory}: "
                    f"{first_line(error)}. Kept is {_named(kept)}; make room or restore the "
                    "rights, and the same command goes on from there"
                ) from error
            distributed.first(self._folders.prune)

    def record_score(self, step: int, score: float) -> None:
        """The checkpoint of `step` competes for the best with `score` (higher is better)."""
        distributed.first(lambda: self._folders.record_score(step, score))

    def restore(self, state: TrainState, iterator: Any) -> tuple[TrainState, dict[str, Any]]:
        """The newest undamaged checkpoint, or `state` where there is none, and what `save` took.

        Moves `iterator` along. Damaged checkpoints are named on stderr and removed, and so are
        leftovers of a killed process. Any that is damaged may have been the best of a scored phase:
        there training goes on from before it, which brings it back.

        Raises:
          WorkdirError: all that would do are damaged, or what is there does not fit `state`.
        """
        newest = distributed.first(self._folders.newest_sound)
        if newest is None:
            return state, {}
        step = newest["step"]
        found = self._read(step, state=ocp.args.StandardRestore(_abstract(state)))
        with self._folders.explained(step):
            iterator.set_state(newest["position"])
        distributed.first(lambda: self._folders.remove_others(step, newest["damaged"]))
        return found["state"], newest["loop"]

    def restore_best(self, state: TrainState) -> TrainState:
        """The checkpoint of the best score, into the structure and sharding of `state`.

        Raises:
          WorkdirError: there is none, or it is damaged.
        """
        step = distributed.first(lambda: self._folders.sound(self._folders.best_step()))
        return self._read(step, state=ocp.args.StandardRestore(_abstract(state)))["state"]

    def restore_net(self, name: str, like: NetState, sharding: jax.sharding.Sharding) -> NetState:
        """One network of the latest checkpoint, without its optimizer, in the structure of `like`.

        Raises:
          WorkdirError: there is no checkpoint, or it is damaged.
        """
        step = distributed.first(lambda: self._folders.sound(self._folders.latest_step()))
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

    def _read(self, step: int, **items: Any) -> Any:
        # Orbax's threads are loud when its loop is left.
        with self._folders.explained(step), interruption.deferred():
            return self._orbax.restore(self._folders.folder(step), args=ocp.args.Composite(**items))


def _named(step: int | None) -> str:
    return "none" if step is None else f"that of step {step}"


def _abstract(tree: Any, sharding: jax.sharding.Sharding | None = None) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding), tree
    )
