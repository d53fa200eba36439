"""Data parallelism: one mesh axis "data", batches split over it, states replicated."""

import os
from collections.abc import Mapping
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


def cpu_devices(batch_sizes: Mapping[str, int]) -> int:
    """How many devices to make of this machine's CPU cores: a power of two, at most the cores.

    XLA runs some gradients of a CPU device on one thread; a batch sharded over several devices
    keeps the other cores busy. Every batch size has to be a multiple of the number.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = 1
    while 2 * devices <= (cores or 1) and not any(n % (2 * devices) for n in batch_sizes.values()):
        devices *= 2
    return devices


def check_batch_sizes(batch_sizes: Mapping[str, int], mesh: Mesh) -> None:
    """Raises ConfigError where the devices cannot share a batch evenly."""
    for field, size in batch_sizes.items():
        if size % mesh.size:
            raise ConfigError(
                f"config.{field} is {size}, which {mesh.size} devices cannot share evenly; take a "
                f"multiple of {mesh.size}, or set config.devices"
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
