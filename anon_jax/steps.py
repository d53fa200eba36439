"""The training steps: one factory per kind, all built by `make_step`.

A step is a function (state, batch) -> (state, metrics), to be jitted. It changes only the networks
that it trains; the others come back bit for bit. Frames arrive as uint8 and become float32 in
[0, 1] here.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anon_jax import losses
from anon_jax.state import Metrics, NetState, Network, TrainState, Variables

Batch = Any
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
# (state, batch, key) -> (loss, (metrics, {trained network: BatchNorm statistics}))
Objective = Callable[
    [TrainState, Batch, jax.Array],
    tuple[jax.Array, tuple[Metrics, dict[str, Variables]]],
]
Networks = Mapping[str, Network]


@dataclasses.dataclass(frozen=True)
class Weights:
    """L_A = action L_T - privacy L_B + penalty L_penalty (arXiv 2504.14301, Sec. 3)."""

    action: float = 1.0
    privacy: float = 1.0
    penalty: float = 1.0


@dataclasses.dataclass(frozen=True)
class Penalty:
    """How L_penalty is measured and weighed; see `losses.penalty` and `losses.rms_distance`."""

    budget: float
    mode: str = "hinge"
    reduction: str = "batch"
    space: str = "pixel"
    multiplier_rate: float = 0.05
    multiplier_max: float = 100.0


def to_float(frames: jax.Array | np.ndarray) -> jax.Array:
    """uint8 [0, 255] -> float32 [0, 1]."""
    return jnp.asarray(frames, jnp.float32) / 255.0


def anonymize(networks: Networks, nets: Mapping[str, NetState], frames: jax.Array) -> jax.Array:
    """Frozen f_A, frame by frame: float [..., H, W, 3] in [0, 1] -> the same shape.

    A method without a learned anonymizer has no such network: the frames pass unchanged.
    """
    if "anonymizer" not in nets:
        return frames
    images = frames.reshape(-1, *frames.shape[-3:])  # [..., H, W, 3] -> [N, H, W, 3]
    output, _ = networks["anonymizer"].apply(nets["anonymizer"], images)
    return jax.lax.stop_gradient(output.reshape(frames.shape))  # [N, H, W, 3] -> [..., H, W, 3]


def make_step(
    networks: Networks, trained: tuple[str, ...], objective: Objective, *, seed: int
) -> Step:
    """Builds the update of the networks `trained` by the gradient of one objective.

    The gradient is taken with respect to the parameters of `trained` alone. The random key of the
    step follows from `seed` and `state.step`, so that a resumed run draws the same numbers. A
    plateau schedule of network X watches the metric "X/loss".
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)

        def of_params(params: dict[str, Variables]) -> tuple[jax.Array, Any]:
            changed = {name: state.nets[name].replace(params=params[name]) for name in trained}
            return objective(state.replace(nets={**state.nets, **changed}), batch, key)

        params = {name: state.nets[name].params for name in trained}
        (_, (metrics, stats)), grads = jax.value_and_grad(of_params, has_aux=True)(params)
        nets = dict(state.nets)
        for name in trained:
            loss = metrics[f"{name}/loss"]
            nets[name] = networks[name].update(nets[name], grads[name], stats[name], loss)
        return state.replace(step=state.step + 1, nets=nets), metrics

    return step


def make_reconstruction_step(networks: Networks, *, seed: int) -> Step:
    """f_A learns to reproduce its input: L_rec on batch["image"] uint8 [B, H, W, 3]."""

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        images = to_float(batch["image"])
        output, stats = networks["anonymizer"].apply(
            state.nets["anonymizer"], images, train=True, key=key
        )
        loss = losses.l1(output, images)
        return loss, ({"anonymizer/loss": loss}, {"anonymizer": stats})

    return make_step(networks, ("anonymizer",), objective, seed=seed)


def make_contrastive_step(networks: Networks, *, temperature: float, seed: int) -> Step:
    """f_B learns from two views of raw images (NT-Xent): batch["image"], batch["view_b"]."""

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        embeddings, stats = networks["privacy"].apply(
            state.nets["privacy"], _both_views(batch), train=True, key=key
        )
        loss = _contrast(embeddings, temperature)
        return loss, ({"privacy/loss": loss}, {"privacy": stats})

    return make_step(networks, ("privacy",), objective, seed=seed)


def make_anonymizer_step(
    networks: Networks,
    *,
    weights: Weights,
    penalty: Penalty,
    temperature: float,
    ceiling: bool,
    seed: int,
) -> Step:
    """Minimax step 1: f_A by L_A = w_T L_T - w_B L_B + w_P L_penalty; f_T and f_B frozen.

    f_T and f_B run in evaluation mode, but the gradient goes through them to f_A. f_A sees the
    frames of the clips and both views of the images in one forward pass, so that its BatchNorm
    statistics are those of all that it anonymizes later. batch = {"clip": ..., "image": ...}.
    In lagrangian mode w_P is the state's multiplier, adapted after the update. With a penalty
    weight of 0 the distance is measured, and changes nothing.
    """
    held = penalty.mode == "lagrangian" and weights.penalty > 0

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        clips = to_float(batch["clip"]["frames"])
        frames = clips.reshape(-1, *clips.shape[2:])  # [B, T, H, W, 3] -> [B*T, H, W, 3]
        inputs = jnp.concatenate([frames, _both_views(batch["image"])])
        output, stats = networks["anonymizer"].apply(
            state.nets["anonymizer"], inputs, train=True, key=key
        )
        anonymized = output[: len(frames)].reshape(clips.shape)  # [B*T, ...] -> [B, T, ...]
        (logits, out), _ = networks["action"].apply(state.nets["action"], anonymized)
        embeddings, _ = networks["privacy"].apply(state.nets["privacy"], output[len(frames) :])
        action_loss = losses.cross_entropy(logits, batch["clip"]["action"])
        privacy_loss = _contrast(embeddings, temperature, ceiling)
        if penalty.space == "action_feature":
            (_, raw), _ = networks["action"].apply(state.nets["action"], clips)
            distance = losses.feature_distance(
                jax.lax.stop_gradient(raw["features"]),
                out["features"],
                reduction=penalty.reduction,
            )
        else:
            distance = losses.rms_distance(clips, anonymized, reduction=penalty.reduction)
        cost = losses.penalty(
            distance,
            penalty.budget,
            mode="lagrangian" if held else "hinge",
            multiplier=state.multiplier if held else None,
        )
        loss = weights.action * action_loss - weights.privacy * privacy_loss
        loss = loss + (1.0 if held else weights.penalty) * cost
        metrics = {
            "anonymizer/loss": loss,
            "anonymizer/action_loss": action_loss,
            "anonymizer/privacy_loss": privacy_loss,
            "anonymizer/top1": _top1(logits, batch["clip"]["action"]),
            "penalty/value": cost,
            "penalty/distance": jnp.mean(distance),
            "penalty/active": jnp.mean(distance > penalty.budget),
        }
        return loss, (metrics, {"anonymizer": stats})

    update = make_step(networks, ("anonymizer",), objective, seed=seed)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        state, metrics = update(state, batch)
        if held:
            multiplier = losses.update_multiplier(
                state.multiplier,
                metrics["penalty/distance"],
                penalty.budget,
                rate=penalty.multiplier_rate,
                maximum=penalty.multiplier_max,
            )
            state = state.replace(multiplier=multiplier)
            metrics["penalty/multiplier"] = multiplier
        return state, metrics

    return step


def make_adversary_step(networks: Networks, *, temperature: float, seed: int) -> Step:
    """Minimax step 2: f_A frozen; f_T by L_T and f_B by L_B, each on anonymized data.

    The two losses share no parameters, so the gradient of their sum is each network's own.
    """

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        clips = anonymize(networks, state.nets, to_float(batch["clip"]["frames"]))
        views = anonymize(networks, state.nets, _both_views(batch["image"]))
        action_key, privacy_key = jax.random.split(key)
        (logits, _), action_stats = networks["action"].apply(
            state.nets["action"], clips, train=True, key=action_key
        )
        embeddings, privacy_stats = networks["privacy"].apply(
            state.nets["privacy"], views, train=True, key=privacy_key
        )
        action_loss = losses.cross_entropy(logits, batch["clip"]["action"])
        privacy_loss = _contrast(embeddings, temperature)
        metrics = {
            "action/loss": action_loss,
            "action/top1": _top1(logits, batch["clip"]["action"]),
            "privacy/loss": privacy_loss,
        }
        stats = {"action": action_stats, "privacy": privacy_stats}
        return action_loss + privacy_loss, (metrics, stats)

    return make_step(networks, ("action", "privacy"), objective, seed=seed)


def make_action_step(networks: Networks, *, label_smoothing: float, seed: int) -> Step:
    """A classifier learns the action from clips of the frozen anonymizer (or raw ones)."""

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        clips = anonymize(networks, state.nets, to_float(batch["frames"]))
        (logits, _), stats = networks["action"].apply(
            state.nets["action"], clips, train=True, key=key
        )
        loss = losses.cross_entropy(logits, batch["action"], label_smoothing=label_smoothing)
        metrics = {"action/loss": loss, "action/top1": _top1(logits, batch["action"])}
        return loss, (metrics, {"action": stats})

    return make_step(networks, ("action",), objective, seed=seed)


def make_attribute_step(networks: Networks, *, seed: int) -> Step:
    """A classifier learns the attributes from images of the frozen anonymizer (or raw ones)."""

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        images = anonymize(networks, state.nets, to_float(batch["image"]))
        (logits, _), stats = networks["privacy"].apply(
            state.nets["privacy"], images, train=True, key=key
        )
        loss = losses.binary_cross_entropy(logits, batch["attributes"])
        return loss, ({"privacy/loss": loss}, {"privacy": stats})

    return make_step(networks, ("privacy",), objective, seed=seed)


def _both_views(batch: Batch) -> jax.Array:
    """[B, H, W, 3] uint8 twice -> float [2B, H, W, 3], first views first."""
    return to_float(jnp.concatenate([batch["image"], batch["view_b"]]))


def _contrast(out: Any, temperature: float, ceiling: bool = False) -> jax.Array:
    """NT-Xent of the first half of the embeddings with the second half; `out` as f_B returns it."""
    first, second = jnp.split(out[0], 2)
    return losses.nt_xent(first, second, temperature=temperature, ceiling=ceiling)


def _top1(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(jnp.argmax(logits, axis=-1) == labels)
