"""JAX's side of the training steps: the very steps of anon_jax, compiled as a run compiles them."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anon_jax.minimax_steps import Penalty, Weights, make_adversary_step, make_anonymizer_step
from anon_jax.models import build_model
from anon_jax.models.direct import xla_forms
from anon_jax.optimizers import make_optimizer
from anon_jax.privacy_terms import Contrastive
from anon_jax.sharding import compile_step, make_mesh, replicate, shard_batch
from anon_jax.state import NetState, Network, TrainState, new_state
from anon_jax.steps import (
    Step,
    make_action_step,
    make_contrastive_step,
    make_reconstruction_step,
    to_float,
)
from benchmarks import workloads
from benchmarks.contestants import Program
from benchmarks.workloads import Workload

_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "anonymizer": {},
    # Two libraries cannot drop the same units.
    "action": {"num_classes": workloads.ACTIONS, "dropout_rate": 0.0},
    "privacy": {"head": "projection"},
}


def make_networks(workload: Workload) -> dict[str, Network]:
    """The networks with their optimizers."""
    networks = {}
    for name in workload.networks:
        row, own = workloads.SIZES[workload.size][name]
        module = build_model(
            row,
            dtype=jnp.dtype(workload.dtype),
            remat=workload.remat,
            **_ATTRIBUTES[name],
            **own,
        )
        optimizer = make_optimizer(
            learning_rate=workloads.LEARNING_RATES[name],
            schedule="constant",
            warmup_epochs=0.0,
            weight_decay=0.0,
            clip_norm=0.0,
            num_steps=1,
            steps_per_epoch=1,
        )
        networks[name] = Network(module, optimizer)
    return networks


def make_steps(workload: Workload, networks: Mapping[str, Network]) -> list[Step]:
    """The steps of one call, not compiled."""
    privacy = Contrastive(workloads.TEMPERATURE)
    factories: dict[str, Callable[[], list[Step]]] = {
        "reconstruct": lambda: [make_reconstruction_step(networks, seed=0)],
        "action": lambda: [make_action_step(networks, label_smoothing=0.0, seed=0)],
        "contrast": lambda: [
            make_contrastive_step(networks, temperature=workloads.TEMPERATURE, seed=0)
        ],
        "minimax": lambda: [
            make_anonymizer_step(
                networks,
                weights=Weights(),
                penalty=Penalty(budget=workloads.BUDGET),
                privacy=privacy,
                seed=0,
            ),
            make_adversary_step(networks, privacy=privacy, seed=0),
        ],
    }
    return factories[workload.kind]()


def programs(
    folder: Path, *, rows: Mapping[str, Mapping[str, Any]], kernels: bool = True
) -> dict[str, Program]:
    """The programs of the workloads `rows`, {name: fields of Workload}, on all devices.

    Without `kernels` XLA alone convolves, also where this project's kernels could.
    """
    made = {}
    with contextlib.nullcontext() if kernels else xla_forms():
        for name, fields in rows.items():
            workload = Workload(**fields)
            make = _forward if workload.kind == "anonymize" else _training
            made[name] = make(folder, workload)
    return made


def _weights(folder: Path, workload: Workload) -> dict[str, NetState]:
    return {
        name: NetState(**workloads.read_weights(folder, name), opt_state=None)
        for name in workload.networks
    }


def _forward(folder: Path, workload: Workload) -> Program:
    mesh = make_mesh()
    network = make_networks(workload)["anonymizer"]
    net = replicate(_weights(folder, workload)["anonymizer"], mesh)
    frames = shard_batch(workloads.make_batch(workload)["image"], mesh)
    function = jax.jit(lambda net, frames: network.apply(net, to_float(frames))[0])
    compiled = function.lower(net, frames).compile()
    return Program(
        run=lambda: compiled(net, frames).block_until_ready(),
        results=lambda: {"frames": np.asarray(compiled(net, frames))},
        facts=facts([compiled]),
    )


class Training:
    """A state, and the compiled steps that change it.

    Attributes:
      compiled: the steps.
      flop: operations of one call, as XLA counts them before it optimises.
    """

    def __init__(self, folder: Path, workload: Workload):
        self._mesh = make_mesh()
        self._networks = make_networks(workload)
        self._folder, self._workload = folder, workload
        self._batch = shard_batch(workloads.make_batch(workload), self._mesh)
        self._state = self._first()
        self.compiled = [step.lower(self._state, self._batch).compile() for step in self._steps()]
        with xla_forms():  # it counts no operations of others' kernels
            counted = [step.lower(self._state, self._batch) for step in self._steps()]
        self.flop = sum((one.cost_analysis() or {}).get("flops", 0.0) for one in counted)

    def _steps(self) -> list[Any]:
        return [
            compile_step(step, self._mesh, remat=self._workload.remat)
            for step in make_steps(self._workload, self._networks)
        ]

    def _first(self) -> TrainState:
        found = _weights(self._folder, self._workload)
        nets = {name: self._networks[name].with_optimizer(net) for name, net in found.items()}
        return replicate(new_state(nets), self._mesh)

    def run(self, calls: int = 1) -> dict[str, jax.Array]:
        """Some calls one after the other, until all is computed; the metrics of the last one."""
        metrics: dict[str, jax.Array] = {}
        for compiled in self.compiled * calls:
            self._state, new = compiled(self._state, self._batch)
            metrics |= new
        jax.block_until_ready((self._state, metrics))
        return metrics

    def losses(self, calls: int = 2) -> dict[str, np.ndarray]:
        """The losses of the first calls that can be compared."""
        self._state = self._first()
        found = [{k: float(v) for k, v in self.run().items() if "loss" in k} for _ in range(calls)]
        return workloads.compared_losses(self._workload, found)


def _training(folder: Path, workload: Workload) -> Program:
    training = Training(folder, workload)
    return Program(training.run, training.losses, facts(training.compiled))


def facts(compiled: list[Any]) -> dict[str, float]:
    """Memory of the largest of some compiled programs, MiB a device, as the compiler plans it."""
    found = [program.memory_analysis() for program in compiled]
    return {
        "temp_mib": max(one.temp_size_in_bytes for one in found) / 2**20,
        "argument_mib": max(one.argument_size_in_bytes for one in found) / 2**20,
    }


def peak(folder: Path, *, sides: tuple[int, ...]) -> dict[str, Program]:
    """Products of square float32 matrices: what the cores can do."""
    del folder
    return {f"matmul {side}": _product(side) for side in sides}


def _product(side: int) -> Program:
    matrix = jnp.asarray(np.random.default_rng(0).standard_normal((side, side)), jnp.float32)
    product = jax.jit(jnp.matmul)
    return Program(
        run=lambda: product(matrix, matrix).block_until_ready(),
        results=lambda: {"product": np.asarray(product(matrix, matrix))},
        facts={"flop": 2.0 * side**3},
    )
