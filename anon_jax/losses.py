"""Losses of the minimax game between anonymizer, action classifier and privacy network.

Pure functions of arrays, safe under `jit` and `grad`. Inputs of lower precision are cast first: all
arithmetic is float32. L_rec, L_T, L_B and L_penalty are named as in arXiv 2504.14301, Sec. 3.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

PENALTY_MODES = ("hinge", "lagrangian")
REDUCTIONS = ("batch", "clip")

Scalar = Float[Array, ""]


def l1(
    frames: Float[Array, "batch height width 3"], target: Float[Array, "batch height width 3"]
) -> Scalar:
    """Mean absolute difference of two image batches, L_rec = mean |X - f_A(X)|.

    Args:
        frames: the anonymizer's output, values in [0, 1].
        target: the images it has to reproduce, values in [0, 1].

    Returns:
        A scalar in [0, 1] for values in [0, 1].
    """
    return jnp.abs(_float32(frames) - _float32(target)).mean()


def cross_entropy(
    logits: Float[Array, "batch actions"],
    labels: Integer[Array, " batch"],
    *,
    label_smoothing: float = 0.0,
) -> Scalar:
    """Mean cross entropy (in nats) against integer action labels, L_T.

    Args:
        logits: unnormalised scores of K actions.
        labels: 0-based action indices. A label outside 0 .. K-1 makes the loss NaN: a jitted
            function cannot raise, and 1-based labels must not pass silently.
        label_smoothing: share of the target spread evenly over all K actions, in [0, 1).

    Raises:
        ValueError: `label_smoothing` outside [0, 1).
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}.")
    log_probabilities = jax.nn.log_softmax(_float32(logits), axis=-1)
    valid = (labels >= 0) & (labels < logits.shape[-1])
    index = jnp.where(valid, labels, 0)[:, None]
    of_label = jnp.take_along_axis(log_probabilities, index, axis=-1)[:, 0]
    smoothed = (1.0 - label_smoothing) * of_label + label_smoothing * log_probabilities.mean(-1)
    return -jnp.where(valid, smoothed, jnp.nan).mean()


def binary_cross_entropy(
    logits: Float[Array, "batch attributes"], labels: Integer[Array, "batch attributes"]
) -> Scalar:
    """Mean binary cross entropy (in nats) over the known private attributes.

    Args:
        logits: one unnormalised score an attribute.
        labels: 1 present, 0 absent, -1 unknown. Unknown entries count neither in the sum nor in the
            mean. Any other value makes the loss NaN, because a jitted function cannot raise.

    Returns:
        The mean over the known entries; 0, with a gradient of 0, where nothing is known.
    """
    known = labels != -1
    valid = (labels == 0) | (labels == 1)
    sign = jnp.where(labels == 1, -1.0, 1.0)
    # softplus of the signed logit keeps small losses that softplus(z) - y * z would cancel away.
    entries = jnp.where(valid, jax.nn.softplus(sign * _float32(logits)), jnp.nan)
    return jnp.where(known, entries, 0.0).sum() / jnp.maximum(known.sum(), 1)


def binary_entropy(logits: Float[Array, "batch attributes"]) -> Scalar:
    """Mean entropy (in nats) of the predictions of a classifier of attributes, in [0, ln 2].

    Args:
        logits: one unnormalised score an attribute.
    """
    logits = _float32(logits)
    # H(p) = -p ln p - (1 - p) ln(1 - p) with ln p = -softplus(-z), ln(1 - p) = -softplus(z).
    present = jax.nn.sigmoid(logits) * jax.nn.softplus(-logits)
    absent = jax.nn.sigmoid(-logits) * jax.nn.softplus(logits)
    return (present + absent).mean()


def nt_xent_chance(n: int) -> float:
    """Return NT-Xent of indistinguishable embeddings of `n` image pairs: ln(2n - 1) nats.

    Raises:
        ValueError: `n` below 2, where there are no negatives.
    """
    if n < 2:
        raise ValueError(f"NT-Xent needs at least 2 image pairs to have negatives, got {n}.")
    return math.log(2 * n - 1)


def nt_xent(
    embeddings_a: Float[Array, "pairs features"],
    embeddings_b: Float[Array, "pairs features"],
    *,
    temperature: float = 0.1,
    ceiling: bool = False,
) -> Scalar:
    """NT-Xent of two augmented views of N images (in nats), L_B. SimCLR, arXiv 2002.05709, Eq. 1.

    Each of the 2N embeddings is an anchor whose positive is the other view of its image and whose
    2N - 2 negatives are both views of all the other images.

    Args:
        embeddings_a: unit vectors of the first views. They are not normalised here.
        embeddings_b: unit vectors of the second views, in the same order of images.
        temperature: divisor of the dot products, above 0.
        ceiling: cut the loss at `nt_xent_chance(N)`, so that whoever maximises it gets no gradient
            beyond chance (config field `privacy_loss_ceiling`).

    Returns:
        The mean over the 2N anchors, at least 0; at most ln(2N - 1) with `ceiling`.

    Raises:
        ValueError: fewer than two pairs, or a temperature that is not above 0.
    """
    chance = nt_xent_chance(embeddings_a.shape[0])
    if temperature <= 0.0:
        raise ValueError(f"temperature must be above 0, got {temperature}.")
    views = jnp.concatenate([_float32(embeddings_a), _float32(embeddings_b)])  # [2N, D]
    # Accelerators round float32 factors by default, and the temperature multiplies that error.
    products = jnp.matmul(views, views.T, precision=jax.lax.Precision.HIGHEST)
    anchors = jnp.arange(views.shape[0])
    logits = jnp.where(jnp.eye(views.shape[0], dtype=bool), -jnp.inf, products / temperature)
    positives = jnp.roll(anchors, embeddings_a.shape[0])
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    loss = -log_probabilities[anchors, positives].mean()
    return jnp.minimum(loss, chance) if ceiling else loss


def rms_distance(
    clips: Float[Array, "batch time height width 3"],
    anonymized: Float[Array, "batch time height width 3"],
    *,
    reduction: str,
) -> Float[Array, "..."]:
    """Root mean square distance of clips from their anonymized version (penalty space "pixel").

    Args:
        clips: values in [0, 1].
        anonymized: values in [0, 1].
        reduction: "batch", one distance over all the values as published, shape []; or "clip", one
            distance a clip, shape [B].

    Returns:
        Distances in [0, 1] for values in [0, 1]. The gradient at distance 0 is 0.

    Raises:
        ValueError: unknown reduction.
    """
    return _root_mean_square(_float32(clips) - _float32(anonymized), reduction)


def feature_distance(
    features_raw: Float[Array, "batch features"],
    features_anonymized: Float[Array, "batch features"],
    *,
    reduction: str,
) -> Float[Array, "..."]:
    """Root mean square distance of pooled action features (penalty space "action_feature").

    The text of arXiv 2504.14301 calls its penalty feature-based. The distances are in the units of
    the features, so a budget in [0, 1] for pixels does not carry over. The gradient flows into
    both arguments: stop it on the raw side if that should stay put.

    Args:
        features_raw: the action classifier's pooled features of the raw clips.
        features_anonymized: the same of the anonymized clips.
        reduction: "batch", shape []; or "clip", shape [B]; as in `rms_distance`.

    Raises:
        ValueError: unknown reduction.
    """
    return _root_mean_square(_float32(features_raw) - _float32(features_anonymized), reduction)


def penalty(
    distance: Float[Array, "..."],
    budget: float | Scalar,
    *,
    mode: str = "hinge",
    multiplier: Scalar | None = None,
) -> Scalar:
    """L_penalty: what it costs the anonymizer to be farther from its input than the budget B.

    Args:
        distance: one distance or one a clip, from `rms_distance` or `feature_distance`.
        budget: B, in the units of the distance.
        mode: "hinge", mean(max(0, distance - B)) as published: the gradient is 0 up to and at B,
            and does not depend on B above it. "lagrangian", mean(multiplier * (distance - B)):
            negative below B; it takes the place of the weighted penalty, its weight is the
            multiplier.
        multiplier: only for "lagrangian", from `update_multiplier`. It gets no gradient.

    Raises:
        ValueError: unknown mode, or a multiplier missing or given where the mode has none.
    """
    if mode not in PENALTY_MODES:
        raise ValueError(f"Unknown penalty mode {mode!r}. Known modes: {', '.join(PENALTY_MODES)}.")
    if (mode == "lagrangian") != (multiplier is not None):
        verb = "needs a" if mode == "lagrangian" else "takes no"
        raise ValueError(f"The penalty mode {mode!r} {verb} multiplier.")
    excess = _float32(distance) - budget
    if multiplier is None:
        # relu, not maximum: at distance == B maximum would let half the gradient through.
        return jax.nn.relu(excess).mean()
    return (jax.lax.stop_gradient(_float32(multiplier)) * excess).mean()


def update_multiplier(
    multiplier: Scalar,
    distance: Float[Array, "..."],
    budget: float | Scalar,
    *,
    rate: float,
    maximum: float,
) -> Scalar:
    """One step of dual ascent on the multiplier of the "lagrangian" penalty.

    Args:
        multiplier: the present multiplier, in [0, maximum].
        distance: the distance just measured, or one a clip, whose mean counts.
        budget: B, in the units of the distance.
        rate: change of the multiplier for each unit of excess distance, above 0; try 1 to 3.
        maximum: upper bound of the multiplier.

    Returns:
        `multiplier + rate * (mean distance - B)`, clipped to [0, maximum]: raised while the
        distance exceeds the budget, lowered while it does not.
    """
    # Additive, not multiplier * exp(rate * excess): in a noisy one-dimensional toy problem (Adam,
    # B 0.05 to 0.3, right multipliers 0.1 to 10) it held the distance within 16 to 20 % of B at the
    # median for any rate from 1 to 30; exponentiated steps, at their best rate, 21 to 28 %. After
    # long below B, as f_A is when pre-trained, the exponentiated multiplier was so near 0 that the
    # distance then stayed above 1.2 B about four times as long.
    excess = _float32(distance).mean() - budget
    return jnp.clip(_float32(multiplier) + rate * excess, 0.0, maximum)


def _float32(array: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return array.astype(jnp.float32)


def _root_mean_square(
    difference: Float[Array, "batch *dims"], reduction: str
) -> Float[Array, "..."]:
    if reduction not in REDUCTIONS:
        known = ", ".join(REDUCTIONS)
        raise ValueError(f"Unknown reduction {reduction!r}. Known reductions: {known}.")
    axes = None if reduction == "batch" else tuple(range(1, difference.ndim))
    mean_square = jnp.square(difference).mean(axis=axes)
    # sqrt has an infinite derivative at 0, and grad evaluates both branches of a where: the inner
    # one keeps sqrt away from 0. Below `tiny` a float32 mean square has no precision left.
    positive = mean_square >= jnp.finfo(jnp.float32).tiny
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, mean_square, 1.0)), 0.0)
