"""Checkpoints of one phase: the training state together with the data iterator's position."""

from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from anon_jax.errors import WorkdirError
from anon_jax.state import NetState, TrainState


class Checkpointer:
    """Saves and restores below one folder; keeps the latest checkpoint, and of `scored` the best.

    A save is atomic: a kill in the middle of it leaves the former checkpoint as the latest.
    """

    def __init__(self, directory: Path, *, scored: bool = False):
        self.directory = directory.absolute()
        policies: list[Any] = [checkpoint_managers.LatestN(1)]
        if scored:
            policies.append(checkpoint_managers.BestN(get_metric_fn=_score, n=1))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
            best_fn=_score if scored else None,
            cleanup_tmp_directories=True,
            # The step that follows a save reuses the state's memory, so the save has to be over.
            enable_async_checkpointing=False,
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def latest_step(self) -> int | None:
        """Step of the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, state: TrainState, iterator: Any, score: float | None = None) -> None:
        """Saves at `state.step`; with a `score` (higher is better) it competes for the best."""
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), data=grain.checkpoint.CheckpointSave(iterator)
            ),
            metrics=None if score is None else {"score": float(score)},
        )

    def restore(self, state: TrainState, iterator: Any) -> TrainState:
        """The latest checkpoint, or `state` where there is none; moves `iterator` along."""
        step = self.latest_step()
        if step is None:
            return state
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(_abstract(state)),
                data=grain.checkpoint.CheckpointRestore(iterator),
            ),
        )
        return restored["state"]

    def restore_best(self, state: TrainState) -> TrainState:
        """The checkpoint of the best score, into the structure and sharding of `state`.

        Raises:
          WorkdirError: there is none.
        """
        step = self._manager.best_step()
        if step is None:
            raise WorkdirError(self._nothing_there())
        target = ocp.args.StandardRestore(_abstract(state))
        return self._manager.restore(step, args=ocp.args.Composite(state=target))["state"]

    def restore_net(self, name: str, like: NetState, sharding: jax.sharding.Sharding) -> NetState:
        """One network of the latest checkpoint, without its optimizer, in the structure of `like`.

        Raises:
          WorkdirError: there is no checkpoint.
        """
        step = self.latest_step()
        if step is None:
            raise WorkdirError(self._nothing_there())
        net = {"params": like.params, "batch_stats": like.batch_stats}
        target = {"nets": {name: _abstract(net, sharding)}}
        args = ocp.args.PyTreeRestore(
            item=target,
            partial_restore=True,
            restore_args=ocp.checkpoint_utils.construct_restore_args(target),
        )
        restored = self._manager.restore(step, args=ocp.args.Composite(state=args))
        return NetState(**restored["state"]["nets"][name])

    def _nothing_there(self) -> str:
        return (
            f"There is no checkpoint in {self.directory}: the phase that writes it has not run "
            "yet; add it to config.phases"
        )

    def close(self) -> None:
        """Frees the manager's threads."""
        self._manager.close()


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]


def _abstract(tree: Any, sharding: jax.sharding.Sharding | None = None) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding or x.sharding), tree
    )
