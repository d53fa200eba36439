"""The training state: named networks, each with its own parameters, statistics and optimizer."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

Metrics = dict[str, jax.Array]
Variables = Any  # a pytree of parameters, statistics or gradients


class NetState(struct.PyTreeNode):
    """One network: parameters, BatchNorm statistics, its optax chain's state (None = frozen)."""

    params: Variables
    batch_stats: Variables
    opt_state: Variables = None


class TrainState(struct.PyTreeNode):
    """All that a phase changes, and all that its checkpoint holds.

    Attributes:
      step: int32, updates made so far; the random key of a step is derived from it.
      nets: states by name: "anonymizer" (f_A), "action" (f_T), "privacy" (f_B), as far as the
        phase has them. A step returns those that it does not train as they came in.
      multiplier: float32, weight of the penalty in lagrangian mode.
    """

    step: jax.Array
    nets: dict[str, NetState]
    multiplier: jax.Array


@dataclasses.dataclass(frozen=True)
class Network:
    """A Flax module with the optax chain that trains it (None where it stays frozen).

    Attributes:
      scrambled: of f_A: clips reach it as the published code's reshape leaves them; see
        `steps.images_of`.
    """

    module: nn.Module
    tx: optax.GradientTransformationExtraArgs | None = None
    scrambled: bool = False

    def init(self, key: jax.Array, example_shape: tuple[int, ...]) -> NetState:
        """Fresh parameters for inputs of `example_shape` (batch axis included)."""
        return self.with_optimizer(jax.jit(self._init, static_argnums=1)(key, example_shape))

    def abstract(self, example_shape: tuple[int, ...]) -> NetState:
        """Shapes and types of what `init` returns, less the optimizer; nothing is computed."""
        return jax.eval_shape(lambda key: self._init(key, example_shape), jax.random.key(0))

    def _init(self, key: jax.Array, example_shape: tuple[int, ...]) -> NetState:
        variables = self.module.init(key, jnp.zeros(example_shape, jnp.float32), train=False)
        return NetState(variables["params"], variables.get("batch_stats", {}))

    def with_optimizer(self, net: NetState) -> NetState:
        """The same network with a fresh optimizer state (none where there is no optax chain)."""
        return net.replace(opt_state=self.tx.init(net.params) if self.tx else None)

    def apply(
        self, net: NetState, inputs: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> tuple[Any, Variables]:
        """Runs the module; returns its output and the BatchNorm statistics after it.

        With `train` BatchNorm uses the batch's statistics, and dropout draws from `key`; without,
        running statistics, no dropout, and the statistics come back as they were.
        """
        variables = {"params": net.params, "batch_stats": net.batch_stats}
        if not train:
            return self.module.apply(variables, inputs, train=False), net.batch_stats
        output, changed = self.module.apply(
            variables,
            inputs,
            train=True,
            mutable=["batch_stats"],
            rngs=None if key is None else {"dropout": key},
        )
        return output, changed.get("batch_stats", net.batch_stats)

    def update(self, net: NetState, grads: Variables, stats: Variables, loss: Any) -> NetState:
        """One optimizer step; `loss` is what a plateau schedule watches."""
        assert self.tx is not None, "a frozen network has no update"
        updates, opt_state = self.tx.update(grads, net.opt_state, net.params, value=loss)
        return NetState(optax.apply_updates(net.params, updates), stats, opt_state)


def new_state(nets: Mapping[str, NetState], multiplier: float = 1.0) -> TrainState:
    """A state at step 0."""
    return TrainState(jnp.int32(0), dict(nets), jnp.float32(multiplier))


def frozen(net: NetState) -> NetState:
    """The network without its optimizer state."""
    return net.replace(opt_state=None)
