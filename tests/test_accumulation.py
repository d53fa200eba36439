"""Gradient accumulation: equal to the whole batch where elements do not see each other."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from anon_jax import main, settings
from anon_jax.accumulation import micro_batches
from anon_jax.errors import ConfigError
from anon_jax.models import build_model
from anon_jax.models.layers import BatchNorm
from anon_jax.sharding import compile_step, make_mesh, shard_batch, split
from anon_jax.state import Network, new_state
from anon_jax.steps import make_attribute_step, make_step
from configs import demo

ROWS, FEATURES = 16, 5


class Plain(nn.Module):
    """No element of the batch sees another."""

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(1)(nn.relu(nn.Dense(7)(x)))


class Normed(nn.Module):
    """BatchNorm alone."""

    @nn.compact
    def __call__(self, x, *, train):
        return BatchNorm(use_running_average=not train)(x)


class Dropped(nn.Module):
    """How much of the input dropout lets through, times a weight."""

    @nn.compact
    def __call__(self, x, *, train):
        weight = self.param("weight", nn.initializers.ones, ())
        return weight * nn.Dropout(0.5, deterministic=not train)(x)


def make_network(module):
    # Plain gradient descent: the update is the gradient itself, where Adam's hides its size.
    return Network(module, optax.with_extra_args_support(optax.sgd(0.1)))


def toy_step(network, accumulate):
    def objective(state, batch, key):
        output, stats = network.apply(state.nets["privacy"], batch["x"], train=True, key=key)
        loss = jnp.mean((output - batch["y"][:, None]) ** 2)
        return loss, ({"privacy/loss": loss}, {"privacy": stats})

    return make_step({"privacy": network}, ("privacy",), objective, seed=1, accumulate=accumulate)


def toy_state(network):
    return new_state({"privacy": network.init(jax.random.key(0), (1, FEATURES))})


def toy_batch():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    return {"x": x, "y": x.sum(axis=1)}


def assert_close(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        # The same float32 sums in another order.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_micro_batches_take_rows_in_strides():
    batch = {"a": jnp.arange(6), "b": jnp.arange(12).reshape(6, 2)}  # [12] -> [6, 2]
    divided = micro_batches(batch, 3)
    assert divided["a"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert divided["b"].tolist() == [[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10, 11]]]


@pytest.mark.parametrize("accumulate", [2, 16])
def test_without_batch_statistics_it_equals_the_whole_batch(accumulate):
    network = make_network(Plain())
    whole, whole_metrics = jax.jit(toy_step(network, 1))(toy_state(network), toy_batch())
    parts, metrics = jax.jit(toy_step(network, accumulate))(toy_state(network), toy_batch())
    assert_close((whole, whole_metrics), (parts, metrics))
    before = toy_state(network).nets["privacy"].params
    moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), before, whole.nets["privacy"].params
    )
    assert min(jax.tree.leaves(moved)) > 1e-3


def test_with_frozen_batch_norm_it_equals_the_whole_batch():
    module = build_model(
        "resnet_tiny", stage_sizes=(1,), width=4, num_classes=2, freeze_batch_norm=True
    )
    network = make_network(module)
    state = new_state({"privacy": network.init(jax.random.key(0), (1, 8, 8, 3))})
    rng = np.random.default_rng(1)
    batch = {
        "image": rng.integers(0, 256, (8, 8, 8, 3), np.uint8),
        "attributes": rng.integers(0, 2, (8, 2), np.int32),
    }
    results = [
        jax.jit(make_attribute_step({"privacy": network}, seed=0, accumulate=n))(state, batch)
        for n in (1, 4)
    ]
    assert_close(*results)


def test_batch_norm_follows_each_micro_batch_in_turn():
    network = make_network(Normed())
    x = toy_batch()["x"]
    after, _ = jax.jit(toy_step(network, 2))(toy_state(network), toy_batch())
    # Rows 0, 2, ... and 1, 3, ...; momentum 0.1 from a mean of 0: 0.9 * (0.1 first) + 0.1 second.
    expected = 0.09 * x[::2].mean(axis=0) + 0.1 * x[1::2].mean(axis=0)
    found = after.nets["privacy"].batch_stats["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)  # float32
    whole, _ = jax.jit(toy_step(network, 1))(toy_state(network), toy_batch())
    there = whole.nets["privacy"].batch_stats["BatchNorm_0"]["mean"]
    assert not np.allclose(there, found, atol=1e-4)


def test_each_micro_batch_draws_its_own_dropout():
    network = make_network(Dropped())
    # Equal rows: with one mask for all micro-batches the loss would be that of one of them, a
    # multiple of 1 / (4 * FEATURES); the masks of four differ, all the same with p < 1e-15.
    batch = {"x": np.ones((ROWS, FEATURES), np.float32), "y": np.zeros(ROWS, np.float32)}

    def losses(accumulate, rows):
        part = jax.tree.map(lambda x: x[:rows], batch)
        _, metrics = jax.jit(toy_step(network, accumulate))(toy_state(network), part)
        return float(metrics["privacy/loss"])

    key = jax.random.fold_in(jax.random.key(1), 0)
    net = toy_state(network).nets["privacy"]
    each = [
        float(jnp.mean(network.apply(net, batch["x"][:4], train=True, key=k)[0] ** 2))
        for k in (jax.random.fold_in(key, i) for i in range(4))
    ]
    assert len(set(each)) > 1
    assert losses(4, ROWS) == pytest.approx(np.mean(each), rel=1e-5)


def test_eight_devices_equal_one_and_send_no_rows():
    network = make_network(Plain())
    states = []
    for devices in (1, 8):
        mesh = make_mesh(devices)
        batch = shard_batch(toy_batch(), mesh)
        step = compile_step(toy_step(network, 2), mesh)
        state = split(toy_state(network), mesh)
        text = step.lower(state, batch).compile().as_text()
        # Sums over the devices, but no rows from one to another.
        assert ("all-reduce" in text) == (devices == 8)
        assert not re.search("all-to-all|collective-permute|all-gather", text)
        states.append(step(state, batch))
    assert_close(*states)


def changed(**sections):
    config = demo.get_config()
    for path, value in sections.items():
        section, field = path.split("__")
        config[section][field] = value
    return config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"minimax__accumulate": 3},
            r"minimax\.accumulate is 3, but config\.minimax\.batch_clips, 16, .* divisor of 16",
        ),
        ({"evaluate_action__accumulate": 0}, r"evaluate_action\.accumulate is 0; .* > 0"),
        (
            {"minimax__accumulate": 16, "minimax__batch_images": 16},
            r"leaves 1 image pair of config\.minimax\.batch_images \(16\).* at least 2",
        ),
        ({"pretrain_privacy__accumulate": 64}, r"leaves 1 image pair of config\.pretrain_privacy"),
    ],
)
def test_what_cannot_be_split_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        settings.check_config(changed(**fields))


def test_a_supervised_privacy_network_needs_no_pairs():
    config = changed(minimax__accumulate=16, minimax__batch_images=16)
    config.method = "vita"
    settings.check_config(config)


def test_devices_share_micro_batches():
    sizes = settings.micro_batch_sizes(changed(minimax__accumulate=4))
    assert sizes["minimax.batch_clips / config.minimax.accumulate"] == 4
    assert sizes["minimax.batch_images / config.minimax.accumulate"] == 8
    assert sizes["reconstruct.batch_size"] == 64


def test_the_ways_to_save_memory_have_their_fields_and_values():
    config = changed(minimax__accumulate=4)
    words = main._ways_to_save_memory(config, "minimax")
    assert words.startswith("Set config.remat='blocks', with which this --workdir goes on")
    for part in ("minimax.accumulate (4)", "minimax.batch_clips (16)", "data.num_frames (8)"):
        assert f"config.{part}" in words
    assert "reconstruct" not in words
    config.remat = "blocks"
    assert "remat" not in main._ways_to_save_memory(config, "minimax")
