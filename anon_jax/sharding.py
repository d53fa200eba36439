"""Data parallelism: one mesh axis "data", batches split over it, states replicated."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from anon_jax.errors import ConfigError
from anon_jax.steps import Step


def make_mesh(devices: int = 0) -> Mesh:
    """A mesh of `devices` devices (0 = all).

    Raises:
      ConfigError: more devices than there are.
    """
    available = jax.devices()
    if devices > len(available):
        raise ConfigError(f"config.devices is {devices}; this process sees {len(available)}")
    chosen = available[:devices] if devices else available
    return jax.make_mesh((len(chosen),), ("data",), axis_types=(AxisType.Auto,), devices=chosen)


def check_batch_size(field: str, batch_size: int, mesh: Mesh) -> None:
    """Raises ConfigError where the devices cannot share a batch evenly."""
    if batch_size % mesh.size:
        raise ConfigError(
            f"config.{field} is {batch_size}, which {mesh.size} devices cannot share evenly; "
            f"take a multiple of {mesh.size}, or set config.devices"
        )


def shard_batch(batch: Any, mesh: Mesh) -> Any:
    """This process's arrays -> global arrays whose first axis is split over the mesh."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that every device of the mesh holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A copy of the tree on every device of the mesh."""
    return jax.device_put(tree, replicated(mesh))


def compile_step(step: Step, mesh: Mesh) -> Step:
    """Jits a step: the state is replicated and its memory reused, the batch comes sharded.

    BatchNorm means and losses are over the global batch: the compiler adds the all-reduces.
    """
    whole = replicated(mesh)
    return jax.jit(step, donate_argnums=0, out_shardings=(whole, whole))


def to_host(tree: Any) -> Any:
    """Device arrays -> NumPy arrays."""
    return jax.tree.map(np.asarray, jax.device_get(tree))
