"""The two steps of the minimax game: f_A against f_B with f_T, then f_T and f_B against f_A."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from anon_jax import losses
from anon_jax.models.ensemble import member_of
from anon_jax.privacy_terms import PrivacyTerm
from anon_jax.state import Metrics, Network, TrainState
from anon_jax.steps import (
    Batch,
    Networks,
    Step,
    anonymize,
    both_views,
    clips_of,
    images_of,
    make_step,
    to_float,
    top1,
)

Restart = Callable[[TrainState, jax.Array], TrainState]


@dataclasses.dataclass(frozen=True)
class Weights:
    """L_A = action L_T - privacy L_B + penalty L_penalty (arXiv 2504.14301, Sec. 3)."""

    action: float = 1.0
    privacy: float = 1.0
    penalty: float = 1.0


@dataclasses.dataclass(frozen=True)
class Penalty:
    """How L_penalty is measured and weighed; see `losses.penalty` and `losses.rms_distance`.

    Attributes:
      constant: the penalty has no gradient, as in the published code.
    """

    budget: float
    mode: str = "hinge"
    reduction: str = "batch"
    space: str = "pixel"
    multiplier_rate: float = 0.05
    multiplier_max: float = 100.0
    constant: bool = False


def make_anonymizer_step(
    networks: Networks,
    *,
    weights: Weights,
    penalty: Penalty,
    privacy: PrivacyTerm,
    seed: int,
    privacy_batch_norm: str = "running",
    accumulate: int = 1,
) -> Step:
    """Minimax step 1: f_A by L_A = w_T L_T - w_B L_B + w_P L_penalty; f_T and f_B frozen.

    f_T and f_B run in evaluation mode, but the gradient goes through them to f_A. With
    `privacy_batch_norm` "batch" f_B runs as it does in its own updates, and what changes in it is
    dropped: running statistics lag behind f_A, which learns to leave them. f_A sees the
    frames of the clips and both views of the images in one forward pass, so that its BatchNorm
    statistics are those of all that it anonymizes later. batch = {"clip": ..., "image": ...}.
    In lagrangian mode w_P is the state's multiplier, adapted after the update. With a penalty
    weight of 0 the distance is measured, and changes nothing.
    """
    held = penalty.mode == "lagrangian" and weights.penalty > 0

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        clips = to_float(batch["clip"]["frames"])
        scrambled = networks["anonymizer"].scrambled
        frames = images_of(clips, scrambled)  # [B, T, H, W, 3] -> [B*T, H, W, 3]
        views = both_views(batch["image"])
        inputs = jnp.concatenate([frames, images_of(views, scrambled)])
        anonymizer_key, privacy_key = jax.random.split(key)
        output, stats = networks["anonymizer"].apply(
            state.nets["anonymizer"], inputs, train=True, key=anonymizer_key
        )
        anonymized = clips_of(output[: len(frames)], clips.shape, scrambled)
        (logits, out), _ = networks["action"].apply(state.nets["action"], anonymized)
        seen = clips_of(output[len(frames) :], views.shape, scrambled)
        told, _ = networks["privacy"].apply(
            state.nets["privacy"], seen, train=privacy_batch_norm == "batch", key=privacy_key
        )
        terms = {
            "action_loss": losses.cross_entropy(logits, batch["clip"]["action"]),
            "privacy_loss": privacy.fooled(told, batch["image"]),
        }
        distance = _distance(networks, state, clips, anonymized, out["features"], penalty)
        cost = losses.penalty(
            distance,
            penalty.budget,
            mode="lagrangian" if held else "hinge",
            multiplier=state.multiplier if held else None,
        )
        if penalty.constant:
            cost = jax.lax.stop_gradient(cost)
        loss = weights.action * terms["action_loss"] - weights.privacy * terms["privacy_loss"]
        loss = loss + (1.0 if held else weights.penalty) * cost
        metrics = {
            "anonymizer/loss": loss,
            **{f"anonymizer/{name}": term for name, term in terms.items()},
            "anonymizer/top1": top1(logits, batch["clip"]["action"]),
            "penalty/value": cost,
            "penalty/distance": jnp.mean(distance),
            "penalty/active": jnp.mean(distance > penalty.budget),
        }
        return loss, (metrics, {"anonymizer": stats})

    update = make_step(networks, ("anonymizer",), objective, seed=seed, accumulate=accumulate)
    return _adapting_multiplier(update, penalty) if held else update


def make_adversary_step(
    networks: Networks, *, privacy: PrivacyTerm, seed: int, accumulate: int = 1
) -> Step:
    """Minimax step 2: f_A frozen; f_T by L_T and f_B by L_B, each on anonymized data.

    The two losses share no parameters, so the gradient of their sum is each network's own.
    """

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        clips = anonymize(networks, state.nets, to_float(batch["clip"]["frames"]))
        views = anonymize(networks, state.nets, both_views(batch["image"]))
        action_key, privacy_key = jax.random.split(key)
        (logits, _), action_stats = networks["action"].apply(
            state.nets["action"], clips, train=True, key=action_key
        )
        told, privacy_stats = networks["privacy"].apply(
            state.nets["privacy"], views, train=True, key=privacy_key
        )
        action_loss = losses.cross_entropy(logits, batch["clip"]["action"])
        privacy_loss = privacy.learned(told, batch["image"])
        metrics = {
            "action/loss": action_loss,
            "action/top1": top1(logits, batch["clip"]["action"]),
            "privacy/loss": privacy_loss,
        }
        stats = {"action": action_stats, "privacy": privacy_stats}
        return action_loss + privacy_loss, (metrics, stats)

    return make_step(networks, ("action", "privacy"), objective, seed=seed, accumulate=accumulate)


def make_privacy_step(
    networks: Networks, *, privacy: PrivacyTerm, seed: int, accumulate: int = 1
) -> Step:
    """Minimax step 2 of f_B alone: what f_A faces is the stronger, at a fraction of the cost."""

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        views = anonymize(networks, state.nets, both_views(batch["image"]))
        told, stats = networks["privacy"].apply(state.nets["privacy"], views, train=True, key=key)
        loss = privacy.learned(told, batch["image"])
        return loss, ({"privacy/loss": loss}, {"privacy": stats})

    return make_step(networks, ("privacy",), objective, seed=seed, accumulate=accumulate)


def _distance(
    networks: Networks,
    state: TrainState,
    clips: jax.Array,
    anonymized: jax.Array,
    features: jax.Array,
    penalty: Penalty,
) -> jax.Array:
    """How far f_A went from its input, in pixels or in f_T's pooled features of the clip."""
    if penalty.space == "pixel":
        return losses.rms_distance(clips, anonymized, reduction=penalty.reduction)
    (_, raw), _ = networks["action"].apply(state.nets["action"], clips)
    # The raw clip does not depend on f_A, and f_T is frozen: nothing to differentiate there.
    raw_features = jax.lax.stop_gradient(raw["features"])
    return losses.feature_distance(raw_features, features, reduction=penalty.reduction)


def _adapting_multiplier(update: Step, penalty: Penalty) -> Step:
    """The update, then one step of dual ascent on the state's multiplier."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        state, metrics = update(state, batch)
        multiplier = losses.update_multiplier(
            state.multiplier,
            metrics["penalty/distance"],
            penalty.budget,
            rate=penalty.multiplier_rate,
            maximum=penalty.multiplier_max,
        )
        return state.replace(multiplier=multiplier), {
            **metrics,
            "penalty/multiplier": multiplier,
        }

    return step


def make_restart(network: Network, *, image_shape: tuple[int, ...], seed: int) -> Restart:
    """(state, member) -> the state with that member of the ensemble f_B as if never trained.

    Its parameters, statistics and moments begin anew (VITA, arXiv 1906.05675: f_A must not settle
    on what fools the classifiers that it has met); the other members are as they were.
    """

    def restart(state: TrainState, member: jax.Array) -> TrainState:
        key = jax.random.fold_in(jax.random.key(seed, impl="rbg"), state.step)
        net = state.nets["privacy"]
        fresh = network.init(key, image_shape)

        def choose(path: Any, old: jax.Array, new: jax.Array) -> jax.Array:
            index = member_of(path)
            return old if index is None else jnp.where(index == member, new, old)

        net = jax.tree_util.tree_map_with_path(choose, net, fresh)
        return state.replace(nets={**state.nets, "privacy": net})

    return restart
