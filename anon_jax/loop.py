"""fit(): the only training loop. A phase differs from another in the steps that it gives to it."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from anon_jax import allocator, distributed, interruption
from anon_jax.agreement import LeaveVotes
from anon_jax.checkpoint import Checkpointer
from anon_jax.errors import NonFiniteLossError
from anon_jax.sharding import shard_batch, split, to_host
from anon_jax.state import Metrics, TrainState
from anon_jax.steps import Step
from anon_jax.writers import MetricWriter
from input_pipeline.progress import say

ON_NONFINITE = ("stop", "roll_back")
MAX_SKIPPED = 10  # batches left out of a phase; more of them are no accident of the data


@dataclasses.dataclass(frozen=True)
class Loop:
    """What a phase's loop is made of besides its state and steps.

    Attributes:
      name: of the phase, in messages and in the progress bar.
      num_steps: updates in all, over all resumptions.
      log_every, checkpoint_every, sample_every: in steps; 0 = never.
      sample: called with the state at `sample_every`; writes pictures.
      validate: called with the state after each checkpoint; returns the score that decides which
        checkpoint is the best.
      name_records: {stream: indices} -> text that names the records of a bad batch.
      on_nonfinite: "stop", or "roll_back": go on from the last checkpoint without the batch that
        made a loss NaN or infinite.
    """

    name: str
    num_steps: int
    log_every: int
    checkpoint_every: int
    sample_every: int = 0
    sample: Callable[[TrainState], None] | None = None
    validate: Callable[[TrainState], float] | None = None
    name_records: Callable[[Any], str] = str
    on_nonfinite: str = "stop"


def fit(
    state: TrainState,
    schedule: Callable[[int], Step],
    stream: Any,
    *,
    loop: Loop,
    mesh: Mesh,
    checkpointer: Checkpointer,
    writer: MetricWriter,
) -> TrainState:
    """Trains from the latest checkpoint to `loop.num_steps`; the same as without the stop.

    Args:
      state: the state at step 0; also the structure that a checkpoint is restored into.
      schedule: which compiled step makes update i (0-based).
      stream: a Grain IterDataset of batches; its position is part of the checkpoint. Its iterator
        is closed at the end, whatever that is.

    Raises:
      NonFiniteLossError: a metric became NaN or infinite (with "roll_back": once too often). It is
        found at the next logging step, and always before a checkpoint is written, without a host
        synchronisation in each step.
      Interrupted: a signal came, to this or another process; the step that was being made is
        saved.
    """
    with interruption.deferred(), contextlib.closing(iter(stream)) as iterator:
        training = _Training(schedule, iterator, loop, mesh, checkpointer, writer)
        with contextlib.closing(writer):
            return training.run(split(state, mesh))


class _Training:
    """One call of `fit`: what it carries from one step to the next."""

    def __init__(
        self,
        schedule: Callable[[int], Step],
        iterator: Any,
        loop: Loop,
        mesh: Mesh,
        checkpointer: Checkpointer,
        writer: MetricWriter,
    ):
        self._schedule = schedule
        self._iterator = iterator
        self._loop = loop
        self._mesh = mesh
        self._checkpointer = checkpointer
        self._writer = writer
        self._leaving = LeaveVotes(mesh)
        self._drawn = 0  # batches that the stream has given
        self._skipped: list[int] = []  # those that are left out, numbered from 1
        # Since the last line of metrics: steps whose metrics are on the devices, then the others.
        self._pending: list[tuple[int, int, Any, Metrics]] = []
        self._checked: list[dict[str, float]] = []

    def run(self, state: TrainState) -> TrainState:
        loop = self._loop
        state = self._restore(state)
        step = int(state.step)
        # None: where stderr is no terminal.
        hidden = None if distributed.is_first() else True
        bar = tqdm(total=loop.num_steps, initial=step, desc=loop.name, disable=hidden, unit="step")
        with bar:
            while step < loop.num_steps:
                try:
                    if self._leaving.requested():
                        self._leave(state, step)
                    state = self._update(state, step + 1)
                    step += 1
                    bar.update()
                    if means := self._log_and_save(state, step):
                        shown = {k: f"{v:.3g}" for k, v in means.items() if k.endswith("loss")}
                        bar.set_postfix(shown)
                except NonFiniteLossError as error:
                    state = self._roll_back(state, error)
                    step = int(state.step)
        if self._leaving.requested_by_now():
            raise interruption.Interrupted
        return state

    def _restore(self, state: TrainState) -> TrainState:
        """The latest checkpoint, scored; one of `state` is made where it is needed as such."""
        state, carried = self._checkpointer.restore(state, self._iterator)
        step = int(state.step)
        self._drawn = carried.get("drawn", step)
        self._skipped = carried.get("skipped", [])
        self._checked = carried.get("metrics", [])
        self._pending = []
        self._writer.start(step)
        rolls_back = self._loop.on_nonfinite == "roll_back"
        # Later phases start from that of a phase of 0 steps; and there is always one to go back to.
        if self._checkpointer.latest_step() is None and (rolls_back or self._ends_at(step)):
            self._save(state)
        if self._ends_at(step) or (step and _due(step, self._loop.checkpoint_every)):
            self._validate(state, step)  # a stop came before it, or in the midst of it
        return state

    def _update(self, state: TrainState, step: int) -> TrainState:
        batch = self._next_batch()
        state, metrics = self._schedule(step - 1)(state, shard_batch(batch, self._mesh))
        self._pending.append((step, self._drawn, _indices(batch), metrics))
        return state

    def _next_batch(self) -> Any:
        while True:
            try:
                batch = next(self._iterator)
            except Exception:
                if interruption.requested():  # the signal has ended the worker processes as well
                    raise interruption.Interrupted from None
                raise
            self._drawn += 1
            if self._drawn not in self._skipped:
                return batch

    def _log_and_save(self, state: TrainState, step: int) -> dict[str, float]:
        """What is due after a step; returns the means of a new line of metrics."""
        loop = self._loop
        saves = self._ends_at(step) or _due(step, loop.checkpoint_every)
        means: dict[str, float] = {}
        if saves or _due(step, loop.log_every):
            self._check()
            allocator.give_back()  # the host waits here anyway
            means = self._means()
            self._writer.write(step, means)
            self._checked = []
        if loop.sample and (_due(step, loop.sample_every) or self._ends_at(step)):
            loop.sample(state)
        if saves:
            self._save(state)
            self._validate(state, step)
        return means

    def _leave(self, state: TrainState, step: int) -> None:
        """Saves what the last checkpoint does not have, and raises Interrupted."""
        if step != (self._checkpointer.latest_step() or 0):
            self._check()
            self._save(state)
        raise interruption.Interrupted(f"step {step} of phase {self._loop.name} is saved")

    def _save(self, state: TrainState) -> None:
        carried = {"drawn": self._drawn, "skipped": self._skipped, "metrics": self._checked}
        self._checkpointer.save(state, self._iterator, carried)

    def _validate(self, state: TrainState, step: int) -> None:
        """Scores the checkpoint of `step`, unless an earlier start has."""
        if not self._loop.validate or self._checkpointer.score(step) is not None:
            return
        with interruption.at_once():  # the state is saved
            score = float(self._loop.validate(state))
        self._writer.write(step, {"validation/score": score})
        self._checkpointer.record_score(step, score)

    def _check(self) -> None:
        """Fetches the metrics of the pending steps, all of which have to be finite."""
        fetched = to_host([metrics for *_, metrics in self._pending])
        for (step, batch, indices, _), metrics in zip(self._pending, fetched, strict=True):
            values = {name: float(value) for name, value in metrics.items()}
            for name, value in values.items():
                if not np.isfinite(value):
                    raise NonFiniteLossError(self._words(name, value, step, indices), batch)
            self._checked.append(values)
        self._pending = []

    def _means(self) -> dict[str, float]:
        """The mean of each metric over the checked steps that have it."""
        of_name: dict[str, list[float]] = {}
        for values in self._checked:
            for name, value in values.items():
                of_name.setdefault(name, []).append(value)
        means = {name: float(np.mean(values)) for name, values in of_name.items()}
        return means | ({"skipped_batches": len(self._skipped)} if self._skipped else {})

    def _roll_back(self, state: TrainState, error: NonFiniteLossError) -> TrainState:
        """The last checkpoint's state, with the batch of `error` left out of what comes after it.

        A start that is stopped before its next checkpoint finds the same batch again.
        """
        if self._loop.on_nonfinite == "stop":
            raise error
        skipped = [*self._skipped, error.batch]
        if len(skipped) > MAX_SKIPPED:
            raise NonFiniteLossError(
                f"{error} {MAX_SKIPPED} batches were left out of this phase before it.", error.batch
            ) from error
        state = self._restore(state)
        self._skipped = skipped
        say(f"{error} Left out: batch {error.batch}; going on from step {int(state.step)}.")
        return state

    def _words(self, name: str, value: float, step: int, indices: Any) -> str:
        latest = self._checkpointer.latest_step()
        directory = self._checkpointer.directory
        kept = f"step {latest} is kept in {directory}" if latest else "none yet"
        return (
            f"{name} is {value} at step {step} of phase {self._loop.name}. Last good checkpoint: "
            f"{kept}. Batch: {self._loop.name_records(indices)}. Lower the learning rate or set "
            "clip_norm of the phase's optimizer, or look at these records; with "
            "config.on_nonfinite='roll_back' such a batch is left out."
        )

    def _ends_at(self, step: int) -> bool:
        return step == self._loop.num_steps


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _indices(batch: Any) -> Any:
    """{"index": ...} of a batch or of each of its streams; stays on the host."""
    if "index" in batch:
        return batch["index"]
    return {name: part["index"] for name, part in batch.items()}
