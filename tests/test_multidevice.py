"""Eight devices give the result of one: a whole minimax cycle, BatchNorm over the global batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_networks as small

from anon_jax import allocator, sharding
from anon_jax.native import library
from anon_jax.sharding import compile_step, make_mesh, replicate, shard_batch


def _cycle(devices: int):
    mesh = make_mesh(devices)
    # A copy: the compiled step reuses the memory of the state that it gets.
    state = replicate(jax.tree.map(jnp.copy, small.initial_state()), mesh)
    batch = jax.tree.map(lambda x: np.concatenate([x] * 4), small.batch())  # 8 clips, 8 pairs
    rng = np.random.default_rng(0)
    for part, name in (("clip", "frames"), ("image", "image"), ("image", "view_b")):
        # Different content on each device, or a local BatchNorm would look global.
        pixels = batch[part][name]
        tint = rng.integers(0, 256, (len(pixels), *[1] * (pixels.ndim - 1)))
        batch[part][name] = ((pixels.astype(int) + tint) % 256).astype(np.uint8)
    metrics = {}
    for step in (small.make_small_anonymizer_step(), small.make_small_adversary_step()):
        state, new = compile_step(step, mesh)(state, shard_batch(batch, mesh))
        metrics |= new
    return state, metrics


def test_a_minimax_cycle_on_eight_devices_equals_one():
    one, one_metrics = _cycle(1)
    eight, eight_metrics = _cycle(8)
    for name, value in one_metrics.items():
        # Sums in another order: float32 through two networks agrees to about 1e-4.
        np.testing.assert_allclose(value, eight_metrics[name], rtol=1e-3, atol=1e-5, err_msg=name)
    for name in one.nets:
        pairs = zip(
            jax.tree.leaves(one.nets[name].batch_stats),
            jax.tree.leaves(eight.nets[name].batch_stats),
            strict=True,
        )
        for ours, theirs in pairs:
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("kernels", "cores", "batch", "wanted", "devices"),
    [
        (True, 8, 16, 0, 1),  # the kernels use all cores themselves
        (False, 8, 16, 0, 8),
        (False, 6, 16, 0, 4),
        (False, 8, 12, 0, 4),  # eight cannot share twelve clips
        (False, 8, 7, 0, 1),
        (True, 2, 16, 4, 4),
        (False, 8, 16, 2, 2),
    ],
)
def test_devices_of_a_cpu(monkeypatch, kernels, cores, batch, wanted, devices):
    monkeypatch.setattr(library, "load", lambda: kernels)
    monkeypatch.setattr(allocator, "computes_on_cpu", lambda: True)
    monkeypatch.setattr(sharding.os, "sched_getaffinity", lambda _: range(cores), raising=False)
    assert sharding.cpu_devices({"batch_clips": batch}, wanted) == devices
