"""JAX's side of the operations: the plain forms, and those that anon_jax chooses."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from anon_jax.models import convolutions, layers, phases
from anon_jax.models.direct import xla_forms
from benchmarks.contestants import Program
from benchmarks.jax_training import facts
from benchmarks.layer_cases import Layer, draw
from benchmarks.layer_cases import layers as layer_table

_Op = Callable[..., jax.Array]


def programs(folder: Path, *, small: bool, plain: bool, kernels: bool) -> dict[str, Program]:
    """Each operation forward, and forward with all its gradients.

    `plain`: in the form of Flax's own layers. Without `kernels`: by XLA alone.
    """
    del folder
    with contextlib.nullcontext() if kernels else xla_forms():
        return _programs(small, plain)


def _programs(small: bool, plain: bool) -> dict[str, Program]:
    made = {}
    for name, layer in layer_table(small).items():
        op = (_plain if plain else _chosen)(layer)
        arguments = [jnp.asarray(draw("input", layer.shape))]
        if layer.features:
            arguments.append(jnp.asarray(draw("kernel", layer.kernel_shape)))
        shape = jax.eval_shape(op, *arguments).shape
        cotangent = jnp.asarray(draw("cotangent", shape))
        made[f"{name}: forward"] = _program(op, arguments)
        if layer.plain_gradients or not plain:
            backward = _with_gradients(op)
            made[f"{name}: forward, gradients"] = _program(backward, [cotangent, *arguments])
    return made


def _plain(layer: Layer) -> _Op:
    """The form that Flax's own layers would run."""

    def pool(x: jax.Array) -> jax.Array:
        return nn.max_pool(x, layer.window, layer.strides, [(p, p) for p in layer.padding])

    ops: dict[str, _Op] = {
        "conv": lambda x, kernel: phases.plain_conv(x, kernel, layer.strides),
        "upsampled_conv": lambda x, kernel: phases.plain_conv(_repeat(x), kernel, (1, 1)),
        "max_pool": pool,
        "upsample": _repeat,
    }
    return ops[layer.kind]


def _chosen(layer: Layer) -> _Op:
    """The form of anon_jax.models on this backend."""
    convolve = convolutions.conv3d if len(layer.window) == 3 else convolutions.conv2d
    ops: dict[str, _Op] = {
        "conv": lambda x, kernel: convolve(x, kernel, layer.strides),
        "upsampled_conv": lambda x, kernel: convolutions.conv2d_upsampled(x, [], kernel),
        "max_pool": lambda x: layers.max_pool(x, layer.window, layer.strides, layer.padding),
        "upsample": phases.upsample_nearest,
    }
    return ops[layer.kind]


def _repeat(x: jax.Array) -> jax.Array:
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def _with_gradients(op: _Op) -> Callable[..., tuple[jax.Array, ...]]:
    def run(cotangent: jax.Array, *arguments: jax.Array) -> tuple[jax.Array, ...]:
        value, pull = jax.vjp(op, *arguments)
        return (value, *pull(cotangent))

    return run


def _program(function: Callable, arguments: list[jax.Array]) -> Program:
    compiled = jax.jit(function).lower(*arguments).compile()

    def results() -> dict[str, np.ndarray]:
        arrays = jax.tree.leaves(compiled(*arguments))
        names = ("output", "input gradient", "kernel gradient")
        return {name: np.asarray(array) for name, array in zip(names, arrays, strict=False)}

    return Program(lambda: jax.block_until_ready(compiled(*arguments)), results, facts([compiled]))
