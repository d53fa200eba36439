"""Convolutions in 2D and 3D, each in the form that XLA runs fastest on the present backend.

Kernels keep their plain shape, (kh, kw, cin, cout) or (kt, kh, kw, cin, cout), whatever form is
used, and every form computes the same sum: `plain_conv` is the definition that the others are
tested against. All of them pad each axis with `k // 2` zeros on both sides, like torch's
`padding=k // 2` ("SAME" would pad differently at stride 2).
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from anon_jax.models import direct
from anon_jax.models.columns import conv2d_by_columns
from anon_jax.models.phases import (
    conv2d_gradient_in_phases,
    conv2d_upsampled_in_phases,
    plain_conv,
    upsample_nearest,
)

# Up to this many input channels a strided convolution's input gradient is faster in phases; above
# it (the encoders' 3x3 convolutions on 64 channels and more) XLA's own form is.
_PHASES_MAX_CHANNELS = 32

# From this many channels on, an upsampled map is convolved in phases: twice as fast in the full
# anonymizer, while in the tiny one it would mostly lengthen the compilation.
_UPSAMPLED_PHASES_MIN_CHANNELS = 64

# Up to this many input and output channels a convolution is faster for several columns at a time,
# where its output has at least this width: for smaller ones it would mostly be compiled longer.
_COLUMNS_MAX_CHANNELS = 16
_COLUMNS_MIN_WIDTH = 16
# With this many products a tap, or fewer, four columns at a time are faster than two.
_FOUR_COLUMNS_MAX_PRODUCTS = 64


def _on_cpu() -> bool:
    """Whether XLA's CPU backend runs the convolutions: the one place where forms are chosen by."""
    return jax.default_backend() == "cpu"


def conv2d(
    x: Float[Array, "n h w cin"], kernel: Float[Array, "kh kw cin cout"], strides: Sequence[int]
) -> Float[Array, "n oh ow cout"]:
    """Convolve in 2D with `k // 2` zeros on both sides of each axis."""
    if kernel.shape[:2] == (1, 1):
        return _pointwise(x, kernel[0, 0], strides)
    if not _on_cpu():
        return plain_conv(x, kernel, strides)
    if direct.usable(x, kernel, strides):
        return _direct(x, kernel, strides)
    columns = _columns(x.shape[2], kernel.shape, strides[1])
    if columns > 1:
        return conv2d_by_columns(x, kernel, tuple(strides), columns)
    if max(strides) > 1 and x.shape[-1] <= _PHASES_MAX_CHANNELS:
        return conv2d_gradient_in_phases(x, kernel, tuple(strides))
    return plain_conv(x, kernel, strides)


def _direct(x: jax.Array, kernel: jax.Array, strides: Sequence[int]) -> jax.Array:
    """By this project's own kernels."""
    padding = tuple(k // 2 for k in kernel.shape[:2])
    lengths = zip(x.shape[1:3], padding, kernel.shape[:2], strides, strict=True)
    size = tuple((length + 2 * p - k) // stride + 1 for length, p, k, stride in lengths)
    return direct.conv2d_direct(x, kernel, tuple(strides), padding, size)


def _columns(width: int, kernel_shape: tuple[int, ...], stride: int) -> int:
    """How many columns to compute at a time on the CPU, from a map of that width.

    One where the width is open (a symbolic size of jax.export): it may divide by no other number.
    """
    if not isinstance(width, int):
        return 1
    kh, kw, cin, cout = kernel_shape
    width = (width + 2 * (kw // 2) - kw) // stride + 1
    columns = 4 if cin * cout <= _FOUR_COLUMNS_MAX_PRODUCTS else 2
    fits = kh % 2 == kw % 2 == 1 and width % columns == 0
    few = max(cin, cout) <= _COLUMNS_MAX_CHANNELS and width >= _COLUMNS_MIN_WIDTH
    return columns if fits and few else 1


def conv2d_upsampled(
    x: Float[Array, "n h w cin"],
    skips: Sequence[Float[Array, "n 2*h 2*w _"]],
    kernel: Float[Array, "3 3 cin_and_skips cout"],
) -> Float[Array, "n 2*h 2*w cout"]:
    """3x3 convolution of x, upsampled 2x by nearest, and the skips on one channel axis.

    On the CPU, where x has many channels, its part is computed at x's own resolution, with 4/9 of
    the operations.
    """
    if not _on_cpu() or x.shape[-1] < _UPSAMPLED_PHASES_MIN_CHANNELS:
        return conv2d(jnp.concatenate([upsample_nearest(x), *skips], axis=-1), kernel, (1, 1))
    own = kernel[:, :, : x.shape[-1]]
    if direct.usable(x, own, (1, 1)):
        y = conv2d_upsampled_in_phases(x, own, direct.convolve_phase)
    else:
        y = conv2d_upsampled_in_phases(x, own)
    if skips:
        y = y + conv2d(jnp.concatenate(skips, axis=-1), kernel[:, :, x.shape[-1] :], (1, 1))
    return y


def conv3d(
    x: Float[Array, "n t h w cin"],
    kernel: Float[Array, "kt kh kw cin cout"],
    strides: Sequence[int],
) -> Float[Array, "n ot oh ow cout"]:
    """Convolve in 3D with `k // 2` zeros on both sides of each axis.

    XLA's CPU backend runs native 3D convolutions 3 to 18 times slower than these forms, and the
    input gradient of a strided one 1000 times slower.
    """
    kt, kh, kw = kernel.shape[:3]
    if (kt, kh, kw) == (1, 1, 1):
        return _pointwise(x, kernel[0, 0, 0], strides)
    if kt == 1:
        return _frame_by_frame(x[:, :: strides[0]], kernel[0], strides[1:])
    if (kh, kw) == (1, 1) and strides[0] == 1:
        return _temporal(x[:, :, :: strides[1], :: strides[2]], kernel[:, 0, 0])
    if _on_cpu():
        return _frames_on_channels(x, kernel, strides)
    return plain_conv(x, kernel, strides)


def _pointwise(
    x: Float[Array, "n *space cin"], kernel: Float[Array, "cin cout"], strides: Sequence[int]
) -> Float[Array, "n *out cout"]:
    """1x1 or 1x1x1 convolution: keep every `stride`-th position, then one matrix product."""
    return _products(x[(slice(None), *(slice(None, None, s) for s in strides))], kernel)


def _products(
    x: Float[Array, "*positions cin"], kernel: Float[Array, "cin cout"]
) -> Float[Array, "*positions cout"]:
    """The matrix product of each position's channels with the kernel."""
    y = _product(x.reshape(-1, x.shape[-1]), kernel)
    return y.reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _product(x: Float[Array, "n cin"], kernel: Float[Array, "cin cout"]) -> Float[Array, "n cout"]:
    """x @ kernel (no forward-mode).

    JAX's own weight gradient is the product's transpose, transposed; for it XLA writes the incoming
    gradient a second time, transposed, which on the CPU took a sixth of ResNet-50's training step.
    """
    return x @ kernel


def _product_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _product(x, kernel), (x, kernel)


def _product_backward(
    saved: tuple[jax.Array, ...], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    return (
        lax.dot_general(gradient, kernel, (((1,), (1,)), ((), ()))),
        lax.dot_general(x, gradient, (((0,), (0,)), ((), ()))),
    )


_product.defvjp(_product_forward, _product_backward)


def _frame_by_frame(
    x: Float[Array, "n t h w cin"], kernel: Float[Array, "kh kw cin cout"], strides: Sequence[int]
) -> Float[Array, "n t oh ow cout"]:
    """1 x kh x kw convolution: frames become images."""
    n, t, h, w, c = x.shape
    y = conv2d(x.reshape(n * t, h, w, c), kernel, strides)  # [n*t, oh, ow, cout]
    return y.reshape(n, t, *y.shape[1:])


def _temporal(
    x: Float[Array, "n t h w cin"], kernel: Float[Array, "kt cin cout"]
) -> Float[Array, "n t h w cout"]:
    """kt x 1 x 1 convolution at stride 1.

    On the CPU one matrix product gives every tap's share and shifted sums put them together; its
    weight gradient is then one product with the shifted gradients, where that of a convolution
    runs on one thread. Elsewhere: a 2D convolution over (time, space).
    """
    n, t, h, w, c = x.shape
    kt, _, cout = kernel.shape
    pad = kt // 2
    if not _on_cpu():
        y = lax.conv_general_dilated(
            x.reshape(n, t, h * w, c),
            kernel[:, None],  # [kt, 1, cin, cout]
            (1, 1),
            [(pad, pad), (0, 0)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y.reshape(n, t, h, w, cout)
    # [kt, cin, cout] -> [cin, kt*cout]
    shares = _products(x, kernel.swapaxes(0, 1).reshape(c, -1)).reshape(n, t, h, w, kt, cout)
    shares = jnp.pad(shares, [(0, 0), (pad, pad), (0, 0), (0, 0), (0, 0), (0, 0)])
    shifted = [shares[:, k : k + t, :, :, k] for k in range(kt)]
    return functools.reduce(jnp.add, shifted)


def _frames_on_channels(
    x: Float[Array, "n t h w cin"],
    kernel: Float[Array, "kt kh kw cin cout"],
    strides: Sequence[int],
) -> Float[Array, "n ot oh ow cout"]:
    """kt x kh x kw convolution: the kt frames of a window side by side on the channel axis."""
    kt, kh, kw, cin, cout = kernel.shape
    pad, stride = kt // 2, strides[0]
    out_frames = (x.shape[1] + 2 * pad - kt) // stride + 1
    padded = jnp.pad(x, [(0, 0), (pad, pad), (0, 0), (0, 0), (0, 0)])
    last = (out_frames - 1) * stride + 1
    windows = [padded[:, k : k + last : stride] for k in range(kt)]
    stacked = jnp.concatenate(windows, axis=-1)  # [n, ot, h, w, kt*cin]
    # [kt, kh, kw, cin, cout] -> [kh, kw, kt*cin, cout]
    kernel2d = kernel.transpose(1, 2, 0, 3, 4).reshape(kh, kw, kt * cin, cout)
    return _frame_by_frame(stacked, kernel2d, strides[1:])
