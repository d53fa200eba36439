"""The networks: sizes, shapes, dtypes, state, errors, and that every parameter is used."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anon_jax.models import MODELS, build_model
from anon_jax.models.heads import ProjectionHead, l2_normalize

# Each tiny network with an input that it takes.
TINY = {
    "unetpp_tiny": ((2, 16, 32, 3), {}),
    "i3d_tiny": ((2, 4, 16, 16, 3), {"num_classes": 5}),
    "resnet_tiny": ((2, 16, 16, 3), {"num_classes": 5}),
}
CLASSIFIERS = ("i3d_tiny", "resnet_tiny")


def _abstract(module, shape):
    """Return the shapes of variables and output, without computing anything."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), x)
    output = jax.eval_shape(lambda v, x: module.apply(v, x, train=False), variables, x)
    return variables, output


def _count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _images(shape, seed=0):
    values = np.random.default_rng(seed).uniform(size=shape)
    return jnp.asarray(values, jnp.float32)


def _tiny(name, **attributes):
    shape, defaults = TINY[name]
    module, x = build_model(name, **{**defaults, **attributes}), _images(shape)
    initialise = jax.jit(lambda key, x: module.init(key, x, train=False))
    return module, initialise(jax.random.key(0), x), x


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


def test_clip_length_halves_where_i3d_says():
    # 16 frames: the stem leaves 8, its pool 4, the pool after stage 1 leaves 2.
    module = build_model("i3d_resnet50", num_classes=3)
    x = jnp.zeros((1, 16, 64, 64, 3))
    _, state = jax.eval_shape(
        lambda: module.init_with_output(
            jax.random.key(0), x, train=False, capture_intermediates=True, mutable=True
        )
    )
    blocks = state["intermediates"]
    lengths = [blocks[f"stage{s}_block0"]["__call__"][0].shape[1] for s in (1, 2, 3, 4)]
    assert blocks["stem_conv"]["__call__"][0].shape[1] == 8
    assert lengths == [4, 2, 2, 2]


def test_tiny_i3d_keeps_the_temporal_resolution():
    module = build_model("i3d_tiny", num_classes=3)
    for frames, size in ((8, 32), (16, 64), (16, 112)):
        x = jnp.zeros((1, frames, size, size, 3))
        _, state = jax.eval_shape(
            lambda x=x: module.init_with_output(
                jax.random.key(0), x, train=False, capture_intermediates=True, mutable=True
            )
        )
        last = state["intermediates"][f"stage{len(module.stage_sizes)}_block0"]["__call__"][0]
        assert last.shape[1] == frames


@pytest.mark.parametrize("name", TINY)
def test_every_parameter_of_a_tiny_network_gets_a_gradient(name):
    # Two frames of 16x16 leave dead ReLUs; 32x32 and more samples reach every channel.
    module, variables, _ = _tiny(name)
    shape = (4, 4, 32, 32, 3) if name == "i3d_tiny" else (8, 32, 32, 3)

    def loss(params, x):
        output, _ = _train(module, {**variables, "params": params}, x)
        output = output[0] if isinstance(output, tuple) else output
        # Weights that differ, for batch norm hides a common factor from what stands before it.
        return jnp.sum(output * jnp.cos(jnp.arange(output.size)).reshape(output.shape))

    gradients = jax.jit(jax.grad(loss))(variables["params"], _images(shape))
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.all(np.isfinite(gradient)), path
        assert np.any(gradient != 0), path


@pytest.mark.parametrize("name", TINY)
def test_bfloat16_computes_but_parameters_and_outputs_stay_float32(name):
    module, variables, x = _tiny(name, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    coarse = jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, x)
    fine = jax.jit(lambda v, x: build_model_like(module).apply(v, x, train=False))(variables, x)
    for a, b in zip(jax.tree.leaves(coarse), jax.tree.leaves(fine), strict=True):
        assert a.dtype == jnp.float32
        # bfloat16 keeps 8 bits: about 1 % after a dozen layers; equality would mean it is unused.
        assert not jnp.array_equal(a, b)
        assert float(jnp.max(jnp.abs(a - b))) < 0.1 * max(1.0, float(jnp.max(jnp.abs(b))))
    _, stats = jax.jit(lambda v, x: _train(module, v, x))(variables, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {np.dtype("float32")}


def build_model_like(module):
    """Return the same network, computing in float32."""
    return module.clone(dtype=jnp.float32)


@pytest.mark.parametrize("name", TINY)
def test_statistics_move_in_training_only(name):
    module, variables, x = _tiny(name)
    _, moved = jax.jit(lambda v, x: _train(module, v, x))(variables, x)
    unchanged = jax.tree.map(jnp.array_equal, moved, variables["batch_stats"])
    assert not any(jax.tree.leaves(unchanged))
    _, kept = module.apply(variables, x, train=False, mutable=["batch_stats"])
    assert _same(kept["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_frozen_batch_norm_trains_with_running_statistics(name):
    no_dropout = {"dropout_rate": 0.0} if name == "i3d_tiny" else {}
    module, variables, x = _tiny(name, freeze_batch_norm=True, **no_dropout)
    output, stats = _train(module, variables, x)
    assert _same(stats, variables["batch_stats"])
    assert _same(output, module.apply(variables, x, train=False))


def test_dropout_needs_training_and_a_key():
    module, variables, x = _tiny("i3d_tiny", freeze_batch_norm=True)
    apply = jax.jit(lambda seed: _train(module, variables, x, seed)[0][0])
    assert not jnp.array_equal(apply(1), apply(2))
    assert jnp.array_equal(apply(1), apply(1))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_input_normalisation_is_applied_to_the_input(name):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    module, variables, x = _tiny(name)
    inside, _ = module.clone(input_mean=mean, input_std=std).apply(variables, x, train=False)
    outside, _ = module.apply(variables, (x - jnp.array(mean)) / jnp.array(std), train=False)
    # One rounding of the input, amplified through the layers.
    np.testing.assert_allclose(inside, outside, rtol=1e-4, atol=1e-5)


def test_motion_input_adds_the_difference_from_the_mean_frame():
    module, variables, x = _tiny("i3d_tiny", motion_input=True)
    kernel = variables["params"]["stem_conv"]["kernel"]
    assert kernel.shape[3] == 6
    still = jnp.broadcast_to(x[:, :1], x.shape)

    def logits(clip, kernel):
        params = {**variables["params"], "stem_conv": {"kernel": kernel}}
        return module.apply({**variables, "params": params}, clip, train=False)[0]

    without_motion = kernel.at[:, :, :, 3:].set(0.0)
    # In a still clip the motion channels are zero, so their weights do not matter; else they do.
    np.testing.assert_allclose(logits(still, kernel), logits(still, without_motion), atol=1e-5)
    assert float(jnp.max(jnp.abs(logits(x, kernel) - logits(x, without_motion)))) > 1e-3


def test_outputs_of_the_anonymizer_are_images_unless_told_otherwise():
    module, variables, x = _tiny("unetpp_tiny")
    image = module.apply(variables, x, train=False)
    assert 0.0 <= float(image.min())
    assert float(image.max()) <= 1.0
    raw = module.clone(output_activation="identity").apply(variables, x, train=False)
    np.testing.assert_allclose(jax.nn.sigmoid(raw), image, atol=1e-6)


def test_embeddings_have_length_one():
    module, variables, x = _tiny("resnet_tiny", head="projection", projection_dim=7)
    embedding, _ = module.apply(variables, x, train=False)
    assert embedding.shape == (2, 7)
    np.testing.assert_allclose(jnp.linalg.norm(embedding, axis=-1), 1.0, rtol=1e-6)


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
    module, variables, _ = _tiny("unetpp_tiny")
    with pytest.raises(ValueError, match=r"multiples of 16, got 100x90: .* 112x96, .* 96x80"):
        module.apply(variables, jnp.zeros((1, 100, 90, 3)), train=False)


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
        ("i3d_tiny", {"temporal_marks": ((1, 1),)}, "one entry for each block"),
    ],
)
def test_attributes_that_do_not_fit_are_explained(name, attributes, message):
    with pytest.raises(ValueError, match=message):
        _abstract(build_model(name, **attributes), TINY[name][0])


def test_unknown_names_are_explained():
    with pytest.raises(ValueError, match=r"unknown model 'vgg'; known: .*unetpp_tiny.*resnet152"):
        build_model("vgg")
    with pytest.raises(TypeError, match="depth"):
        build_model("resnet18", depth=3)


def test_every_model_of_the_table_can_be_built():
    for name in MODELS:
        shape = (1, 16, 64, 64, 3) if name.startswith("i3d") else (1, 64, 64, 3)
        _, output = _abstract(build_model(name), shape)
        assert jax.tree.leaves(output)[0].shape[0] == 1
