"""The input pipeline's share of a minimax step: `python -m benchmarks.input_share --config=FILE`.

Times update cycles of the phase "minimax" (a step of f_A, then one of f_T and f_B) as in training,
again with one batch that is there already, and the making of batches alone.
"""

import contextlib
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags
from ml_collections import config_flags

from anon_jax import settings
from anon_jax.phases import minimax, setup
from anon_jax.phases.datasets import ensure_datasets
from anon_jax.sharding import cpu_devices, replicate, shard_batch
from anon_jax.state import NetState, new_state
from anon_jax.steps import Step
from benchmarks.machine import describe
from input_pipeline.loader import with_workers

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file of a run.")
_CYCLES = flags.DEFINE_integer("cycles", 20, "Cycles that are timed, after two that are not.")


def main(argv: list[str]) -> None:
    """Prints the seconds of a cycle and the pipeline's share of it."""
    del argv
    config = _CONFIG.value
    settings.check_config(config)
    devices = cpu_devices(settings.micro_batch_sizes(config), config.devices)
    jax.config.update("jax_num_cpu_devices", devices)
    with tempfile.TemporaryDirectory() as workdir:
        run = setup.open_run(config, Path(workdir), ensure_datasets(config))
        networks = minimax.make_networks(run, num_steps=1, per_epoch=1)
        nets = {
            name: setup.fresh_net(run, "input_share", name, networks[name]) for name in networks
        }
        steps = minimax.make_cycle(run, networks)
        stream = minimax.make_stream(run, minimax.make_sources(run))
        stream = with_workers(stream, config.data.num_workers)
        with contextlib.closing(iter(stream)) as batches:
            held = next(batches)
            cycles = {
                "with the pipeline": batches,
                "with one batch": itertools.repeat(held),
            }
            seconds = {
                name: _seconds_a_cycle(run, nets, steps, source) for name, source in cycles.items()
            }
        with contextlib.closing(iter(stream)) as batches:
            seconds["pipeline alone"] = _seconds_alone(batches, len(steps))
    print(describe())
    for name, value in seconds.items():
        print(f"{name:20}{value:.3f} s a cycle")
    share = 1 - seconds["with one batch"] / seconds["with the pipeline"]
    print(f"share of the pipeline {share:.1%}")


def _seconds_a_cycle(
    run: setup.Run, nets: dict[str, NetState], steps: Sequence[Step], batches: Iterator[Any]
) -> float:
    start = 0.0
    # A copy of its own, for a step reuses the memory of the state that it is given.
    state = replicate(jax.tree.map(jnp.copy, new_state(nets)), run.mesh)
    for cycle in range(_CYCLES.value + 2):
        if cycle == 2:  # compiled, and the buffers of the pipeline are in their usual state
            jax.block_until_ready(state)
            start = time.perf_counter()
        for step in steps:
            state, _ = step(state, shard_batch(next(batches), run.mesh))
    jax.block_until_ready(state)
    return (time.perf_counter() - start) / _CYCLES.value


def _seconds_alone(batches: Iterator[Any], num_steps: int) -> float:
    for _ in range(2 * num_steps):
        next(batches)
    start = time.perf_counter()
    for _ in range(_CYCLES.value * num_steps):
        next(batches)
    return (time.perf_counter() - start) / _CYCLES.value


if __name__ == "__main__":
    app.run(main)
