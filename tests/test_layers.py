"""The layers: every fast form against the plain convolution, pools, upsampling, batch norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import test_util

from anon_jax.models import columns, convolutions, direct, layers, phases
from anon_jax.native import library

# Two float32 sums of the same numbers in another order: a few units in the last place.
RELATIVE_ERROR = 1e-5

# (shape of x, shape of the kernel, strides): stems, encoders, heads, odd sizes, uneven strides.
CASES_2D = [
    ((2, 12, 12, 3), (7, 7, 3, 8), (2, 2)),
    ((2, 9, 12, 6), (5, 5, 6, 4), (2, 2)),
    ((2, 7, 8, 3), (3, 3, 3, 4), (2, 1)),
    ((1, 11, 13, 3), (7, 7, 3, 4), (3, 3)),
    ((2, 8, 8, 40), (3, 3, 40, 4), (2, 2)),
    ((2, 6, 5, 4), (3, 3, 4, 5), (1, 1)),
    ((2, 7, 6, 4), (1, 1, 4, 5), (1, 1)),
    ((2, 7, 6, 4), (1, 1, 4, 5), (2, 2)),
    ((2, 3, 16, 4), (3, 3, 4, 5), (1, 1)),
    ((2, 3, 18, 9), (3, 3, 9, 12), (1, 1)),
    ((1, 2, 20, 3), (1, 5, 3, 16), (1, 1)),
    ((2, 8, 32, 3), (7, 7, 3, 8), (2, 2)),
    ((1, 5, 31, 4), (3, 5, 4, 6), (1, 2)),
    ((1, 5, 53, 9), (3, 3, 9, 8), (2, 3)),
]
CASES_3D = [
    ((2, 6, 12, 12, 3), (5, 7, 7, 3, 8), (2, 2, 2)),
    ((2, 5, 9, 8, 3), (5, 7, 7, 3, 4), (2, 2, 2)),
    ((2, 4, 8, 8, 6), (3, 5, 5, 6, 4), (1, 2, 2)),
    ((1, 4, 6, 6, 3), (3, 3, 3, 3, 4), (1, 1, 1)),
    ((2, 4, 6, 5, 4), (1, 3, 3, 4, 5), (1, 1, 1)),
    ((2, 2, 3, 16, 8), (1, 3, 3, 8, 16), (1, 1, 1)),
    ((2, 5, 6, 5, 4), (1, 3, 3, 4, 5), (2, 2, 2)),
    ((2, 5, 4, 3, 4), (3, 1, 1, 4, 5), (1, 1, 1)),
    ((2, 5, 4, 3, 4), (5, 1, 1, 4, 5), (1, 2, 2)),
    ((2, 6, 4, 3, 4), (3, 1, 1, 4, 5), (2, 1, 1)),
    ((2, 5, 4, 3, 4), (1, 1, 1, 4, 5), (1, 1, 1)),
    ((2, 5, 4, 3, 4), (1, 1, 1, 4, 5), (2, 2, 2)),
]


# Where a convolution may run: on a CPU by this project's kernels or by XLA's, or elsewhere.
PLACES = ["kernels", "xla", "elsewhere"]


def _go_to(place, monkeypatch):
    if place == "kernels" and not library.load():
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(convolutions, "_on_cpu", lambda: place != "elsewhere")
    monkeypatch.setattr(library, "load", lambda: place == "kernels")


def _normal(seed, shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def _assert_same(got, wanted):
    assert got.shape == wanted.shape
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert np.max(np.abs(got - wanted)) <= RELATIVE_ERROR * np.max(np.abs(wanted))


def _assert_same_with_gradients(fast, plain, *arguments):
    """Compare the outputs, and the gradients by every argument under one random cotangent."""
    cotangent = _normal(9, jax.eval_shape(plain, *arguments).shape)

    def value_and_gradients(function):
        def run(*arguments):
            value, pull = jax.vjp(function, *arguments)
            return value, pull(cotangent)

        return jax.jit(run)(*arguments)

    got, wanted = value_and_gradients(fast), value_and_gradients(plain)
    jax.tree.map(_assert_same, got, wanted)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("shape", "kernel_shape", "strides"), CASES_2D + CASES_3D)
def test_every_form_equals_the_plain_convolution(monkeypatch, place, shape, kernel_shape, strides):
    _go_to(place, monkeypatch)
    convolve = convolutions.conv2d if len(strides) == 2 else convolutions.conv3d
    _assert_same_with_gradients(
        lambda x, k: convolve(x, k, strides),
        lambda x, k: phases.plain_conv(x, k, strides),
        _normal(0, shape),
        _normal(1, kernel_shape),
    )


@pytest.mark.parametrize(
    ("shape", "kernel_shape", "stride", "number"),
    [
        ((2, 3, 16, 4), (3, 3, 4, 16), 1, 4),
        ((2, 3, 18, 9), (3, 3, 9, 12), 1, 2),
        ((2, 3, 32, 3), (7, 7, 3, 8), 2, 4),
        ((2, 3, 18, 4), (3, 3, 4, 5), 1, 1),  # four columns do not divide 18
        ((2, 3, 16, 4), (2, 2, 4, 5), 1, 1),  # even kernels pad unevenly
        ((2, 3, 16, 17), (3, 3, 17, 3), 1, 1),
        ((2, 16, 8, 4), (3, 3, 4, 5), 1, 1),
        ((2, 16, 16, 4), (3, 3, 4, 5), 2, 1),
    ],
)
def test_few_channels_are_convolved_several_columns_at_a_time(
    monkeypatch, shape, kernel_shape, stride, number
):
    taken = []

    def note(x, kernel, strides, columns):
        taken.append(columns)
        return phases.plain_conv(x, kernel, strides)

    _go_to("xla", monkeypatch)
    monkeypatch.setattr(convolutions, "conv2d_by_columns", note)
    arguments = (jnp.zeros(shape), jnp.zeros(kernel_shape), (stride, stride))
    convolutions.conv2d(*arguments)
    assert taken == ([number] if number > 1 else [])
    monkeypatch.setattr(convolutions, "_on_cpu", lambda: False)
    convolutions.conv2d(*arguments)
    assert len(taken) == (number > 1)  # other backends keep the plain form


def test_plain_convolution_pads_like_torch_and_not_like_same():
    x = jnp.arange(1.0, 5.0).reshape(1, 1, 4, 1)
    kernel = jnp.ones((1, 3, 1, 1))
    # Windows at stride 2 over [0, 1, 2, 3, 4, 0]: 0+1+2 and 2+3+4; "SAME" would give 1+2+3, 3+4.
    assert phases.plain_conv(x, kernel, (1, 2)).ravel().tolist() == [3.0, 9.0]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("channels", [5, 64])
@pytest.mark.parametrize("skip_channels", [(), (3, 1)])
def test_upsampled_convolution(monkeypatch, place, channels, skip_channels):
    _go_to(place, monkeypatch)
    x = _normal(0, (2, 3, 4, channels))
    skips = [_normal(i, (2, 6, 8, c)) for i, c in enumerate(skip_channels)]
    kernel = _normal(1, (3, 3, channels + sum(skip_channels), 4))

    def plain(x, kernel, *skips):
        repeated = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        joined = jnp.concatenate([repeated, *skips], axis=-1)
        return phases.plain_conv(joined, kernel, (1, 1))

    _assert_same_with_gradients(
        lambda x, kernel, *skips: convolutions.conv2d_upsampled(x, skips, kernel),
        plain,
        x,
        kernel,
        *skips,
    )


@pytest.mark.parametrize(
    "convolve",
    [
        lambda x, kernel: phases.conv2d_gradient_in_phases(x, kernel, (2, 2)),
        lambda x, kernel: columns.conv2d_by_columns(x, kernel, (1, 1), 2),
        lambda x, kernel: columns.conv2d_by_columns(x, kernel, (2, 2), 3),
        lambda x, kernel: direct.conv2d_direct(x, kernel, (1, 1), (1, 1), (5, 6)),
        lambda x, kernel: direct.conv2d_direct(x, kernel, (2, 2), (1, 1), (3, 3)),
    ],
    ids=["phases", "columns", "strided-columns", "direct", "strided-direct"],
)
def test_forms_with_own_gradients_can_be_differentiated_again(convolve):
    # Gradient penalties need this. The function is linear in each argument, so the order-2 check
    # compares mixed terms; tolerance for finite differences in float32.
    if not library.load():
        pytest.skip("no C++ compiler")
    arguments = (_normal(0, (1, 5, 6, 2)), _normal(1, (3, 3, 2, 2)))
    test_util.check_grads(convolve, arguments, order=2, modes=["rev"], atol=1e-2, rtol=1e-2)


def test_upsample_nearest_repeats_pixels():
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    wanted = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert phases.upsample_nearest(x)[0, :, :, 0].tolist() == wanted


@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "padding"),
    [
        ((2, 9, 8, 3), (3, 3), (2, 2), (1, 1)),
        ((2, 8, 8, 3), (2, 2), (2, 2), None),
        ((2, 5, 9, 8, 3), (2, 3, 3), (2, 2, 2), None),
        ((2, 5, 3, 3, 3), (2, 1, 1), (2, 1, 1), None),
        ((2, 3, 3, 3), (1, 1), (1, 1), None),
    ],
)
def test_max_pool_equals_window_maximum(shape, kernel, strides, padding):
    pads = [(p, p) for p in padding or (0,) * len(kernel)]
    # Values drawn from a continuum do not tie, so the gradients have to agree too.
    _assert_same_with_gradients(
        lambda x: layers.max_pool(x, kernel, strides, padding),
        lambda x: nn.max_pool(x, kernel, strides, pads),
        _normal(0, shape),
    )


def test_max_pool_shares_the_gradient_between_ties():
    x = jnp.array([5.0, 5.0, 1.0, 2.0]).reshape(1, 4, 1)
    gradient = jax.grad(lambda x: jnp.sum(layers.max_pool(x, (2,), (2,))))(x)
    assert gradient.ravel().tolist() == [0.5, 0.5, 0.0, 1.0]


def test_max_pool_names_the_axis_that_is_too_short():
    with pytest.raises(ValueError, match=r"axis 1 of the input \(1, 1, 8, 8, 2\).* window 2"):
        layers.max_pool(jnp.zeros((1, 1, 8, 8, 2)), (2, 1, 1), (2, 1, 1))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_batch_norm_normalises_and_moves_its_statistics(dtype):
    x = 3.0 + 2.0 * np.random.default_rng(0).standard_normal((6, 5, 4)).astype(np.float32)
    module = layers.BatchNorm(use_running_average=False, dtype=dtype)
    variables = module.init(jax.random.key(0), x)
    y, updated = module.apply(variables, x, mutable=["batch_stats"])
    assert y.dtype == dtype
    mean, var = x.mean((0, 1)), x.var((0, 1))
    tolerance = 1e-5 if dtype == jnp.float32 else 2e-2  # bfloat16 has 8 bits of mantissa
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), atol=tolerance, rtol=tolerance)
    stats = updated["batch_stats"]
    # From mean 0 and variance 1, a tenth of the way to the batch's mean and unbiased variance.
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * x.var((0, 1), ddof=1), rtol=1e-5)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, stats))} == {np.dtype("float32")}


def test_batch_norm_of_a_constant_channel_is_its_bias():
    module = layers.BatchNorm(use_running_average=False)
    x = jnp.full((4, 3, 3, 1), 0.3)
    y, _ = module.init_with_output(jax.random.key(0), x)
    # eps keeps the factor at 1 / sqrt(1e-5) = 316, which magnifies the rounding of the mean.
    np.testing.assert_allclose(y, 0.0, atol=1e-3)


def test_normalize_input_by_hand():
    x = jnp.full((1, 1, 3), 0.5)
    y = layers.normalize_input(x, (0.5, 0.25, 0.0), (1.0, 0.5, 0.25))
    assert y.ravel().tolist() == [0.0, 0.5, 2.0]
    assert layers.normalize_input(x, None, None) is x


def test_check_input_says_what_is_wrong():
    axes = ("batch", "height", "width", "3")
    layers.check_input(jnp.zeros((2, 4, 4, 3)), axes, "Net")
    with pytest.raises(ValueError, match=r"Net takes \[batch, height, width, 3\].*\(2, 3, 4, 4\)"):
        layers.check_input(jnp.zeros((2, 3, 4, 4)), axes, "Net")
    with pytest.raises(ValueError, match="uint8"):
        layers.check_input(jnp.zeros((2, 4, 4, 3), jnp.uint8), axes, "Net")


def test_choose_lists_the_known_names():
    assert layers.choose({"a": 1, "b": 2}, "b", "letter") == 2
    with pytest.raises(ValueError, match="unknown letter 'c'; known: a, b"):
        layers.choose({"a": 1, "b": 2}, "c", "letter")
