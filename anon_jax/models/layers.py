"""Building blocks shared by all networks: convolution, pools, upsampling, batch norm, inputs."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from anon_jax.models.convolutions import conv2d, conv3d

Entry = TypeVar("Entry")
Norm = Callable[..., nn.BatchNorm]

# He et al. 2015 (arXiv 1502.01852), by outgoing connections: torchvision's choice for ResNets.
kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def choose(table: Mapping[str, Entry], name: str, kind: str) -> Entry:
    """Return `table[name]`; a ValueError for an unknown `name` lists the known ones."""
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(table)}")
    return table[name]


class Conv(nn.Module):
    """Convolution in 2D or 3D, by the length of `kernel_size`, padded with `k // 2` as in torch.

    The parameter `kernel` has the shape (*kernel_size, cin, features), in float32.
    """

    features: int
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    use_bias: bool = False
    kernel_init: Callable[..., Any] = kaiming_fan_out
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n *space cin"]) -> Float[Array, "n *out features"]:
        """Convolve in `dtype`; an axis of length L becomes (L + 2 * (k // 2) - k) // stride + 1."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        strides = self.strides or (1,) * len(self.kernel_size)
        convolve = {2: conv2d, 3: conv3d}[len(self.kernel_size)]
        y = convolve(x.astype(self.dtype), kernel.astype(self.dtype), strides)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype)
        return y


def batch_norm(train: bool, dtype: Any) -> Norm:
    """Return the constructor of batch norm layers: torch's eps 1e-5 and momentum (0.1 there).

    Parameters and statistics are float32 whatever `dtype` is. With `train` the statistics of the
    batch are used and the running ones move towards them. One difference to torch remains: the
    running variance here follows the biased variance of the batch (divided by n, the one that
    normalises), torch's follows the unbiased one (divided by n - 1).
    """
    return functools.partial(
        nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype
    )


def max_pool(
    x: Float[Array, "n *space c"],
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int] | None = None,
) -> Float[Array, "n *out c"]:
    """Max-pool over the axes between batch and channels; `padding` on both sides counts as -inf.

    Written as maxima of shifted slices, one axis after the other, because XLA's own window maximum
    has a backward pass about ten times slower. Entries that tie share the gradient. An axis with
    kernel and stride 1 is left alone. Raises ValueError where the window does not fit.
    """
    padding = padding or (0,) * len(kernel)
    for axis, (k, stride, pad) in enumerate(zip(kernel, strides, padding, strict=True), start=1):
        if pad:
            widths = [(pad, pad) if i == axis else (0, 0) for i in range(x.ndim)]
            x = jnp.pad(x, widths, constant_values=-jnp.inf)
        if x.shape[axis] < k:
            raise ValueError(
                f"max_pool: axis {axis} of the input {x.shape} is shorter than the window {k}; "
                "give longer clips or larger images, or pool less"
            )
        last = (x.shape[axis] - k) // stride * stride + 1
        shifted = [lax.slice_in_dim(x, i, i + last, stride, axis) for i in range(k)]
        x = functools.reduce(jnp.maximum, shifted)
    return x


def upsample_nearest(x: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
    """Repeat each pixel into a square of 2x2."""
    n, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c))
    return x.reshape(n, 2 * h, 2 * w, c)  # [n, h, 2, w, 2, c] -> [n, 2h, 2w, c]


def check_input(x: jax.Array, axes: Sequence[str], owner: str) -> None:
    """Raise ValueError unless `x` has the `axes` (the last one RGB) and a floating dtype."""
    if x.ndim != len(axes) or x.shape[-1] != 3:
        raise ValueError(f"{owner} takes [{', '.join(axes)}] with 3 channels, got shape {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"{owner} takes floats in [0, 1], got {x.dtype}: divide uint8 by 255 first"
        )


def normalize_input(
    x: Float[Array, "*batch 3"], mean: Sequence[float] | None, std: Sequence[float] | None
) -> Float[Array, "*batch 3"]:
    """Return (x - mean) / std per channel; None leaves out the subtraction or the division."""
    if mean is not None:
        x = x - jnp.asarray(mean, x.dtype)
    if std is not None:
        x = x / jnp.asarray(std, x.dtype)
    return x
