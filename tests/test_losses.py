"""Tests the losses against values worked out by hand, NumPy loops in float64, and torch."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from anon_jax import losses

CLIP_SHAPE = (2, 2, 3, 3, 3)


def random_array(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def unit_vectors(pairs, features, seed=0):
    views = np.random.default_rng(seed).normal(size=(2, pairs, features))
    return views / np.linalg.norm(views, axis=-1, keepdims=True)


def nt_xent_loop(first, second, temperature):
    """Anchor by anchor in float64, after the formula."""
    views = np.concatenate([first, second])
    pairs = len(first)
    total = 0.0
    for anchor in range(2 * pairs):
        positive = (anchor + pairs) % (2 * pairs)
        terms = {
            other: math.exp(float(views[anchor] @ views[other]) / temperature)
            for other in range(2 * pairs)
            if other != anchor
        }
        total -= math.log(terms[positive] / sum(terms.values()))
    return total / (2 * pairs)


def test_shapes_are_checked_while_the_tests_run():
    with pytest.raises(TypeCheckError):
        losses.l1(jnp.zeros((2, 4, 4, 3)), jnp.zeros((2, 4, 5, 3)))


def test_l1_by_hand():
    frames = jnp.zeros((1, 1, 2, 3)).at[0, 0, 0].set(jnp.array([0.3, 0.6, 0.9]))
    # (0.3 + 0.6 + 0.9) / 6 values
    assert losses.l1(frames, jnp.zeros_like(frames)) == pytest.approx(0.3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_torch(smoothing):
    torch = pytest.importorskip("torch")
    logits = 5 * random_array((6, 4))
    labels = np.array([0, 1, 2, 3, 3, 0])
    value, gradient = jax.value_and_grad(losses.cross_entropy)(
        jnp.asarray(logits), jnp.asarray(labels), label_smoothing=smoothing
    )
    theirs = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        theirs, torch.tensor(labels), label_smoothing=smoothing
    )
    expected.backward()
    # Both sum a handful of float32 values.
    np.testing.assert_allclose(value, expected.item(), rtol=1e-6)
    np.testing.assert_allclose(gradient, theirs.grad, atol=1e-6)


@pytest.mark.parametrize("label", [-1, 4])
def test_cross_entropy_of_a_label_out_of_range_is_nan(label):
    assert jnp.isnan(losses.cross_entropy(jnp.zeros((2, 4)), jnp.array([0, label])))


def test_cross_entropy_rejects_a_smoothing_of_one():
    with pytest.raises(ValueError, match="label_smoothing"):
        losses.cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 1]), label_smoothing=1.0)


def test_binary_cross_entropy_equals_torch_over_the_known_entries():
    torch = pytest.importorskip("torch")
    logits = 5 * random_array((5, 3))
    labels = np.random.default_rng(1).integers(-1, 2, (5, 3))
    assert (labels == -1).any()
    value, gradient = jax.value_and_grad(losses.binary_cross_entropy)(
        jnp.asarray(logits), jnp.asarray(labels)
    )
    theirs = torch.tensor(logits, requires_grad=True)
    known = torch.tensor(labels != -1)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        theirs[known], torch.tensor(labels, dtype=torch.float32)[known]
    )
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-6)
    np.testing.assert_allclose(gradient, theirs.grad, atol=1e-6)


def test_binary_cross_entropy_without_known_labels_is_zero():
    value, gradient = jax.value_and_grad(losses.binary_cross_entropy)(
        jnp.ones((2, 3)), jnp.full((2, 3), -1)
    )
    assert value == 0.0
    assert (gradient == 0.0).all()


def test_binary_cross_entropy_of_large_logits_neither_overflows_nor_cancels():
    logits, labels = jnp.array([[200.0, 20.0]]), jnp.array([[0, 1]])
    # 200 for the wrong one; ln(1 + e^-20) = 2.06e-9 for the right one.
    assert losses.binary_cross_entropy(logits, labels) == pytest.approx(100.0)
    right = losses.binary_cross_entropy(logits[:, 1:], labels[:, 1:])
    assert right == pytest.approx(math.log1p(math.exp(-20.0)), rel=1e-5)


def test_binary_cross_entropy_of_an_invalid_label_is_nan():
    assert jnp.isnan(losses.binary_cross_entropy(jnp.zeros((1, 2)), jnp.array([[1, 2]])))


def test_nt_xent_by_hand():
    views = jnp.eye(2)
    # Each anchor: positive at 1, both of its 2N - 2 = 2 negatives at 0.
    expected = -math.log(math.e**2 / (math.e**2 + 2))
    assert losses.nt_xent(views, views, temperature=0.5) == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_nt_xent_equals_a_loop_and_its_finite_differences(temperature):
    first, second = unit_vectors(pairs=4, features=3)
    value, gradients = jax.value_and_grad(losses.nt_xent, argnums=(0, 1))(
        jnp.asarray(first), jnp.asarray(second), temperature=temperature
    )
    np.testing.assert_allclose(value, nt_xent_loop(first, second, temperature), rtol=1e-5)
    step = 1e-5  # Central differences in float64: errors near 1e-8.
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(first.shape):
            shift = np.zeros((2, *first.shape))
            shift[(which, *index)] = step
            above = nt_xent_loop(first + shift[0], second + shift[1], temperature)
            below = nt_xent_loop(first - shift[0], second - shift[1], temperature)
            # Gradients reach 10 at temperature 0.1 and carry float32 errors.
            assert gradient[index] == pytest.approx((above - below) / (2 * step), abs=2e-4)


def test_nt_xent_of_equal_embeddings_is_chance():
    views = jnp.tile(jnp.array([[0.6, 0.8]]), (5, 1))
    assert losses.nt_xent_chance(5) == pytest.approx(math.log(9))
    assert losses.nt_xent(views, views) == pytest.approx(losses.nt_xent_chance(5), rel=1e-6)


def test_nt_xent_ceiling_stops_the_gradient_at_chance_only():
    first, second = (jnp.asarray(view) for view in unit_vectors(pairs=4, features=8))
    capped = jax.value_and_grad(functools.partial(losses.nt_xent, ceiling=True))
    # Opposite positives are worse than chance, equal ones better.
    value, gradient = capped(first, -first)
    assert losses.nt_xent(first, -first) > losses.nt_xent_chance(4)
    assert value == pytest.approx(losses.nt_xent_chance(4))
    assert (gradient == 0.0).all()
    value, gradient = capped(first, first)
    assert value == losses.nt_xent(first, first)
    assert jnp.abs(gradient).max() > 0.0
    assert losses.nt_xent(first, second, ceiling=True) <= losses.nt_xent_chance(4)


def test_nt_xent_rejects_a_single_pair_and_a_temperature_of_zero():
    with pytest.raises(ValueError, match="at least 2"):
        losses.nt_xent(jnp.ones((1, 2)), jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="temperature"):
        losses.nt_xent(jnp.eye(2), jnp.eye(2), temperature=0.0)


def test_distances_by_hand():
    raw = jnp.zeros(CLIP_SHAPE)
    anonymized = raw.at[0].set(0.6).at[1].set(0.8)
    # One RMS over both is the root of (0.36 + 0.64) / 2, not the mean of 0.6 and 0.8.
    batch = losses.rms_distance(raw, anonymized, reduction="batch")
    assert batch == pytest.approx(math.sqrt(0.5))
    clip = losses.rms_distance(raw, anonymized, reduction="clip")
    np.testing.assert_allclose(clip, [0.6, 0.8], rtol=1e-6)
    features = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    distance = losses.feature_distance(features, jnp.zeros((2, 2)), reduction="clip")
    np.testing.assert_allclose(distance, [math.sqrt(12.5), 0.0], rtol=1e-6)


def test_unknown_reduction_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'frame'.*batch, clip"):
        losses.rms_distance(jnp.zeros(CLIP_SHAPE), jnp.zeros(CLIP_SHAPE), reduction="frame")


@pytest.mark.parametrize("reduction", losses.REDUCTIONS)
# 1e-20 squares to a float32 zero, 1e-19 to a number without full precision.
@pytest.mark.parametrize("offset", [0.0, 1e-20, 1e-19, 1e-10])
def test_distance_gradient_is_finite_near_zero(reduction, offset):
    raw = jnp.zeros(CLIP_SHAPE)

    def total(anonymized):
        return losses.rms_distance(raw, anonymized, reduction=reduction).sum()

    gradient = jax.grad(total)(raw + offset)
    assert jnp.isfinite(gradient).all()
    if offset == 0.0:
        assert (gradient == 0.0).all()


def test_an_unchanged_clip_does_not_spoil_the_gradient_of_the_others():
    raw = jnp.zeros(CLIP_SHAPE)
    gradient = jax.grad(lambda x: losses.rms_distance(raw, x, reduction="clip").sum())(
        raw.at[1].set(0.5)
    )
    assert (gradient[0] == 0.0).all()
    # d RMS / d x = x / (n RMS) = 1 / n with n values a clip and all x equal.
    np.testing.assert_allclose(gradient[1], 1.0 / math.prod(CLIP_SHAPE[1:]), rtol=1e-6)


def test_hinge_by_hand():
    assert losses.penalty(jnp.float32(0.5), 0.3) == pytest.approx(0.2)
    assert losses.penalty(jnp.float32(0.2), 0.3) == 0.0
    # A hinge a clip, then the mean: the clip below the budget does not pay for the other.
    assert losses.penalty(jnp.array([0.5, 0.1]), 0.3) == pytest.approx(0.1)


def test_hinge_gradient_is_zero_up_to_the_budget_and_free_of_it_above():
    gradient = jax.grad(losses.penalty)
    assert gradient(jnp.float32(0.25), 0.5) == 0.0
    assert gradient(jnp.float32(0.5), 0.5) == 0.0
    assert gradient(jnp.float32(0.75), 0.5) == gradient(jnp.float32(0.75), 0.05) == 1.0


@pytest.mark.parametrize("reduction", losses.REDUCTIONS)
def test_a_small_budget_pulls_the_pixels_to_their_input_and_stops_there(reduction):
    raw = jnp.full(CLIP_SHAPE, 0.5)
    pixels = jnp.asarray(np.random.default_rng(0).uniform(size=CLIP_SHAPE), jnp.float32)
    budget = 0.05

    @jax.jit
    def descend(x):
        def loss(x):
            return losses.penalty(losses.rms_distance(raw, x, reduction=reduction), budget)

        return x - 0.5 * jax.grad(loss)(x)

    assert losses.rms_distance(raw, pixels, reduction="batch") > 4 * budget
    # A step shortens the distance by at least 0.5 / 108 values: 100 steps are enough for 0.3.
    for _ in range(100):
        pixels = descend(pixels)
    distance = losses.rms_distance(raw, pixels, reduction=reduction)
    assert (distance <= budget).all()
    # It goes no farther than one step inside: the hinge is inactive there.
    assert (distance > budget - 0.01).all()
    np.testing.assert_array_equal(descend(pixels), pixels)


def test_lagrangian_value_and_gradients_by_hand():
    distance, multiplier = jnp.array([0.5, 0.1]), jnp.float32(4.0)

    def loss(distance, multiplier):
        return losses.penalty(distance, 0.2, mode="lagrangian", multiplier=multiplier)

    # 4 * mean(0.3, -0.1): below the budget it is a reward.
    assert loss(distance, multiplier) == pytest.approx(0.4)
    for_distance, for_multiplier = jax.grad(loss, argnums=(0, 1))(distance, multiplier)
    np.testing.assert_allclose(for_distance, [2.0, 2.0])
    assert for_multiplier == 0.0


def test_penalty_rejects_unknown_modes_and_a_misplaced_multiplier():
    with pytest.raises(ValueError, match=r"'squared'.*hinge, lagrangian"):
        losses.penalty(jnp.float32(0.5), 0.3, mode="squared")
    with pytest.raises(ValueError, match="needs a multiplier"):
        losses.penalty(jnp.float32(0.5), 0.3, mode="lagrangian")
    with pytest.raises(ValueError, match="takes no multiplier"):
        losses.penalty(jnp.float32(0.5), 0.3, multiplier=jnp.float32(1.0))


def test_multiplier_rises_above_the_budget_falls_below_and_stays_in_range():
    update = functools.partial(losses.update_multiplier, rate=2.0, maximum=5.0)
    assert update(jnp.float32(1.0), jnp.float32(0.5), 0.2) == pytest.approx(1.6)
    assert update(jnp.float32(1.0), jnp.float32(0.1), 0.2) == pytest.approx(0.8)
    assert update(jnp.float32(1.0), jnp.array([0.5, 0.1]), 0.2) == pytest.approx(1.2)
    assert update(jnp.float32(0.1), jnp.float32(0.0), 0.2) == 0.0
    assert update(jnp.float32(4.9), jnp.float32(0.9), 0.2) == 5.0


@pytest.mark.parametrize("budget", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("pull", [0.5, 5.0])
def test_lagrangian_holds_the_distance_at_the_budget_where_the_hinge_cannot(budget, pull):
    """A scalar, its own distance, is pulled away from 0 with noise and diminishing returns."""

    def gradient(x, multiplier, noise, mode):
        given = multiplier if mode == "lagrangian" else None

        def loss(x):
            reward = pull * (1.0 - jnp.exp(-4.0 * x)) * (1.0 + 0.5 * noise)
            return losses.penalty(x, budget, mode=mode, multiplier=given) - reward / 4.0

        return jax.grad(loss)(x)

    def settle(mode):
        def step(carry, noise):
            x, multiplier = carry
            x = jnp.clip(x - 2e-3 * gradient(x, multiplier, noise, mode), 0.0, 0.7)
            multiplier = losses.update_multiplier(multiplier, x, budget, rate=1.0, maximum=50.0)
            return (x, multiplier), x

        noise = jax.random.normal(jax.random.key(0), (4000,))
        start = (jnp.float32(0.02), jnp.float32(0.0))
        return jax.jit(lambda: jax.lax.scan(step, start, noise)[1])()[2000:]

    held = settle("lagrangian")
    # The mean is what dual ascent fixes; single steps move with the noise.
    assert held.mean() == pytest.approx(budget, rel=0.05)
    assert held.std() < 0.25 * budget
    # A pull of 5 beats the hinge's weight of 1 at every budget here, one of 0.5 at none.
    hinged = settle("hinge").mean()
    assert hinged > 1.3 * budget if pull == 5.0 else hinged < 1.1 * budget


LOW_PRECISION_CASES = {
    "l1": (losses.l1, [(2, 3, 3, 3)] * 2, {}),
    "nt_xent": (losses.nt_xent, [(3, 4)] * 2, {"temperature": 1.0}),
    "rms": (losses.rms_distance, [CLIP_SHAPE] * 2, {"reduction": "clip"}),
    "features": (losses.feature_distance, [(2, 5)] * 2, {"reduction": "batch"}),
}


@pytest.mark.parametrize("name", LOW_PRECISION_CASES)
def test_bfloat16_inputs_are_computed_in_float32_under_jit(name):
    function, shapes, options = LOW_PRECISION_CASES[name]
    low = [jnp.asarray(random_array(s, i), jnp.bfloat16) for i, s in enumerate(shapes)]
    result = jax.jit(functools.partial(function, **options))(*low)
    exact = function(*(array.astype(jnp.float32) for array in low), **options)
    assert result.dtype == jnp.float32
    # bfloat16 arithmetic would be off by 4e-3; jit may only reorder float32 sums.
    np.testing.assert_allclose(result, exact, rtol=1e-5)


def test_bfloat16_logits_are_computed_in_float32():
    logits = jnp.asarray(random_array((4, 3)), jnp.bfloat16)
    for function, labels in (
        (losses.cross_entropy, jnp.array([0, 1, 2, 0])),
        (losses.binary_cross_entropy, jnp.ones((4, 3), jnp.int32)),
    ):
        result = function(logits, labels)
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, function(logits.astype(jnp.float32), labels), rtol=1e-6)
