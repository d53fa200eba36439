"""The rate of a phase's optimizer, step by step, against values worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from anon_jax.optimizers import make_optimizer
from anon_jax.phases.minimax import count_updates
from configs import base


def moved(losses, **fields):
    """How far each update moves a parameter: Adam of a constant gradient moves it by the rate."""
    defaults = {"learning_rate": 1.0, "schedule": "constant", "warmup_epochs": 0.0}
    defaults |= {"weight_decay": 0.0, "clip_norm": 0.0, "steps_per_epoch": 2}
    tx = make_optimizer(**(defaults | fields), num_steps=len(losses))
    parameter = jnp.zeros(1)
    state, found = tx.init(parameter), []
    for loss in losses:
        update, state = tx.update(jnp.ones(1), state, parameter, value=jnp.float32(loss))
        found.append(-float(update[0]))
    return found


def test_plateau_divides_the_rate_by_5_after_an_epoch_without_a_fall():
    # Means of the epochs of two updates: 3, 2, 2 (no fall), 2 (no fall), 1.
    found = moved([3, 3, 1, 3, 2, 2, 2, 2, 1, 1], schedule="plateau")
    # The scale follows the last update of the epoch that did not fall.
    expected = [1, 1, 1, 1, 1, 1 / 5, 1 / 5, 1 / 25, 1 / 25, 1 / 25]
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # Adam's epsilon, and float32


def test_plateau_takes_the_least_fall_for_one():
    falling = np.float32(1) - np.arange(6, dtype=np.float32) * np.float32(2**-23)
    found = moved(list(falling), schedule="plateau", steps_per_epoch=1)
    np.testing.assert_allclose(found, np.ones(6), rtol=1e-4)


def test_cosine_with_a_warm_up_rises_and_ends_near_0():
    found = moved([0] * 6, schedule="cosine", warmup_epochs=1.0)
    # Two updates of warm-up, then (1 + cos(pi t / 4)) / 2 for t = 0, 1, 2, 3.
    expected = [0.5, 1.0, *((1 + np.cos(np.pi * np.arange(4) / 4)) / 2)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_a_falling_loss_leaves_the_rate(schedule):
    np.testing.assert_allclose(moved([4, 3, 2, 1], schedule=schedule), np.ones(4), rtol=1e-4)


@pytest.mark.parametrize(
    ("num_steps", "expected"),
    [
        # Two steps of warm-up, then cycles of f_A, f_T with f_B, and three times f_B alone.
        (17, {"anonymizer": 3, "action": 5, "privacy": 14}),  # three whole cycles
        (18, {"anonymizer": 4, "action": 5, "privacy": 14}),  # and f_A of the fourth
        (20, {"anonymizer": 4, "action": 6, "privacy": 16}),
        (1, {"anonymizer": 0, "action": 1, "privacy": 1}),  # ends in the warm-up
    ],
)
def test_a_rate_of_the_game_follows_the_updates_of_its_own_network(num_steps, expected):
    phase = base.get_config().minimax
    phase.update(warmup_epochs=0.5, adversary_steps=1, privacy_steps=3)
    assert count_updates(phase, num_steps, per_epoch=4) == expected


def test_the_optimizers_of_the_published_recipe_can_be_made():
    config = base.get_config()
    sections = [
        phase[name]
        for phase in config.values()
        if isinstance(phase, ConfigDict)
        for name in phase
        if name.endswith("optimizer")
    ]
    assert len(sections) >= 8
    for section in sections:
        make_optimizer(**section, num_steps=10, steps_per_epoch=5)
