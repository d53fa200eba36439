"""The published code's mistakes, each behind a switch: scrambled frames, a penalty as a number."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import PRIVACY, batch, initial_state, networks

from anon_jax.minimax_steps import Penalty, Weights, make_anonymizer_step
from anon_jax.steps import anonymize, clips_of, images_of

CLIPS = np.random.default_rng(0).random((2, 4, 3, 5, 3), np.float32)  # [B, T, H, W, 3]


def test_scrambling_is_the_published_permute_and_reshape():
    torch = pytest.importorskip("torch")
    planes = torch.tensor(CLIPS).permute(0, 4, 1, 2, 3).reshape(8, 3, 3, 5)  # [B*T, C, H, W]
    expected = planes.permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(images_of(jnp.asarray(CLIPS), scrambled=True), expected)


def test_an_image_of_a_scrambled_clip_is_three_frames_of_one_colour():
    images = np.asarray(images_of(jnp.asarray(CLIPS), scrambled=True))
    # The twelve planes of a clip are red 0..3, green 0..3, blue 0..3: the first three are red.
    np.testing.assert_array_equal(images[0], np.moveaxis(CLIPS[0, :3, :, :, 0], 0, -1))
    whole = np.asarray(images_of(jnp.asarray(CLIPS)))
    np.testing.assert_array_equal(whole[1], CLIPS[0, 1])


@pytest.mark.parametrize("scrambled", [False, True])
def test_clips_come_back_as_they_were(scrambled):
    images = images_of(jnp.asarray(CLIPS), scrambled)
    np.testing.assert_array_equal(clips_of(images, CLIPS.shape, scrambled), CLIPS)


def test_still_images_are_never_scrambled():
    np.testing.assert_array_equal(images_of(jnp.asarray(CLIPS[0]), scrambled=True), CLIPS[0])


def test_f_a_sees_a_clip_scrambled_in_training_and_when_it_is_frozen():
    nets = networks()
    scrambled = {**nets, "anonymizer": dataclasses.replace(nets["anonymizer"], scrambled=True)}
    frames = np.random.default_rng(1).random((2, 4, 16, 16, 3), np.float32)
    whole, mixed = (anonymize(n, initial_state().nets, frames) for n in (nets, scrambled))
    assert whole.shape == mixed.shape == frames.shape
    assert not np.allclose(whole, mixed, atol=1e-3)
    varied = {**batch(), "clip": {**batch()["clip"], "frames": (frames * 255).astype(np.uint8)}}
    distances = [
        _step(n, Penalty(budget=0.0))[1](varied)["penalty/distance"] for n in (nets, scrambled)
    ]
    assert abs(distances[0] - distances[1]) > 1e-4  # other images, other BatchNorm statistics


def test_a_constant_penalty_is_counted_and_moves_nothing():
    free, _ = _step(networks(), Penalty(budget=0.0), weight=0.0)
    constant, of_constant = _step(networks(), Penalty(budget=0.0, constant=True), weight=9.0)
    real, _ = _step(networks(), Penalty(budget=0.0), weight=9.0)
    assert of_constant(batch())["penalty/value"] > 0.01
    assert _same(free(batch()), constant(batch()))
    assert not _same(free(batch()), real(batch()))


def _step(nets, penalty, weight=1.0):
    """(batch -> parameters of f_A after one step, batch -> metrics of the step)."""
    step = jax.jit(
        make_anonymizer_step(
            nets, weights=Weights(penalty=weight), penalty=penalty, privacy=PRIVACY, seed=5
        )
    )
    return (
        lambda data: step(initial_state(), data)[0].nets["anonymizer"].params,
        lambda data: {k: float(v) for k, v in step(initial_state(), data)[1].items()},
    )


def _same(a, b) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))
