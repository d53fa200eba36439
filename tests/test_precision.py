"""bfloat16: what networks compute with it, and what stays float32."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest
import small_networks as small
from jax.extend.core import jaxprs_in_params

from anon_jax.minimax_steps import Penalty, Weights, make_adversary_step, make_anonymizer_step
from anon_jax.models.layers import BatchNorm, Conv, UpsampleConv

SHAPES = {"anonymizer": (2, 16, 16, 3), "action": (2, 4, 16, 16, 3), "privacy": (2, 16, 16, 3)}
PRODUCTS = ("conv_general_dilated", "dot_general")


@functools.cache
def networks():
    return {
        name: dataclasses.replace(network, module=network.module.clone(dtype=jnp.bfloat16))
        for name, network in small.networks().items()
    }


@pytest.mark.parametrize("name", SHAPES)
def test_activations_are_bfloat16_and_the_rest_is_not(name):
    module = networks()[name].module

    def run(frames):
        variables = module.init(jax.random.key(0), frames, train=False)
        output, changed = module.apply(
            variables,
            frames,
            train=True,
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda m, _: isinstance(m, Conv | UpsampleConv | BatchNorm),
            rngs={"dropout": jax.random.key(1)},
        )
        return output, variables, changed

    output, variables, changed = jax.eval_shape(run, jnp.zeros(SHAPES[name]))
    layers = jax.tree.leaves(changed["intermediates"])
    assert len(layers) > 5
    assert {leaf.dtype for leaf in layers} == {jnp.dtype(jnp.bfloat16)}
    for tree in (output, variables, changed["batch_stats"]):
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype(jnp.float32)}


def products(jaxpr):
    """The types that each convolution and matrix product of a program takes in."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name in PRODUCTS:
            found.append({var.aval.dtype for var in equation.invars})
        for inner in jaxprs_in_params(equation.params):
            found += products(inner)
    return found


@pytest.mark.parametrize("kind", ["anonymizer", "adversary"])
def test_the_steps_keep_what_is_summed_in_float32(kind):
    step = (
        make_anonymizer_step(
            networks(), weights=Weights(), penalty=Penalty(0.05), privacy=small.PRIVACY, seed=0
        )
        if kind == "anonymizer"
        else make_adversary_step(networks(), privacy=small.PRIVACY, seed=0)
    )
    before = small.initial_state()
    program, (after, metrics) = jax.make_jaxpr(step, return_shape=True)(before, small.batch())
    types = jax.tree.map(lambda x: x.dtype, before)
    assert jax.tree.map(lambda x: x.dtype, after) == types
    assert {metric.dtype for metric in metrics.values()} == {jnp.dtype(jnp.float32)}
    counts = [types == {jnp.dtype(jnp.bfloat16)} for types in products(program.jaxpr)]
    # The heads and NT-Xent are float32; all convolutions, forward and backward, are not.
    assert sum(counts) > 0.7 * len(counts)
    # What comes to the device as frames is uint8.
    size = (small.SIDE, small.SIDE, 3)
    frames = [var.aval for var in program.jaxpr.invars if var.aval.shape[-3:] == size]
    assert {aval.dtype for aval in frames} == {jnp.dtype(jnp.uint8)}
