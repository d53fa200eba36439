"""The networks: sizes, shapes, dtypes, state, errors, and that every parameter is used."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anon_jax.models import build_model
from anon_jax.models.heads import ProjectionHead, l2_normalize

# Each kind of network, small: its attributes and an input that it takes.
SMALL = {
    "unetpp_tiny": ({"stage_sizes": (1,), "width": 4, "decoder_channels": (6, 5)}, (2, 12, 16, 3)),
    "i3d_tiny": (
        {"stage_sizes": (1, 1), "temporal_marks": ((1,), (1,)), "width": 4, "num_classes": 5},
        (2, 4, 16, 16, 3),
    ),
    "resnet_tiny": ({"stage_sizes": (1, 1), "num_classes": 5, "width": 4}, (2, 16, 16, 3)),
}
CLASSIFIERS = ("i3d_tiny", "resnet_tiny")
TINY_INPUTS = {
    "unetpp_tiny": (6, 32, 32, 3),
    "i3d_tiny": (3, 8, 32, 32, 3),
    "resnet_tiny": (6, 32, 32, 3),
}


def _run(function, *arguments):
    """Compile and call; without optimisation, for each program runs but once."""
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(function, compiler_options=options)(*arguments)


def _abstract(module, shape):
    """Return the shapes of variables and output, without computing anything."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), x)
    output = jax.eval_shape(lambda v, x: module.apply(v, x, train=False), variables, x)
    return variables, output


def _stage_shapes(module, shape):
    """Return the output shapes of the stem and of each stage's first block."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    _, state = jax.eval_shape(
        lambda x: module.init_with_output(
            jax.random.key(0), x, train=False, capture_intermediates=True, mutable=True
        ),
        x,
    )
    names = ["stem_conv", *(f"stage{s + 1}_block0" for s in range(len(module.stage_sizes)))]
    return [state["intermediates"][name]["__call__"][0].shape for name in names]


def _count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _images(shape):
    return np.random.default_rng(0).uniform(size=shape).astype(np.float32)


def _random(shapes):
    """Return small random kernels and biases; scales and variances of about 1."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        fan_in = math.prod(leaf.shape[:-1])
        return (rng.standard_normal(leaf.shape) / math.sqrt(fan_in)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _small(name, **attributes):
    """Return a small network, random variables for it, and an input."""
    defaults, shape = SMALL[name]
    module = build_model(name, **{**defaults, **attributes})
    return module, _random(_abstract(module, shape)[0]), _images(shape)


def _evaluate(module, variables, x):
    return _run(lambda v, x: module.apply(v, x, train=False), variables, x)


def _train(module, variables, x, seed=1):
    """Apply in training mode; return the output and the new batch statistics."""
    rngs = {"dropout": jax.random.key(seed)}
    output, updated = module.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)
    return output, updated["batch_stats"]


def _same(tree, other):
    return jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), tree, other))


# The first four: the published networks. The others: torchvision's parameter counts.
@pytest.mark.parametrize(
    ("name", "attributes", "shape", "parameters", "outputs", "features"),
    [
        ("i3d_resnet50", {"num_classes": 101}, (2, 16, 224, 224, 3), 27_430_821, 101, 2048),
        ("i3d_resnet50", {"num_classes": 400}, (2, 16, 112, 112, 3), 28_043_472, 400, 2048),
        ("resnet50", {"head": "projection"}, (2, 224, 224, 3), 27_966_656, 128, 2048),
        ("resnet18", {}, (2, 224, 224, 3), 11_689_512, 1000, 512),
        ("resnet34", {}, (2, 224, 224, 3), 21_797_672, 1000, 512),
        ("resnet50", {}, (2, 224, 224, 3), 25_557_032, 1000, 2048),
        ("resnet101", {}, (2, 224, 224, 3), 44_549_160, 1000, 2048),
        ("resnet152", {}, (2, 224, 224, 3), 60_192_808, 1000, 2048),
    ],
)
def test_classifier_at_full_size(name, attributes, shape, parameters, outputs, features):
    variables, (output, intermediates) = _abstract(build_model(name, **attributes), shape)
    assert _count(variables["params"]) == parameters
    assert output.shape == (2, outputs)
    assert intermediates["features"].shape == (2, features)


def test_anonymizer_at_full_size():
    variables, output = _abstract(build_model("unetpp"), (2, 224, 320, 3))
    assert _count(variables["params"]) == 5_505_059
    assert output.shape == (2, 224, 320, 3)


def test_i3d_halves_clips_where_the_paper_does():
    # 16 frames: the stem leaves 8, its pool 4, the pool after stage 1 leaves 2.
    shapes = _stage_shapes(build_model("i3d_resnet50"), (1, 16, 64, 64, 3))
    assert [shape[1] for shape in shapes] == [8, 4, 2, 2, 2]
    # 64 pixels: 32 after the stem, 15 after its pool without padding, then halves, rounded up.
    assert [shape[2] for shape in shapes] == [32, 15, 8, 4, 2]


@pytest.mark.parametrize(("frames", "size"), [(8, 32), (16, 64), (16, 112)])
def test_tiny_i3d_keeps_the_temporal_resolution(frames, size):
    shapes = _stage_shapes(build_model("i3d_tiny"), (1, frames, size, size, 3))
    assert {shape[1] for shape in shapes} == {frames}


@pytest.mark.parametrize("name", TINY_INPUTS)
def test_every_parameter_of_a_tiny_network_gets_a_gradient(name):
    module, x = build_model(name), _images(TINY_INPUTS[name])
    variables = _random(_abstract(module, x.shape)[0])

    def loss(params):
        output, _ = _train(module, {**variables, "params": params}, x)
        output = output[0] if isinstance(output, tuple) else output
        # Weights that differ, for batch norm hides a common factor from what stands before it.
        return jnp.sum(output * jnp.cos(jnp.arange(output.size)).reshape(output.shape))

    gradients = _run(jax.grad(loss), variables["params"])
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.all(np.isfinite(gradient)), path
        assert np.any(gradient != 0), path


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_computes_but_state_and_outputs_stay_float32(name):
    module, variables, x = _small(name, dtype="bfloat16")
    initial = jax.eval_shape(lambda: module.init(jax.random.key(0), x, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(initial)} == {np.dtype("float32")}
    coarse, stats = _run(lambda v, x: _train(module, v, x), variables, x)
    assert {leaf.dtype for leaf in jax.tree.leaves((coarse, stats))} == {np.dtype("float32")}
    coarse = _evaluate(module, variables, x)
    fine = _evaluate(module.clone(dtype=jnp.float32), variables, x)
    for a, b in zip(jax.tree.leaves(coarse), jax.tree.leaves(fine), strict=True):
        # bfloat16 keeps 8 bits: about 1 % after a dozen layers; equality would mean it is unused.
        assert not jnp.array_equal(a, b)
        assert float(jnp.max(jnp.abs(a - b))) < 0.1 * max(1.0, float(jnp.max(jnp.abs(b))))


@pytest.mark.parametrize("name", SMALL)
def test_statistics_move_in_training_only(name):
    module, variables, x = _small(name)
    _, moved = _run(lambda v, x: _train(module, v, x), variables, x)
    unchanged = jax.tree.map(jnp.array_equal, moved, variables["batch_stats"])
    assert not any(jax.tree.leaves(unchanged))
    _, kept = _run(
        lambda v, x: module.apply(v, x, train=False, mutable=["batch_stats"]), variables, x
    )
    assert _same(kept["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_frozen_batch_norm_trains_with_running_statistics(name):
    no_dropout = {"dropout_rate": 0.0} if name == "i3d_tiny" else {}
    module, variables, x = _small(name, freeze_batch_norm=True, **no_dropout)
    output, stats = _run(lambda v, x: _train(module, v, x), variables, x)
    assert _same(stats, variables["batch_stats"])
    assert _same(output, _evaluate(module, variables, x))


def test_dropout_follows_its_key_in_training():
    module, variables, x = _small("i3d_tiny", freeze_batch_norm=True)
    first, again, other = _run(
        jax.vmap(lambda seed: _train(module, variables, x, seed)[0][0]), jnp.array([1, 1, 2])
    )
    assert jnp.array_equal(first, again)
    assert not jnp.array_equal(first, other)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_input_normalisation_is_applied_to_the_input(name):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    module, variables, x = _small(name)
    inside = _evaluate(module.clone(input_mean=mean, input_std=std), variables, x)
    outside = _evaluate(module, variables, (x - np.float32(mean)) / np.float32(std))
    # One rounding of the input, amplified through the layers.
    np.testing.assert_allclose(inside[0], outside[0], rtol=1e-4, atol=1e-5)


def test_motion_input_adds_the_difference_from_the_mean_frame():
    module, variables, x = _small("i3d_tiny", motion_input=True)
    kernel = variables["params"]["stem_conv"]["kernel"]
    assert kernel.shape[3] == 6
    blind = kernel.copy()
    blind[:, :, :, 3:] = 0.0

    def logits(clip, kernel):
        params = {**variables["params"], "stem_conv": {"kernel": kernel}}
        return _evaluate(module, {**variables, "params": params}, clip)[0]

    still = np.broadcast_to(x[:, :1], x.shape)
    # In a still clip the motion channels are zero, so their weights do not matter; else they do.
    np.testing.assert_allclose(logits(still, kernel), logits(still, blind), atol=1e-5)
    assert float(jnp.max(jnp.abs(logits(x, kernel) - logits(x, blind)))) > 1e-3


def test_outputs_of_the_anonymizer_are_images_unless_told_otherwise():
    module, variables, x = _small("unetpp_tiny")
    image = _evaluate(module, variables, x)
    assert float(image.min()) >= 0.0
    assert float(image.max()) <= 1.0
    raw = _evaluate(module.clone(output_activation="identity"), variables, x)
    np.testing.assert_allclose(jax.nn.sigmoid(raw), image, atol=1e-6)


def test_embeddings_have_length_one():
    module, variables, x = _small("resnet_tiny", head="projection", projection_dim=7)
    embedding, _ = _evaluate(module, variables, x)
    assert embedding.shape == (2, 7)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=-1), 1.0, rtol=1e-6)


def test_l2_normalize_by_hand_and_at_zero():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(l2_normalize(x), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    gradient = jax.grad(lambda x: jnp.sum(l2_normalize(x) * jnp.array([1.0, 0.0])))(x)
    # d(x / |x|) = (1 - u u^T) / |x|: (1 - 0.36) / 5 and -0.48 / 5.
    np.testing.assert_allclose(gradient, [[0.128, -0.096], [0.0, 0.0]], rtol=1e-5)


def test_projection_head_keeps_the_width_of_the_features():
    variables = jax.eval_shape(
        lambda: ProjectionHead(5).init(jax.random.key(0), jnp.zeros((2, 11)), train=False)
    )
    shapes = jax.tree.map(lambda leaf: leaf.shape, variables["params"])
    assert shapes["linear1"] == {"kernel": (11, 11), "bias": (11,)}
    assert shapes["linear2"] == {"kernel": (11, 5), "bias": (5,)}


def test_sizes_that_cannot_be_halved_are_explained():
    with pytest.raises(ValueError, match=r"multiples of 16, got 100x90: .* 112x96, .* 96x80"):
        _abstract(build_model("unetpp_tiny"), (1, 100, 90, 3))


def test_clips_too_short_for_the_pools_are_explained():
    module = build_model("i3d_resnet50", num_classes=3)
    with pytest.raises(ValueError, match=r"axis 1 .* shorter than the window 2.* longer clips"):
        _abstract(module, (1, 4, 64, 64, 3))


@pytest.mark.parametrize(
    ("name", "attributes", "message"),
    [
        ("resnet_tiny", {"head": "mlp"}, "unknown head 'mlp'; known: linear, projection"),
        ("resnet_tiny", {"block": "wide"}, "unknown block 'wide'; known: basic, bottleneck"),
        ("unetpp_tiny", {"output_activation": "tanh"}, "known: sigmoid, identity"),
        ("unetpp_tiny", {"decoder_channels": (8, 8)}, "need 4 entries"),
        ("i3d_tiny", {"temporal_marks": ((1, 1, 1, 1),)}, "one entry for each block"),
    ],
)
def test_attributes_that_do_not_fit_are_explained(name, attributes, message):
    with pytest.raises(ValueError, match=message):
        _abstract(build_model(name, **attributes), TINY_INPUTS[name])


def test_unknown_names_are_explained():
    with pytest.raises(ValueError, match=r"unknown model 'vgg'; known: .*unetpp_tiny.*resnet152"):
        build_model("vgg")
    with pytest.raises(TypeError, match="depth"):
        build_model("resnet18", depth=3)
