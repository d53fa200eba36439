"""Rematerialisation: the same names, values and gradients, from less memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_networks as small

from anon_jax.minimax_steps import Penalty, Weights, make_adversary_step, make_anonymizer_step
from anon_jax.models import build_model
from anon_jax.models.remat import REMAT
from anon_jax.sharding import compile_step, make_mesh

SIDE = 64  # frames large enough that activations take more memory than parameters

# Optimising machine code takes most of a compilation, and changes neither memory nor sums.
QUICK = {"xla_backend_optimization_level": 0}


def with_remat(remat):
    return {
        name: dataclasses.replace(network, module=network.module.clone(remat=remat))
        for name, network in small.networks().items()
    }


def batch():
    """That of `small_networks`, with larger frames."""
    shape = (SIDE, SIDE, 3)
    clip, image = (dict(small.batch()[name]) for name in ("clip", "image"))
    rng = np.random.default_rng(0)
    clip["frames"] = rng.integers(0, 256, (small.BATCH, small.FRAMES, *shape), np.uint8)
    for view in ("image", "view_b"):
        image[view] = rng.integers(0, 256, (small.BATCH, *shape), np.uint8)
    return {"clip": clip, "image": image}


@functools.cache
def compiled(kind, remat):
    networks = with_remat(remat)
    step = (
        make_anonymizer_step(
            networks, weights=Weights(), penalty=Penalty(0.05), privacy=small.PRIVACY, seed=5
        )
        if kind == "anonymizer"
        else make_adversary_step(networks, privacy=small.PRIVACY, seed=5)
    )
    lowered = compile_step(step, make_mesh(1), remat=remat).lower(small.initial_state(), batch())
    return lowered.compile(compiler_options=QUICK)


# f_A in training and the other two in evaluation, then the other way round.
@pytest.mark.parametrize(
    ("kind", "remat"), [("anonymizer", "blocks"), ("adversary", "convolutions")]
)
def test_gradients_and_statistics_are_the_same(kind, remat):
    # A copy each: a step reuses the memory of the state that it gets.
    (after, metrics), (again, found) = (
        compiled(kind, name)(jax.tree.map(jnp.copy, small.initial_state()), batch())
        for name in ("none", remat)
    )
    for name, value in metrics.items():
        # Float32, with sums fused in another way; here and below.
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    for name, net in after.nets.items():
        ours = again.nets[name]
        # Adam's update hides the size of a gradient; its first moment, 0.1 gradients, does not.
        for pair in (
            (net.opt_state[0].mu, ours.opt_state[0].mu),
            (net.batch_stats, ours.batch_stats),
        ):
            assert jax.tree.structure(pair[0]) == jax.tree.structure(pair[1])
            wanted, got = map(jax.tree.leaves, pair)
            scale = max(float(jnp.abs(x).max()) for x in wanted)
            for a, b in zip(wanted, got, strict=True):
                np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5 * scale)


def test_step_1_takes_less_memory():
    plain, again = (
        compiled("anonymizer", remat).memory_analysis().temp_size_in_bytes
        for remat in ("none", "blocks")
    )
    # 0.77 with one block a stage; deeper networks save more.
    assert again < 0.9 * plain, (again, plain)


def test_parameters_keep_their_names_and_first_values():
    module = small.networks()["privacy"].module
    plain, again = (
        jax.jit(functools.partial(module.clone(remat=remat).init, train=False))(
            jax.random.key(3, impl="rbg"), jnp.zeros((1, 16, 16, 3))
        )
        for remat in ("none", "blocks")
    )
    assert jax.tree.structure(plain) == jax.tree.structure(again)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, plain, again)))
    for name, shape in (("action", (1, 4, 16, 16, 3)), ("anonymizer", (1, 16, 16, 3))):
        shapes = [
            jax.tree.map(lambda x: x.shape, with_remat(remat)[name].abstract(shape))
            for remat in REMAT
        ]
        assert shapes[0] == shapes[1] == shapes[2]


def test_the_unknown_is_named():
    with pytest.raises(ValueError, match=r"unknown remat 'all'; known: none, convolutions, blocks"):
        build_model("resnet_tiny", remat="all").init(
            jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False
        )
