"""Building blocks shared by all networks: convolution, pools, upsampling, batch norm, inputs."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from anon_jax.models.convolutions import conv2d, conv2d_upsampled, conv3d

Entry = TypeVar("Entry")
Norm = Callable[..., nn.Module]

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


class UpsampleConv(nn.Module):
    """3x3 convolution of a map upsampled 2x by nearest and concatenated with skips.

    The parameter `kernel` has the shape (3, 3, cin + channels of the skips, features), in float32.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w cin"], skips: Sequence[Float[Array, "n 2*h 2*w _"]]
    ) -> Float[Array, "n 2*h 2*w features"]:
        """Convolve in `dtype`; `skips` may be empty."""
        channels = sum(part.shape[-1] for part in (x, *skips))
        shape = (3, 3, channels, self.features)
        kernel = self.param("kernel", nn.initializers.he_uniform(), shape, jnp.float32)
        x, *skips = (part.astype(self.dtype) for part in (x, *skips))
        return conv2d_upsampled(x, skips, kernel.astype(self.dtype))


class BatchNorm(nn.Module):
    """Batch norm over all axes but the last, with torch's constants and torch's running variance.

    The collection "batch_stats" holds `mean` and `var`, the parameters are `scale` and `bias`, all
    float32. In training the batch is normalised by its biased variance (divided by n) while the
    running variance follows the unbiased one (divided by n - 1), as in torch and unlike
    `flax.linen.BatchNorm`, which lets it follow the biased one. The result is written as x * a + b
    with one a and b a channel: on the CPU that is cheaper, forward and backward, than flax's form.
    """

    use_running_average: bool
    momentum: float = 0.1
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n *space c"]) -> Float[Array, "n *space c"]:
        """Normalise; in training "batch_stats" must be mutable. Returns `dtype`."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if self.use_running_average:
            mean, var = running_mean.value, running_var.value
        else:
            axes = tuple(range(x.ndim - 1))
            values = x.astype(jnp.float32)
            mean = jnp.mean(values, axes)
            # Rounding can leave a constant channel's variance slightly below zero.
            var = jnp.maximum(jnp.mean(jnp.square(values), axes) - jnp.square(mean), 0.0)
            if not self.is_initializing():
                count = x.size // x.shape[-1]
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value += self.momentum * (mean - running_mean.value)
                running_var.value += self.momentum * (unbiased - running_var.value)
        factor = scale * lax.rsqrt(var + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)


def batch_norm(train: bool, dtype: Any) -> Norm:
    """Return the constructor of a network's batch norms: batch statistics only with `train`."""
    return functools.partial(BatchNorm, use_running_average=not train, dtype=dtype)


def max_pool(
    x: Float[Array, "n *space c"],
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int] | None = None,
) -> Float[Array, "n *out c"]:
    """Max-pool over the axes between batch and channels; `padding` on both sides counts as -inf.

    Written as maxima of shifted slices, one axis after the other, because XLA's own window maximum
    has a backward pass several times slower. Entries that tie share the gradient. An axis with
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
