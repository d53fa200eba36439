"""Blocks and small networks give what the same torch modules give, in evaluation and training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anon_jax.models import build_model, layers
from anon_jax.models.i3d import Bottleneck3D
from anon_jax.models.resnet import BasicBlock, Bottleneck
from anon_jax.models.unetpp import DecoderBlock

torch = pytest.importorskip("torch")
import torch_twins as twins  # noqa: E402  (it imports torch, which may be missing)


def _random_variables(module, *inputs, **keywords):
    """Return variables of the right shapes with random values, variances and scales positive."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, **keywords))

    def draw(path, leaf):
        name = path[-1].key
        if name in ("var", "scale"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        spread = 0.3
        if name == "kernel":  # keeps the activations near 1 however deep the network is
            spread = 1.4 / np.sqrt(np.prod(leaf.shape[:-1]))
        return (spread * rng.standard_normal(leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _channels_first(x):
    return torch.tensor(np.moveaxis(np.asarray(x), -1, 1))


def _channels_last(x):
    x = x.detach().numpy()
    return np.moveaxis(x, 1, -1) if x.ndim > 2 else x


def _assert_close(got, wanted, tolerance):
    scale = max(np.abs(wanted).max(), 1.0)
    np.testing.assert_allclose(np.asarray(got), wanted, atol=tolerance * scale, rtol=0)


def _images(*shape):
    return np.random.default_rng(1).uniform(size=shape).astype(np.float32)


def _compare(module, twin, variables, train, *inputs, call=None, twin_call=None):
    """Compare outputs, updated statistics (in training) and the gradient by the first input."""
    twins.load(twin, variables).train(train)
    call = call or (lambda m, *x: m(*x))
    mutable = ["batch_stats"] if train else []

    def forward(first, *rest):
        output, updated = module.apply(variables, first, *rest, method=call, mutable=mutable)
        outputs = jax.tree.leaves(output)
        return sum(jnp.sum(jnp.square(o)) for o in outputs), (outputs, updated)

    # Compiled to run once: without optimisation the compiler needs half the time.
    options = {"xla_backend_optimization_level": 0}
    run = jax.jit(jax.grad(forward, has_aux=True), compiler_options=options)
    gradient, (outputs, updated) = run(*inputs)
    tensors = [_channels_first(x) for x in inputs]
    tensors[0].requires_grad_()
    wanted = (twin_call or (lambda m, *x: m(*x)))(twin, *tensors)
    wanted = [wanted] if torch.is_tensor(wanted) else list(wanted)
    sum((w**2).sum() for w in wanted).backward()
    # Float32 through up to 20 layers; batch statistics of few values magnify the rounding.
    for got, want in zip(outputs, wanted, strict=True):
        _assert_close(got, _channels_last(want), 1e-4 if train else 1e-5)
    wanted_gradient = _channels_last(tensors[0].grad)
    if train:
        # Where rounding moves a value over a ReLU's corner the gradient jumps, and with batch
        # statistics it jumps everywhere a little: so its distance as a whole, not the worst entry.
        distance = np.linalg.norm(gradient - wanted_gradient)
        assert distance <= 0.05 * np.linalg.norm(wanted_gradient)
        stats = {**variables, "batch_stats": jax.device_get(updated["batch_stats"])}
        moved = {name: value.numpy().copy() for name, value in twin.named_buffers()}
        for name, value in twins.load(twin, stats).named_buffers():
            _assert_close(value.numpy(), moved[name], 1e-5)
    else:
        _assert_close(gradient, wanted_gradient, 1e-4)


EVALUATION_AND_TRAINING = pytest.mark.parametrize("train", [False, True])


@EVALUATION_AND_TRAINING
@pytest.mark.parametrize(("cin", "stride"), [(8, 1), (6, 2)])
@pytest.mark.parametrize("kind", ["basic", "bottleneck", "3d", "3d temporal"])
def test_residual_block(kind, cin, stride, train):
    norm = layers.batch_norm(train, jnp.float32)
    width = 8 if kind == "basic" else 2  # 8 channels out
    make, twin, shape = {
        "basic": (BasicBlock, twins.basic, (3, 9, 8, cin)),
        "bottleneck": (Bottleneck, twins.bottleneck, (3, 9, 8, cin)),
        "3d": (
            functools.partial(Bottleneck3D, temporal=False),
            functools.partial(twins.bottleneck3d, temporal=False),
            (2, 5, 7, 6, cin),
        ),
        "3d temporal": (
            functools.partial(Bottleneck3D, temporal=True),
            functools.partial(twins.bottleneck3d, temporal=True),
            (2, 5, 7, 6, cin),
        ),
    }[kind]
    module, x = make(width=width, stride=stride, norm=norm), _images(*shape)
    _compare(module, twin(cin, width, stride)[0], _random_variables(module, x), train, x)


@EVALUATION_AND_TRAINING
@pytest.mark.parametrize("with_skips", [False, True])
def test_decoder_block(with_skips, train):
    module = DecoderBlock(5, layers.batch_norm(train, jnp.float32))
    x = _images(3, 4, 3, 4)
    skips = [_images(3, 8, 6, 2), _images(3, 8, 6, 3)] if with_skips else []
    twin = twins.Decoder(9 if with_skips else 4, 5)
    _compare(
        module,
        twin,
        _random_variables(module, x, skips),
        train,
        x,
        *skips,
        call=lambda m, x, *skips: m(x, skips),
        twin_call=lambda m, x, *skips: m(x, skips),
    )


@EVALUATION_AND_TRAINING
def test_unetpp(train):
    module = build_model("unetpp_tiny", width=4, decoder_channels=(12, 10, 8, 6))
    x = _images(2, 32, 48, 3)
    variables = _random_variables(module, x, train=False)
    twin = twins.UNetPlusPlus(4, (12, 10, 8, 6), module.stem_kernel)
    _compare(module, twin, variables, train, x, call=lambda m, x: m(x, train=train))


@EVALUATION_AND_TRAINING
@pytest.mark.parametrize(
    ("block", "stem", "head"),
    [("basic", (3, 2, 1, 1), "linear"), ("bottleneck", (7, 2, 3, 2), "projection")],
)
def test_resnet(block, stem, head, train):
    names = ("stem_kernel", "stem_stride", "stem_pool_kernel", "stem_pool_stride")
    module = build_model(
        "resnet18",
        stage_sizes=(1, 2),
        block=block,
        width=4,
        head=head,
        num_classes=5,
        projection_dim=6,
        **dict(zip(names, stem, strict=True)),
    )
    sizes = {"num_classes": 5} if head == "linear" else {"projection_dim": 6}
    twin = twins.ResNet(getattr(twins, block), (1, 2), 4, stem, **sizes)
    x = _images(3, 22, 21, 3)
    variables = _random_variables(module, x, train=False)
    _compare(module, twin, variables, train, x, call=lambda m, x: _ordered(m(x, train=train)))


@EVALUATION_AND_TRAINING
@pytest.mark.parametrize("layout", ["published", "tiny"])
def test_i3d(layout, train):
    """The published stem and pools, and the tiny ones, in front of a few narrow blocks."""
    marks = ((1, 0), (0, 1))
    module = build_model(
        "i3d_resnet50" if layout == "published" else "i3d_tiny",
        stage_sizes=(2, 2),
        temporal_marks=marks,
        width=4,
        num_classes=5,
        dropout_rate=0.0,  # two libraries cannot drop the same units
    )
    twin = twins.I3DResNet(
        marks,
        4,
        (module.stem_kernel, module.stem_strides),
        (module.stem_pool_kernel, module.stem_pool_strides),
        (module.stage1_pool_kernel, module.stage1_pool_strides),
        5,
    )
    x = _images(2, 8, 22, 21, 3)
    variables = _random_variables(module, x, train=False)
    _compare(module, twin, variables, train, x, call=lambda m, x: _ordered(m(x, train=train)))


def _ordered(result):
    output, intermediates = result
    return [output, intermediates["features"]]
