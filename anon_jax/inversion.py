"""White-box inversion: frames are changed until the anonymizer makes of them what was seen."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

Frames = Float[Array, "batch height width 3"]


def invert(
    anonymizer: Callable[[Frames], Frames],
    seen: Frames,
    start: Frames,
    *,
    steps: int,
    rate: float,
) -> Frames:
    """Descends on mean (f_A(x) - y)^2 of each frame with Adam, from `start`, inside [0, 1].

    Feature inversion by gradient descent (Mahendran and Vedaldi, CVPR 2015), for an attacker who
    knows f_A's weights, with what a decoder drew in place of an image prior.

    Args:
      anonymizer: f_A in evaluation mode, frame by frame; its weights are known, and stay.
      seen: y, the anonymized frames.
      start: the first x, in [0, 1].
      steps: updates of x.
      rate: of Adam, in pixel values.

    Returns:
      x after the last update. The frames of a batch do not act on each other.
    """
    adam = optax.adam(rate)

    def loss(x: Frames) -> Array:
        # A sum over the frames: the size of the batch must not scale a frame's gradient.
        return jnp.sum(squared_mismatch(anonymizer(x), seen))

    def update(
        carry: tuple[Frames, optax.OptState], _: None
    ) -> tuple[tuple[Frames, optax.OptState], None]:
        x, moments = carry
        change, moments = adam.update(jax.grad(loss)(x), moments)
        return (jnp.clip(x + change, 0.0, 1.0), moments), None

    (x, _), _ = jax.lax.scan(update, (start, adam.init(start)), length=steps)
    return x


def squared_mismatch(output: Frames, seen: Frames) -> Float[Array, " batch"]:
    """Mean of (f_A(x) - y)^2 over the pixels and channels of each frame."""
    return jnp.mean(jnp.square(output - seen), axis=(1, 2, 3))
