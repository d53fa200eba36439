"""Parameters split over devices: the same results, an eighth of the memory, any checkpoint fits."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_networks as small

from anon_jax import sharding
from anon_jax.checkpoint import Checkpointer
from anon_jax.sharding import compile_step, make_mesh, replicate, shard_batch, split

LARGE = 64  # values: the tiny networks have no arrays of MIN_SPLIT


@pytest.fixture(autouse=True, scope="module")
def small_arrays_are_split_too():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "MIN_SPLIT", LARGE)
        yield


@functools.cache
def batch():
    """Eight clips and eight pairs, of which each has another tint."""
    rng = np.random.default_rng(0)

    def repeated(x):
        x = np.concatenate([x] * 4)
        if x.dtype != np.uint8:
            return x
        tint = rng.integers(0, 256, (len(x), *[1] * (x.ndim - 1)))
        return ((x.astype(int) + tint) % 256).astype(np.uint8)

    return jax.tree.map(repeated, small.batch())


@functools.cache
def cycle(fsdp):
    """A minimax cycle on eight devices."""
    mesh = make_mesh(8, fsdp)
    # A copy: the compiled step reuses the memory of the state that it gets.
    state = split(jax.tree.map(jnp.copy, small.initial_state()), mesh)
    metrics = {}
    for step in (small.make_small_anonymizer_step(), small.make_small_adversary_step()):
        state, new = compile_step(step, mesh)(state, shard_batch(batch(), mesh))
        metrics |= new
    return state, metrics


def is_split(leaf):
    return math.prod(leaf.shape) >= LARGE and any(size % 8 == 0 for size in leaf.shape)


def test_a_minimax_cycle_with_split_parameters_equals_the_replicated_one():
    (whole, whole_metrics), (parts, parts_metrics) = cycle(1), cycle(8)
    for name, value in whole_metrics.items():
        # Sums in another order: float32 through two networks agrees to about 1e-4.
        np.testing.assert_allclose(value, parts_metrics[name], rtol=1e-3, atol=1e-5, err_msg=name)
    # The statistics and moments are compared, not the parameters: Adam's first step is as large
    # where a gradient is rounding noise as anywhere else.
    for name in whole.nets:
        for field in ("batch_stats", "opt_state"):
            ours, theirs = (getattr(state.nets[name], field) for state in (parts, whole))
            pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
            for a, b in pairs:
                scale = float(np.abs(b).max())
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 + 1e-3 * scale)


def test_each_device_holds_an_eighth_of_what_is_large():
    state, _ = cycle(8)
    leaves = [leaf for net in state.nets.values() for leaf in jax.tree.leaves(net)]
    large = [leaf for leaf in leaves if is_split(leaf)]
    assert len(large) >= 9  # of each network a few kernels, each with its two moments
    for leaf in large:
        assert {shard.data.size for shard in leaf.addressable_shards} == {leaf.size // 8}
        indices = {str(shard.index) for shard in leaf.addressable_shards}
        assert len(indices) == 8  # of eight different parts
    for leaf in leaves:
        if not is_split(leaf):
            assert {shard.data.size for shard in leaf.addressable_shards} == {leaf.size}


def test_parameters_are_split_along_their_largest_axis():
    mesh = make_mesh(8, 4)
    for shape, spec in (
        ((3, 3, 16, 64), (None, None, None, "fsdp")),
        ((3, 3, 64, 16), (None, None, "fsdp")),
        ((16, 16), (None, "fsdp")),  # the last one among equals
        ((63, 12), (None, "fsdp")),  # four cannot share 63
        ((63, 13), ()),
        ((60,), ()),  # too small
    ):
        assert tuple(sharding.split_sharding(shape, mesh).spec) == spec, shape
    assert mesh.shape == {"data": 2, "fsdp": 4}


class Position:
    """An iterator that only knows where it is."""

    def __init__(self, value):
        self.value = value

    def get_state(self):
        return {"next_index": self.value}

    def set_state(self, state):
        self.value = state["next_index"]


@pytest.mark.parametrize(("saved", "restored"), [(8, 1), (1, 8), (8, 2)])
def test_a_checkpoint_goes_from_one_way_of_splitting_to_another(tmp_path, saved, restored):
    state, _ = cycle(saved)
    Checkpointer(tmp_path / "c").save(state, Position(5))
    like = split(small.initial_state(), make_mesh(8, restored))
    position = Position(0)
    found, _ = Checkpointer(tmp_path / "c").restore(like, position)
    assert position.value == 5
    pairs = zip(*(jax.tree.leaves(tree) for tree in (found, state, like)), strict=True)
    for ours, theirs, wanted in pairs:
        np.testing.assert_array_equal(ours, theirs)
        assert ours.sharding == wanted.sharding


def test_without_fsdp_all_is_replicated():
    state, mesh = small.initial_state(), make_mesh(8)
    for ours, theirs in zip(
        *map(jax.tree.leaves, (split(state, mesh), replicate(state, mesh))), strict=True
    ):
        assert ours.sharding == theirs.sharding
