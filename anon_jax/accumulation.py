"""Gradient accumulation: one update's gradient from several micro-batches, one after the other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from anon_jax.state import Metrics, TrainState, Variables

# (state, batch, key) -> (gradients, BatchNorm statistics, metrics), the first two by network
Gradient = Callable[
    [TrainState, Any, jax.Array], tuple[dict[str, Variables], dict[str, Variables], Metrics]
]


def accumulated(gradient: Gradient, trained: tuple[str, ...], count: int) -> Gradient:
    """The mean of `gradient` over `count` micro-batches, with the memory of one of them.

    It equals that of the whole batch as far as the loss is a mean over elements that do not see
    each other. What sees the batch sees the micro-batch instead: BatchNorm, whose running
    statistics follow each micro-batch in turn, the negatives of NT-Xent, and a distance that is one
    root over the batch. Each micro-batch draws its own dropout; metrics are means over all.

    Args:
      trained: names of the networks that the gradient is for.
      count: at least 2; the leading axis of each array of the batch has to be a multiple of it.
    """

    def of_batch(state: TrainState, batch: Any, key: jax.Array) -> Any:
        def add(carried: Any, numbered: Any) -> Any:
            stats, total = carried
            number, micro_batch = numbered
            nets = {name: state.nets[name].replace(batch_stats=stats[name]) for name in trained}
            current = state.replace(nets={**state.nets, **nets})
            grads, stats, metrics = gradient(current, micro_batch, jax.random.fold_in(key, number))
            return (stats, jax.tree.map(jnp.add, total, grads)), metrics

        stats = {name: state.nets[name].batch_stats for name in trained}
        zeros = {name: jax.tree.map(jnp.zeros_like, state.nets[name].params) for name in trained}
        numbered = (jnp.arange(count), micro_batches(batch, count))
        (stats, total), metrics = jax.lax.scan(add, (stats, zeros), numbered)
        grads = jax.tree.map(lambda x: x / count, total)
        return grads, stats, jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)

    return of_batch


def micro_batches(batch: Any, count: int) -> Any:
    """Each array [B, ...] -> [count, B / count, ...]; micro-batch i has the rows i, i + count, ...

    Neighbouring rows lie on one device. Taken in strides, each device's own rows make its part of
    every micro-batch, and nothing is sent between devices.
    """

    def divide(x: jax.Array) -> jax.Array:
        rows = x.reshape(-1, count, *x.shape[1:])  # [B, ...] -> [B / count, count, ...]
        return jnp.swapaxes(rows, 0, 1)  # -> [count, B / count, ...]

    return jax.tree.map(divide, batch)
