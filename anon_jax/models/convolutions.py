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

_DIMENSIONS = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NTHWC", "THWIO", "NTHWC")}

# Up to this many input channels a strided convolution's input gradient is faster in phases; above
# it (the encoders' 3x3 convolutions on 64 channels and more) XLA's own form is.
_PHASES_MAX_CHANNELS = 32


def _on_cpu() -> bool:
    """Whether XLA's CPU backend runs the convolutions: the one place where forms are chosen by."""
    return jax.default_backend() == "cpu"


def plain_conv(
    x: Float[Array, "n *space cin"],
    kernel: Float[Array, "*window cin cout"],
    strides: Sequence[int],
) -> Float[Array, "n *out cout"]:
    """Convolve in 2D or 3D by `lax.conv_general_dilated`, padded with `k // 2` on both sides."""
    window = kernel.shape[:-2]
    padding = [(k // 2, k // 2) for k in window]
    return lax.conv_general_dilated(
        x, kernel, tuple(strides), padding, dimension_numbers=_DIMENSIONS[len(window)]
    )


def conv2d(
    x: Float[Array, "n h w cin"], kernel: Float[Array, "kh kw cin cout"], strides: Sequence[int]
) -> Float[Array, "n oh ow cout"]:
    """Convolve in 2D with `k // 2` zeros on both sides of each axis."""
    if kernel.shape[:2] == (1, 1):
        return _pointwise(x, kernel[0, 0], strides)
    if _on_cpu() and max(strides) > 1 and x.shape[-1] <= _PHASES_MAX_CHANNELS:
        return _conv2d_gradient_in_phases(x, kernel, tuple(strides))
    return plain_conv(x, kernel, strides)


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
    kept = x[(slice(None), *(slice(None, None, s) for s in strides))]
    return jnp.einsum("...c,cd->...d", kept, kernel)


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
            dimension_numbers=_DIMENSIONS[2],
        )
        return y.reshape(n, t, h, w, cout)
    shares = jnp.einsum("nthwc,kcd->nthwkd", x, kernel)
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv2d_gradient_in_phases(
    x: Float[Array, "n h w cin"], kernel: Float[Array, "kh kw cin cout"], strides: tuple[int, int]
) -> Float[Array, "n oh ow cout"]:
    """`plain_conv` whose input gradient is one convolution at stride 1 (no forward-mode)."""
    return plain_conv(x, kernel, strides)


def _phases_forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return plain_conv(x, kernel, strides), (x, kernel)


def _phases_backward(
    strides: tuple[int, int], saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    _, kernel_vjp = jax.vjp(lambda k: plain_conv(x, k, strides), kernel)
    height, width = x.shape[1:3]
    input_gradient = _input_gradient_in_phases(gradient, kernel, strides, (height, width))
    return input_gradient, kernel_vjp(gradient)[0]


_conv2d_gradient_in_phases.defvjp(_phases_forward, _phases_backward)


def _input_gradient_in_phases(
    gradient: Float[Array, "n oh ow cout"],
    kernel: Float[Array, "kh kw cin cout"],
    strides: tuple[int, int],
    size: tuple[int, int],
) -> Float[Array, "n h w cin"]:
    """Input gradient of a strided 2D convolution: its sub-pixel phases as output channels.

    Per axis with stride s, padding p and kernel w, the gradient at input position s*q + a is
    sum_d gradient[q + d] * w[a + p - s*d], where w is zero outside its length. For each phase
    a < s this is a convolution at stride 1, and all phases share the range of d.
    """
    kh, kw, cin, cout = kernel.shape
    low, high, lengths = [], [], []  # the range of d, and the number of q, for each axis
    kernel_padding = []
    for k, s, length in zip((kh, kw), strides, size, strict=True):
        d_max, d_min = (s - 1 + k // 2) // s, -((k - 1 - k // 2) // s)
        taps = d_max - d_min + 1
        before = s * d_max - k // 2
        kernel_padding.append((before, s * taps - k - before))
        low.append(-d_min)
        high.append(d_max)
        lengths.append(-(-length // s))
    (sh, sw), (qh, qw), n = strides, lengths, gradient.shape[0]
    padded = jnp.pad(kernel, [*kernel_padding, (0, 0), (0, 0)])
    dh, dw = padded.shape[0] // sh, padded.shape[1] // sw
    # [dh*sh, dw*sw, cin, cout] -> [dh, sh, dw, sw, cin, cout], d falling -> rising
    padded = padded.reshape(dh, sh, dw, sw, cin, cout)[::-1, :, ::-1]
    # -> [dh, dw, cout, sh, sw, cin] -> [dh, dw, cout, sh*sw*cin]
    padded = padded.transpose(0, 2, 5, 1, 3, 4).reshape(dh, dw, cout, sh * sw * cin)
    padding = [
        (below, q - 1 + above - (out - 1))
        for below, above, q, out in zip(low, high, lengths, gradient.shape[1:3], strict=True)
    ]
    phases = lax.conv_general_dilated(
        gradient, padded, (1, 1), padding, dimension_numbers=_DIMENSIONS[2]
    )
    # [n, qh, qw, sh*sw*cin] -> [n, qh, qw, sh, sw, cin] -> [n, qh, sh, qw, sw, cin]
    phases = phases.reshape(n, qh, qw, sh, sw, cin).transpose(0, 1, 3, 2, 4, 5)
    # -> [n, qh*sh, qw*sw, cin], cropped where the size is no multiple of the stride
    return phases.reshape(n, qh * sh, qw * sw, cin)[:, : size[0], : size[1]]
