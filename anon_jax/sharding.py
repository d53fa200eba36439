"""How arrays lie on the devices: batches split over all, large parameters over the axis "fsdp".

The mesh has the axes "data" and "fsdp". A batch is split over both; the optimizer and the
parameters are whole on each device where "fsdp" has size 1, which is the usual case.
"""

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from anon_jax import allocator, distributed
from anon_jax.errors import ConfigError
from anon_jax.native import library
from anon_jax.steps import Step

AXES = ("data", "fsdp")

# Values that an array needs to be split: smaller ones cost more in messages than they save.
MIN_SPLIT = 2**14


def make_mesh(devices: int = 0, fsdp: int = 1) -> Mesh:
    """A mesh of `devices` devices (0 = all), equally many of each process.

    Args:
      fsdp: so many devices share each large parameter and its optimizer state.

    Raises:
      ConfigError: more devices than there are, or a number that the processes or `fsdp` cannot
        share.
    """
    available = jax.devices()
    devices = devices or len(available)
    if devices > len(available):
        seen = "these processes see" if distributed.count() > 1 else "this process sees"
        raise ConfigError(
            f"config.devices is {devices}; {seen} {len(available)}. Lower it, or take 0 for all"
        )
    if devices % fsdp:
        raise ConfigError(
            f"config.fsdp is {fsdp}; it has to divide the number of devices, which is {devices} "
            "and which config.devices sets"
        )
    chosen = _of_each_process(available, devices)
    shape = (devices // fsdp, fsdp)
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 2, devices=chosen)


def cpu_devices(batch_sizes: Mapping[str, int], wanted: int = 0) -> int:
    """How many devices to make of this machine's CPU cores.

    This process's part of the `wanted` ones of all processes; 0 = as many as are fastest. That is
    one where this project's convolutions are there, which use all cores themselves. XLA's own run
    some gradients of a CPU device on one thread; a batch sharded over several devices keeps the
    other cores busy: a power of two then, at most the cores. Every process's part of a batch has to
    be a multiple of it.
    """
    if wanted:
        return max(1, wanted // distributed.count())
    if allocator.computes_on_cpu() and library.load():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    sizes = [size / distributed.count() for size in batch_sizes.values()]
    devices = 1
    while 2 * devices <= (cores or 1) and not any(size % (2 * devices) for size in sizes):
        devices *= 2
    return devices


def check_batch_sizes(batch_sizes: Mapping[str, int], mesh: Mesh) -> None:
    """Raises ConfigError where the devices cannot share a batch evenly."""
    processes = distributed.count()
    of = f" of {processes} processes" if processes > 1 else ""
    for field, size in batch_sizes.items():
        if size % mesh.size:
            raise ConfigError(
                f"config.{field} is {size}, which {mesh.size} devices{of} cannot share evenly; "
                f"take a multiple of {mesh.size}, or set config.devices"
            )


def shard_batch(batch: Any, mesh: Mesh) -> Any:
    """This process's arrays -> global arrays whose first axis is split over the mesh."""
    sharding = NamedSharding(mesh, PartitionSpec(AXES))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that every device of the mesh holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A copy of the tree on every device of the mesh."""
    return jax.tree.map(lambda x: _put(x, replicated(mesh)), tree)


def split(tree: Any, mesh: Mesh) -> Any:
    """The tree on the mesh, each large array split over the axis "fsdp"; see `split_sharding`."""
    return jax.tree.map(lambda x: _put(x, split_sharding(x.shape, mesh)), tree)


def split_sharding(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """How a parameter, or what the optimizer keeps of it, lies on the mesh.

    One of MIN_SPLIT values or more is split along the largest axis that the devices of "fsdp" can
    share evenly, the last one among equals; others, and all where "fsdp" has size 1, are whole on
    each device. (ZeRO, arXiv 1910.02054, splits in the same way along a flat axis.)
    """
    parts = mesh.shape["fsdp"]
    axes = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or not axes or np.prod(shape) < MIN_SPLIT:
        return replicated(mesh)
    longest = max(axes, key=lambda axis: (shape[axis], axis))
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, "fsdp"))


def constrain_split(tree: Any, mesh: Mesh) -> Any:
    """As `split`, of values within a compiled function."""
    return jax.tree.map(
        lambda x: jax.lax.with_sharding_constraint(x, split_sharding(x.shape, mesh)), tree
    )


def compile_step(step: Step, mesh: Mesh, *, remat: str = "none") -> Step:
    """Jits a step: the memory of the state is reused, the batch comes sharded.

    BatchNorm means and losses are over the global batch: the compiler adds the all-reduces. Where
    "fsdp" has several devices the step sees whole parameters, gathered for its duration; the
    gradients' sums, the optimizer's state and what the step returns are split. `remat` as the
    networks have it.
    """
    whole = replicated(mesh)
    options = _kept_barriers(mesh) if remat != "none" else None
    if mesh.shape["fsdp"] == 1:
        return jax.jit(
            step, donate_argnums=0, out_shardings=(whole, whole), compiler_options=options
        )

    def on_whole_parameters(state: Any, batch: Any) -> Any:
        nets = {
            name: net.replace(params=jax.lax.with_sharding_constraint(net.params, whole))
            for name, net in state.nets.items()
        }
        state, metrics = step(state.replace(nets=nets), batch)
        return constrain_split(state, mesh), jax.lax.with_sharding_constraint(metrics, whole)

    return jax.jit(on_whole_parameters, donate_argnums=0, compiler_options=options)


def _kept_barriers(mesh: Mesh) -> dict[str, str] | None:
    """Compiler options with which what is to be computed again is not kept after all.

    A barrier of `jax.checkpoint` tells the first computation from the second. XLA's CPU backend
    drops it before it merges equal computations, unless this pass is left out; others drop it last.
    """
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if on_cpu else None


def to_host(tree: Any) -> Any:
    """Device arrays -> whole NumPy arrays.

    All processes have to call it, for each of them may hold a part.
    """

    def whole(x: Any) -> Any:
        if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
            return multihost_utils.process_allgather(x, tiled=True)
        return x

    return jax.tree.map(np.asarray, jax.device_get(jax.tree.map(whole, tree)))


def _of_each_process(available: list[jax.Device], devices: int) -> list[jax.Device]:
    """The first ones, equally many of each process, so that all have equal parts of a batch."""
    processes = distributed.count()
    of_process: dict[int, list[jax.Device]] = {}
    for device in available:
        of_process.setdefault(device.process_index, []).append(device)
    each = devices // processes
    if devices % processes or any(len(own) < each for own in of_process.values()):
        seen = ", ".join(str(len(own)) for own in of_process.values())
        raise ConfigError(
            f"{processes} processes with {seen} devices cannot share {devices} evenly; set "
            f"config.devices to a multiple of {processes} that all of them can have their part of"
        )
    return [device for own in of_process.values() for device in own[:each]]


def _put(x: Any, sharding: NamedSharding) -> jax.Array:
    """An array that all processes hold equal copies of, or that is global already."""
    if distributed.count() == 1:
        return jax.device_put(x, sharding)
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return jax.jit(lambda y: y, out_shardings=sharding)(x)
    values = np.asarray(x)
    return jax.make_array_from_callback(values.shape, sharding, lambda part: values[part])
