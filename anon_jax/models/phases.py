"""2D convolutions that change the resolution by 2, computed phase by phase at the coarse one.

The pixels of the fine grid fall into phases by their position modulo the stride. Within a phase
every pixel sees the coarse grid through the same taps, so each phase is a convolution at stride 1,
which XLA's CPU backend runs well, unlike dilated and strided forms.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

DIMENSIONS = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NTHWC", "THWIO", "NTHWC")}


def plain_conv(
    x: Float[Array, "n *space cin"],
    kernel: Float[Array, "*window cin cout"],
    strides: Sequence[int],
) -> Float[Array, "n *out cout"]:
    """Convolve in 2D or 3D by `lax.conv_general_dilated`, padded with `k // 2` on both sides."""
    window = kernel.shape[:-2]
    padding = [(k // 2, k // 2) for k in window]
    return lax.conv_general_dilated(
        x, kernel, tuple(strides), padding, dimension_numbers=DIMENSIONS[len(window)]
    )


def upsample_nearest(x: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
    """Repeat each pixel into a square of 2x2."""
    n, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c))
    return x.reshape(n, 2 * h, 2 * w, c)  # [n, h, 2, w, 2, c] -> [n, 2h, 2w, c]


def _convolve_phase(x: jax.Array, taps: jax.Array, padding: tuple[int, int]) -> jax.Array:
    """2x2 convolution with `padding`, 0 or 1, above and left, and the rest of 1 behind."""
    pads = [(before, 1 - before) for before in padding]
    return lax.conv_general_dilated(x, taps, (1, 1), pads, dimension_numbers=DIMENSIONS[2])


def conv2d_upsampled_in_phases(
    x: Float[Array, "n h w cin"],
    kernel: Float[Array, "3 3 cin cout"],
    convolve_phase: Callable[[jax.Array, jax.Array, tuple[int, int]], jax.Array] = _convolve_phase,
) -> Float[Array, "n 2*h 2*w cout"]:
    """`plain_conv(upsample_nearest(x), kernel, (1, 1))` as four 2x2 convolutions of x.

    Three neighbouring fine pixels cover two coarse ones, so on each axis two of the three taps
    fall on the same pixel and are added beforehand. `convolve_phase` as `_convolve_phase`.
    """
    n, h, w, _ = x.shape
    rows = []
    for above, row in zip((1, 0), _fold(kernel, 0), strict=True):
        columns = [
            convolve_phase(x, taps, (above, left))
            for left, taps in zip((1, 0), _fold(row, 1), strict=True)
        ]
        rows.append(jnp.stack(columns, axis=3))  # [n, h, w, 2, cout]
    # [n, h, 2, w, 2, cout] -> [n, 2h, 2w, cout]
    return jnp.stack(rows, axis=2).reshape(n, 2 * h, 2 * w, -1)


def _fold(kernel: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Return the two taps along `axis` that an even and an odd fine pixel put on coarse pixels."""
    first, middle, last = (lax.index_in_dim(kernel, i, axis, keepdims=False) for i in range(3))
    return jnp.stack([first, middle + last], axis), jnp.stack([first + middle, last], axis)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv2d_gradient_in_phases(
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


conv2d_gradient_in_phases.defvjp(_phases_forward, _phases_backward)


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
        gradient, padded, (1, 1), padding, dimension_numbers=DIMENSIONS[2]
    )
    # [n, qh, qw, sh*sw*cin] -> [n, qh, qw, sh, sw, cin] -> [n, qh, sh, qw, sw, cin]
    phases = phases.reshape(n, qh, qw, sh, sw, cin).transpose(0, 1, 3, 2, 4, 5)
    # -> [n, qh*sh, qw*sw, cin], cropped where the size is no multiple of the stride
    return phases.reshape(n, qh * sh, qw * sw, cin)[:, : size[0], : size[1]]
