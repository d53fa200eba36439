"""2D convolutions of few channels, computed for several neighbouring columns at once.

XLA's CPU backend gathers the window of every output position before one matrix product. With few
channels the gathering costs more than the product. Positions side by side share most of their
windows, so gathering one wider window for all of them is cheaper, although some products are then
with zeros.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from anon_jax.models.phases import DIMENSIONS, conv2d_gradient_in_phases, plain_conv

# With a multiple of this many input channels XLA finds a faster kernel.
_CHANNELS = 4


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv2d_by_columns(
    x: Float[Array, "n h w cin"],
    kernel: Float[Array, "kh kw cin cout"],
    strides: tuple[int, int],
    columns: int,
) -> Float[Array, "n oh ow cout"]:
    """`plain_conv`, `columns` outputs of a row at a time (no forward-mode).

    The kernel's sides are odd and `columns` divides ow. The input gradient is a convolution of the
    same kind, or in phases for a strided one; the weight gradient is that of `plain_conv`.
    """
    return _convolve(x, kernel, strides, columns)


def _convolve(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], columns: int) -> jax.Array:
    """One convolution with `columns` times the stride, whose channels are the columns' outputs."""
    more = [(0, 0), (0, 0), (0, -x.shape[-1] % _CHANNELS), (0, 0)]
    x, kernel = jnp.pad(x, [(0, 0), *more[:3]]), jnp.pad(kernel, more)
    kh, kw, cin, cout = kernel.shape
    down, right = strides
    last = (columns - 1) * right
    # A column sees the common window from its own first position on.
    shifted = [
        jnp.pad(kernel, [(0, 0), (i, last - i), (0, 0), (0, 0)]) for i in range(0, last + 1, right)
    ]
    # [kh, kw + last, cin, columns, cout] -> [kh, kw + last, cin, columns*cout]
    wide = jnp.stack(shifted, axis=3).reshape(kh, kw + last, cin, columns * cout)
    padding = [(kh // 2, kh // 2), (kw // 2, kw // 2)]
    y = lax.conv_general_dilated(
        x, wide, (down, columns * right), padding, dimension_numbers=DIMENSIONS[2]
    )
    # [n, oh, ow / columns, columns*cout] -> [n, oh, ow, cout]
    return y.reshape(*y.shape[:2], -1, cout)


def _forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], columns: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, strides, columns), (x, kernel)


def _backward(
    strides: tuple[int, int],
    columns: int,
    saved: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    if max(strides) > 1:
        _, pull = jax.vjp(lambda x, k: conv2d_gradient_in_phases(x, k, strides), x, kernel)
        return pull(gradient)
    _, kernel_vjp = jax.vjp(lambda k: plain_conv(x, k, strides), kernel)
    turned = kernel[::-1, ::-1].swapaxes(2, 3)  # [kh, kw, cout, cin]
    return conv2d_by_columns(gradient, turned, strides, columns), kernel_vjp(gradient)[0]


conv2d_by_columns.defvjp(_forward, _backward)
