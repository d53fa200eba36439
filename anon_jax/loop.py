"""fit(): the only training loop. A phase differs from another in the steps that it gives to it."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from anon_jax.checkpoint import Checkpointer
from anon_jax.errors import NonFiniteLossError
from anon_jax.sharding import replicate, shard_batch, to_host
from anon_jax.state import Metrics, TrainState
from anon_jax.steps import Step
from anon_jax.writers import MetricWriter


@dataclasses.dataclass(frozen=True)
class Loop:
    """What a phase's loop is made of besides its state and steps.

    Attributes:
      name: of the phase, in messages and in the progress bar.
      num_steps: updates in all, over all resumptions.
      log_every, checkpoint_every, sample_every: in steps; 0 = never.
      sample: called with the state at `sample_every`; writes pictures.
      validate: called with the state before each checkpoint; returns the score that decides which
        checkpoint is the best.
      name_records: {stream: indices} -> text that names the records of a bad batch.
    """

    name: str
    num_steps: int
    log_every: int
    checkpoint_every: int
    sample_every: int = 0
    sample: Callable[[TrainState], None] | None = None
    validate: Callable[[TrainState], float] | None = None
    name_records: Callable[[Any], str] = str


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
      NonFiniteLossError: a metric became NaN or infinite. It is found at the next logging step, and
        always before a checkpoint is written, without a host synchronisation in each step.
    """
    with contextlib.closing(iter(stream)) as iterator:
        state = checkpointer.restore(replicate(state, mesh), iterator)
        return _train(state, schedule, iterator, loop, mesh, checkpointer, writer)


def _train(
    state: TrainState,
    schedule: Callable[[int], Step],
    iterator: Any,
    loop: Loop,
    mesh: Mesh,
    checkpointer: Checkpointer,
    writer: MetricWriter,
) -> TrainState:
    """`fit` from the restored state on."""
    start = int(state.step)
    writer.start(start)
    pending: list[tuple[int, Any, Metrics]] = []
    bar = tqdm(total=loop.num_steps, initial=start, desc=loop.name, disable=None, unit="step")
    for step in range(start + 1, loop.num_steps + 1):
        batch = next(iterator)
        state, metrics = schedule(step - 1)(state, shard_batch(batch, mesh))
        pending.append((step, _indices(batch), metrics))
        bar.update()
        saves = _due(step, loop.checkpoint_every) or step == loop.num_steps
        if saves or _due(step, loop.log_every):
            means = _collect(pending, loop, checkpointer)
            writer.write(step, means)
            bar.set_postfix({k: f"{v:.3g}" for k, v in means.items() if k.endswith("loss")})
            pending = []
        if loop.sample and (_due(step, loop.sample_every) or step == loop.num_steps):
            loop.sample(state)
        if saves:
            score = loop.validate(state) if loop.validate else None
            if score is not None:
                writer.write(step, {"validation/score": score})
            checkpointer.save(state, iterator, score)
    if checkpointer.latest_step() is None:  # a phase of 0 steps: later phases start from this
        checkpointer.save(state, iterator, loop.validate(state) if loop.validate else None)
    bar.close()
    writer.close()
    return state


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _indices(batch: Any) -> Any:
    """{"index": ...} of a batch or of each of its streams; stays on the host."""
    if "index" in batch:
        return batch["index"]
    return {name: part["index"] for name, part in batch.items()}


def _collect(
    pending: list[tuple[int, Any, Metrics]], loop: Loop, checkpointer: Checkpointer
) -> dict[str, float]:
    """The mean of each metric over the pending steps that have it, once all are finite."""
    values: dict[str, list[float]] = {}
    for step, indices, metrics in pending:
        for name, value in to_host(metrics).items():
            if not np.isfinite(value):
                latest = checkpointer.latest_step()
                kept = (
                    f"step {latest} is kept in {checkpointer.directory}" if latest else "none yet"
                )
                raise NonFiniteLossError(
                    f"{name} is {value} at step {step} of phase {loop.name}. Last good checkpoint: "
                    f"{kept}. Batch: {loop.name_records(indices)}. Lower the learning rate or set "
                    "clip_norm of the phase's optimizer, or look at these records."
                )
            values.setdefault(name, []).append(float(value))
    return {name: float(np.mean(of_name)) for name, of_name in values.items()}
