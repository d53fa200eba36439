"""The training steps: one factory per kind, all built by `make_step`.

A step is a function (state, batch) -> (state, metrics), to be jitted. It changes only the networks
that it trains; the others come back bit for bit. Frames arrive as uint8 and become float32 in
[0, 1] here.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Integer

from anon_jax import losses
from anon_jax.accumulation import Gradient, accumulated
from anon_jax.state import Metrics, NetState, Network, TrainState, Variables

Batch = Any
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
# (state, batch, key) -> (loss, (metrics, {trained network: BatchNorm statistics}))
Objective = Callable[
    [TrainState, Batch, jax.Array],
    tuple[jax.Array, tuple[Metrics, dict[str, Variables]]],
]
Networks = Mapping[str, Network]


def to_float(frames: jax.Array | np.ndarray) -> jax.Array:
    """uint8 [0, 255] -> float32 [0, 1]."""
    return jnp.asarray(frames, jnp.float32) / 255.0


def anonymize(networks: Networks, nets: Mapping[str, NetState], frames: jax.Array) -> jax.Array:
    """Frozen f_A, frame by frame: float [..., H, W, 3] in [0, 1] -> the same shape.

    A method without a learned anonymizer has no such network: the frames pass unchanged. Where
    there is a "decoder", it draws the raw frames from what f_A has left of them.
    """
    for name in ("anonymizer", "decoder"):
        if name in nets:
            network = networks[name]
            images = images_of(frames, network.scrambled)  # [..., H, W, 3] -> [N, H, W, 3]
            output, _ = network.apply(nets[name], images)
            frames = jax.lax.stop_gradient(clips_of(output, frames.shape, network.scrambled))
    return frames


def images_of(frames: jax.Array, scrambled: bool = False) -> jax.Array:
    """[..., H, W, 3] -> [N, H, W, 3], whole frames in order.

    `scrambled` does to a clip what the published code does: its planes are put in the order
    [B, 3, T, H, W] and cut in threes by reshaping alone, so that an "image" is three successive
    frames of one colour (docs/method.md). Still images [B, H, W, 3] are never scrambled.
    """
    if scrambled and frames.ndim == 5:
        planes = jnp.transpose(frames, (0, 4, 1, 2, 3))  # [B, T, H, W, 3] -> [B, 3, T, H, W]
        planes = planes.reshape(-1, 3, *frames.shape[2:4])  # [B, 3, T, H, W] -> [B*T, 3, H, W]
        return jnp.transpose(planes, (0, 2, 3, 1))  # -> [B*T, H, W, 3]
    return frames.reshape(-1, *frames.shape[-3:])  # [..., H, W, 3] -> [N, H, W, 3]


def clips_of(images: jax.Array, shape: tuple[int, ...], scrambled: bool = False) -> jax.Array:
    """The inverse of `images_of`: [N, H, W, 3] -> `shape`, [..., H, W, 3]."""
    if scrambled and len(shape) == 5:
        batch, time, height, width, channels = shape
        planes = jnp.transpose(images, (0, 3, 1, 2))  # [B*T, H, W, 3] -> [B*T, 3, H, W]
        planes = planes.reshape(batch, channels, time, height, width)  # -> [B, 3, T, H, W]
        return jnp.transpose(planes, (0, 2, 3, 4, 1))  # -> [B, T, H, W, 3]
    return images.reshape(shape)


def make_step(
    networks: Networks,
    trained: tuple[str, ...],
    objective: Objective,
    *,
    seed: int,
    accumulate: int = 1,
) -> Step:
    """Builds the update of the networks `trained` by the gradient of one objective.

    The gradient is taken with respect to the parameters of `trained` alone. The random key of the
    step follows from `seed` and `state.step`, so that a resumed run draws the same numbers. A
    plateau schedule of network X watches the metric "X/loss". With `accumulate` above 1 the batch
    is split into so many micro-batches; see `accumulation.accumulated`.
    """
    gradient = _gradient(trained, objective)
    if accumulate > 1:
        gradient = accumulated(gradient, trained, accumulate)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        grads, stats, metrics = gradient(state, batch, key)
        nets = dict(state.nets)
        for name in trained:
            loss = metrics[f"{name}/loss"]
            nets[name] = networks[name].update(nets[name], grads[name], stats[name], loss)
        return state.replace(step=state.step + 1, nets=nets), metrics

    return step


def _gradient(trained: tuple[str, ...], objective: Objective) -> Gradient:
    """The gradient of an objective with respect to the parameters of the networks `trained`."""

    def gradient(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        def of_params(params: dict[str, Variables]) -> tuple[jax.Array, Any]:
            changed = {name: state.nets[name].replace(params=params[name]) for name in trained}
            return objective(state.replace(nets={**state.nets, **changed}), batch, key)

        params = {name: state.nets[name].params for name in trained}
        (_, (metrics, stats)), grads = jax.value_and_grad(of_params, has_aux=True)(params)
        return grads, stats, metrics

    return gradient


def make_reconstruction_step(networks: Networks, *, seed: int, accumulate: int = 1) -> Step:
    """f_A learns to reproduce its input: L_rec on batch["image"] uint8 [B, H, W, 3]."""

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        images = to_float(batch["image"])
        output, stats = networks["anonymizer"].apply(
            state.nets["anonymizer"], images, train=True, key=key
        )
        loss = losses.l1(output, images)
        return loss, ({"anonymizer/loss": loss}, {"anonymizer": stats})

    return make_step(networks, ("anonymizer",), objective, seed=seed, accumulate=accumulate)


def make_decoder_step(networks: Networks, *, seed: int, accumulate: int = 1) -> Step:
    """A decoder learns to draw the raw frame from what the frozen anonymizer lets through (L1).

    batch["image"] is what the method sees, batch["raw"] the same view of the raw frame; they differ
    where an obfuscation has been at work. Both are uint8 [B, H, W, 3].
    """

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        seen = anonymize(networks, without_decoder(state.nets), to_float(batch["image"]))
        output, stats = networks["decoder"].apply(state.nets["decoder"], seen, train=True, key=key)
        loss = losses.l1(output, to_float(batch["raw"]))
        return loss, ({"decoder/loss": loss}, {"decoder": stats})

    return make_step(networks, ("decoder",), objective, seed=seed, accumulate=accumulate)


def without_decoder(nets: Mapping[str, NetState]) -> dict[str, NetState]:
    """With these networks `anonymize` ends at f_A's output."""
    return {name: net for name, net in nets.items() if name != "decoder"}


def make_contrastive_step(
    networks: Networks, *, temperature: float, seed: int, accumulate: int = 1
) -> Step:
    """f_B learns from two views of raw images (NT-Xent): batch["image"], batch["view_b"]."""

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        embeddings, stats = networks["privacy"].apply(
            state.nets["privacy"], both_views(batch), train=True, key=key
        )
        loss = contrast(embeddings, temperature)
        return loss, ({"privacy/loss": loss}, {"privacy": stats})

    return make_step(networks, ("privacy",), objective, seed=seed, accumulate=accumulate)


def make_action_step(
    networks: Networks, *, label_smoothing: float, seed: int, accumulate: int = 1
) -> Step:
    """A classifier learns the action from clips of the frozen anonymizer (or raw ones)."""

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        clips = anonymize(networks, state.nets, to_float(batch["frames"]))
        (logits, _), stats = networks["action"].apply(
            state.nets["action"], clips, train=True, key=key
        )
        loss = losses.cross_entropy(logits, batch["action"], label_smoothing=label_smoothing)
        metrics = {"action/loss": loss, "action/top1": top1(logits, batch["action"])}
        return loss, (metrics, {"action": stats})

    return make_step(networks, ("action",), objective, seed=seed, accumulate=accumulate)


def make_attribute_step(
    networks: Networks, *, frames: str = "image", seed: int, accumulate: int = 1
) -> Step:
    """A classifier learns the attributes from what the frozen anonymizer lets through (or raw).

    It sees batch[`frames`]: "image" [B, H, W, 3], or "frames" [B, T, H, W, 3] for one that sees
    whole clips.
    """

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        images = anonymize(networks, state.nets, to_float(batch[frames]))
        (logits, _), stats = networks["privacy"].apply(
            state.nets["privacy"], images, train=True, key=key
        )
        loss = losses.binary_cross_entropy(logits, batch["attributes"])
        return loss, ({"privacy/loss": loss}, {"privacy": stats})

    return make_step(networks, ("privacy",), objective, seed=seed, accumulate=accumulate)


def make_identity_step(
    networks: Networks, people: Integer[np.ndarray, " records"], *, seed: int, accumulate: int = 1
) -> Step:
    """A classifier learns who is in the frame that the frozen anonymizer lets through (or raw).

    Cross entropy on batch["image"] uint8 [B, H, W, 3]; `people` has the class of each training
    record, in the order of batch["index"].
    """

    def objective(state: TrainState, batch: Batch, key: jax.Array) -> Any:
        images = anonymize(networks, state.nets, to_float(batch["image"]))
        (logits, _), stats = networks["privacy"].apply(
            state.nets["privacy"], images, train=True, key=key
        )
        labels = jnp.take(jnp.asarray(people), batch["index"])
        loss = losses.cross_entropy(logits, labels)
        metrics = {"privacy/loss": loss, "privacy/top1": top1(logits, labels)}
        return loss, (metrics, {"privacy": stats})

    return make_step(networks, ("privacy",), objective, seed=seed, accumulate=accumulate)


def both_views(batch: Batch) -> jax.Array:
    """[B, ..., H, W, 3] uint8 twice -> float [2B, ..., H, W, 3], first views first."""
    return to_float(jnp.concatenate([batch["image"], batch["view_b"]]))


def contrast(out: Any, temperature: float, ceiling: bool = False) -> jax.Array:
    """NT-Xent of the first half of the embeddings with the second half; `out` as f_B returns it."""
    first, second = jnp.split(out[0], 2)
    return losses.nt_xent(first, second, temperature=temperature, ceiling=ceiling)


def top1(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of the rows whose largest logit is the label's."""
    return jnp.mean(jnp.argmax(logits, axis=-1) == labels)
