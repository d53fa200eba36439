"""The training steps: what changes, what must not, and one step written out independently."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_networks import (
    ATTRIBUTES,
    BATCH,
    FRAMES,
    RATES,
    SIDE,
    SMALL,
    batch,
    initial_state,
    make_small_adversary_step,
    make_small_anonymizer_step,
    networks,
)

from anon_jax.models import build_model
from anon_jax.state import NetState, Network, TrainState
from anon_jax.steps import (
    anonymize,
    make_action_step,
    make_attribute_step,
    make_contrastive_step,
    make_reconstruction_step,
    to_float,
)


def same(a: object, b: object) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@functools.cache
def anonymizer_step(*args):
    return jax.jit(make_small_anonymizer_step(*args))


@functools.cache
def adversary_step():
    return jax.jit(make_small_adversary_step())


def attribute_networks() -> dict[str, Network]:
    module = build_model("resnet_tiny", num_classes=ATTRIBUTES, **SMALL)
    return {**networks(), "privacy": Network(module, networks()["privacy"].tx)}


def attribute_state() -> TrainState:
    net = attribute_networks()["privacy"].init(jax.random.key(1, impl="rbg"), (1, SIDE, SIDE, 3))
    return initial_state().replace(nets={**initial_state().nets, "privacy": net})


CASES = {  # kind of step: (step, state, part of the batch, networks that it trains)
    "reconstruction": lambda: (
        make_reconstruction_step(networks(), seed=0),
        initial_state(),
        "image",
        {"anonymizer"},
    ),
    "contrastive": lambda: (
        make_contrastive_step(networks(), temperature=0.1, seed=0),
        initial_state(),
        "image",
        {"privacy"},
    ),
    "minimax_1": lambda: (anonymizer_step(), initial_state(), None, {"anonymizer"}),
    "minimax_2": lambda: (adversary_step(), initial_state(), None, {"action", "privacy"}),
    "action": lambda: (
        make_action_step(networks(), label_smoothing=0.1, seed=0),
        initial_state(),
        "clip",
        {"action"},
    ),
    "attribute": lambda: (
        make_attribute_step(attribute_networks(), seed=0),
        attribute_state(),
        "image",
        {"privacy"},
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_step_changes_only_the_networks_that_it_trains(kind):
    step, before, part, trained = CASES[kind]()
    after, metrics = jax.jit(step)(before, batch()[part] if part else batch())
    for name in before.nets:
        if name in trained:  # every part of a trained network moves
            for field in ("params", "batch_stats", "opt_state"):
                old, new = (getattr(state.nets[name], field) for state in (before, after))
                assert not same(old, new), f"{name}.{field}"
        else:
            assert same(before.nets[name], after.nets[name]), name
    assert int(after.step) == 1
    assert all(np.isfinite(value) for value in metrics.values())


def test_penalty_with_weight_0_equals_spact():
    # The row "spact" sets the weight of the penalty to 0, whatever the mode: the multiplier of
    # lagrangian mode must not bring it back.
    hinge, _ = anonymizer_step(0.0)(initial_state(), batch())
    held, _ = anonymizer_step(0.0, "lagrangian")(initial_state(), batch())
    with_penalty, _ = anonymizer_step(1.0)(initial_state(), batch())
    assert same(hinge.nets, held.nets)
    assert not same(hinge.nets, with_penalty.nets)


def test_a_budget_that_is_never_reached_equals_spact():
    # A distance of frames in [0, 1] is at most 1: the hinge is 0, and so is its gradient.
    free, _ = anonymizer_step(1.0, "hinge", "pixel", 1.5)(initial_state(), batch())
    spact, _ = anonymizer_step(0.0)(initial_state(), batch())
    assert same(free.nets, spact.nets)


def _step_1_by_hand(
    state: TrainState, weights: dict[str, float], budget: float, privacy_batch_norm: str
):
    """L_A = w_T L_T - w_B L_B + w_P max(0, RMS - B), with plain calls of modules and optax."""
    anonymizer, action, privacy = (
        networks()[n].module for n in ("anonymizer", "action", "privacy")
    )
    clips = jnp.asarray(batch()["clip"]["frames"] / np.float32(255))
    views = [jnp.asarray(batch()["image"][name] / np.float32(255)) for name in ("image", "view_b")]

    def frozen(net: NetState) -> dict:
        return {"params": net.params, "batch_stats": net.batch_stats}

    def loss(params):
        frames = jnp.concatenate([*clips, *views])
        output, changed = anonymizer.apply(
            {"params": params, "batch_stats": state.nets["anonymizer"].batch_stats},
            frames,
            train=True,
            mutable=["batch_stats"],
        )
        seen = jnp.stack([output[i * FRAMES : (i + 1) * FRAMES] for i in range(BATCH)])
        logits, _ = action.apply(frozen(state.nets["action"]), seen, train=False)
        log_probabilities = logits - jax.scipy.special.logsumexp(logits, axis=-1, keepdims=True)
        loss_t = -(log_probabilities[0, 0] + log_probabilities[1, 2]) / 2
        views_seen = output[BATCH * FRAMES :]
        if privacy_batch_norm == "batch":
            (z, _), _ = privacy.apply(
                frozen(state.nets["privacy"]), views_seen, train=True, mutable=["batch_stats"]
            )
        else:
            z, _ = privacy.apply(frozen(state.nets["privacy"]), views_seen, train=False)
        # Two pairs: anchor i, its positive, and the two negatives, by name.
        loss_b = 0.0
        for anchor, positive, negatives in (
            (0, 2, (1, 3)),
            (2, 0, (1, 3)),
            (1, 3, (0, 2)),
            (3, 1, (0, 2)),
        ):
            dots = jnp.stack([z[anchor] @ z[k] / 0.1 for k in (positive, *negatives)])
            loss_b += (jax.scipy.special.logsumexp(dots) - dots[0]) / 4
        distance = jnp.sqrt(((clips - seen) ** 2).mean())
        penalty = jnp.where(distance > budget, distance - budget, 0.0)
        total = weights["t"] * loss_t - weights["b"] * loss_b + weights["p"] * penalty
        return total, changed["batch_stats"]

    net = state.nets["anonymizer"]
    (_, stats), grads = jax.value_and_grad(loss, has_aux=True)(net.params)
    return grads, stats


PRIVACY_BATCH_NORMS = ("running", "batch")


@pytest.mark.parametrize("privacy_batch_norm", PRIVACY_BATCH_NORMS)
def test_minimax_step_1_equals_the_step_written_out(privacy_batch_norm):
    state = initial_state()
    step = anonymizer_step(1.0, "hinge", "pixel", 0.05, privacy_batch_norm)
    after, _ = step(state, batch())
    weights = {"t": 1, "b": 1, "p": 1}
    by_hand = jax.jit(lambda s: _step_1_by_hand(s, weights, 0.05, privacy_batch_norm))
    grads, stats = by_hand(state)
    net = state.nets["anonymizer"]
    updates, _ = optax.adam(RATES["anonymizer"]).update(grads, net.opt_state, net.params)
    expected = optax.apply_updates(net.params, updates)
    # Adam's first step is lr * g / (|g| + eps): where g is rounding noise, so is the update's sign.
    # The first moment, 0.1 g, is compared instead; float32 sums of 1e4 terms agree to about 1e-4.
    moments = after.nets["anonymizer"].opt_state[0].mu
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads))
    for ours, theirs in zip(jax.tree.leaves(moments), jax.tree.leaves(grads), strict=True):
        np.testing.assert_allclose(ours, 0.1 * theirs, rtol=1e-3, atol=1e-5 * scale)
    for ours, theirs in zip(
        jax.tree.leaves(after.nets["anonymizer"].batch_stats), jax.tree.leaves(stats), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), expected, net.params)
    assert max(jax.tree.leaves(moved)) == pytest.approx(RATES["anonymizer"], rel=1e-2)


@pytest.mark.parametrize("privacy_batch_norm", PRIVACY_BATCH_NORMS)
def test_running_statistics_of_the_frozen_f_b_matter_where_it_goes_by_them(privacy_batch_norm):
    state = initial_state()
    privacy = state.nets["privacy"]
    shifted = privacy.replace(batch_stats=jax.tree.map(lambda s: s + 1, privacy.batch_stats))
    other = state.replace(nets={**state.nets, "privacy": shifted})
    step = anonymizer_step(1.0, "hinge", "pixel", 0.05, privacy_batch_norm)
    ours, theirs = (step(start, batch())[0].nets for start in (state, other))
    assert same(ours["anonymizer"], theirs["anonymizer"]) == (privacy_batch_norm == "batch")
    assert same(ours["privacy"], privacy)
    assert same(theirs["privacy"], shifted)


def test_step_2_trains_each_classifier_by_its_own_loss():
    # Doubling the images' views must not move f_T: its gradient comes from L_T alone.
    other = {**batch(), "image": {**batch()["image"], "view_b": batch()["image"]["image"]}}
    first, _ = adversary_step()(initial_state(), batch())
    second, _ = adversary_step()(initial_state(), other)
    assert same(first.nets["action"], second.nets["action"])
    assert not same(first.nets["privacy"], second.nets["privacy"])


def test_the_multiplier_rises_above_the_budget_and_step_1_descends():
    state, metrics = initial_state(), {}
    for _ in range(3):
        state, metrics = anonymizer_step(1.0, "lagrangian")(state, batch())
    assert float(metrics["penalty/distance"]) > 0.05  # untrained f_A is far from its input
    assert float(state.multiplier) > 1.0


def test_a_strong_penalty_pulls_the_output_towards_its_input():
    step = anonymizer_step(100.0)
    state = initial_state()
    distances = []
    for _ in range(60):
        state, metrics = step(state, batch())
        distances.append(float(metrics["penalty/distance"]))
    assert distances[-1] < 0.7 * distances[0]


def test_feature_penalty_is_zero_for_the_identity():
    _, metrics = anonymizer_step(1.0, "hinge", "action_feature")(initial_state(), batch())
    assert float(metrics["penalty/distance"]) > 0


def test_frames_of_a_clip_are_anonymized_one_by_one():
    # No axis is permuted: a clip through f_A equals its frames through f_A.
    clip = to_float(batch()["clip"]["frames"])
    whole = anonymize(networks(), initial_state().nets, clip)
    one = anonymize(networks(), initial_state().nets, clip[1, 2])
    np.testing.assert_allclose(whole[1, 2], one, atol=1e-5)  # float32, other batch size
    assert same(anonymize(networks(), {}, clip), clip)
