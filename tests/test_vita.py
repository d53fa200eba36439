"""The supervised opponent: an ensemble of attribute classifiers, the terms of L_B, restarts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from small_networks import ATTRIBUTES, SIDE, SMALL, batch, initial_state, networks

from anon_jax import losses
from anon_jax.minimax_steps import (
    Penalty,
    Weights,
    make_adversary_step,
    make_anonymizer_step,
    make_restart,
)
from anon_jax.models import build_model
from anon_jax.models.ensemble import Ensemble, member_of
from anon_jax.privacy_terms import Supervised
from anon_jax.state import Network, TrainState

MEMBERS = 3
SHAPE = (1, SIDE, SIDE, 3)


def ensemble() -> Network:
    member = functools.partial(build_model, "resnet_tiny", num_classes=ATTRIBUTES, **SMALL)
    tx = optax.with_extra_args_support(optax.adam(1e-2))
    return Network(Ensemble(member, MEMBERS), tx)


def supervised_networks() -> dict[str, Network]:
    return {**networks(), "privacy": ensemble()}


def supervised_state() -> TrainState:
    net = ensemble().init(jax.random.key(2, impl="rbg"), SHAPE)
    return initial_state().replace(nets={**initial_state().nets, "privacy": net})


def members(tree: object) -> list[list[np.ndarray]]:
    """The leaves of each member."""
    found: list[list[np.ndarray]] = [[] for _ in range(MEMBERS)]
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        index = member_of(path)
        if index is not None:
            found[index].append(np.asarray(leaf))
    return found


def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) > 0 and all(map(np.array_equal, a, b))


def test_binary_entropy_equals_scipy():
    logits = np.array([[-3.0, 0.0], [1.5, 40.0]])
    expected = np.mean(
        [scipy.stats.bernoulli(1 / (1 + np.exp(-z))).entropy() for z in logits.ravel()]
    )
    # float32 against float64
    np.testing.assert_allclose(losses.binary_entropy(jnp.asarray(logits)), expected, rtol=1e-5)


def test_members_have_parameters_of_their_own_and_answer_as_they_would_alone():
    network = ensemble()
    net = network.init(jax.random.key(0), SHAPE)
    images = np.random.default_rng(0).random((4, SIDE, SIDE, 3), np.float32)
    (logits, _), _ = network.apply(net, images)
    assert logits.shape == (MEMBERS, 4, ATTRIBUTES)
    alone = Network(build_model("resnet_tiny", num_classes=ATTRIBUTES, **SMALL))
    for index in range(MEMBERS):
        name = f"members_{index}"
        part = net.replace(params=net.params[name], batch_stats=net.batch_stats[name])
        (expected, _), _ = alone.apply(part, images)
        np.testing.assert_array_equal(logits[index], expected)
    assert not equal(*members(net.params)[:2])


def test_f_a_faces_the_most_certain_member_and_the_one_that_is_right_most():
    labels = np.array([[1, 0], [1, -1]], np.int32)  # two images, two views of each
    logits = jnp.stack(
        [
            jnp.zeros((4, 2)),  # knows nothing: entropy and cross entropy ln 2
            jnp.full((4, 2), -9.0),  # certain, and wrong about what is known in three of four
        ]
    )
    found = {
        name: float(Supervised(name).fooled((logits, {}), {"attributes": labels}))
        for name in ("entropy", "cross_entropy")
    }
    certain = 9 * np.exp(-9) + np.exp(-9)  # of the entropy of sigmoid(-9), to first order in e^-9
    np.testing.assert_allclose(found["entropy"], certain, rtol=1e-3)  # second order: e^-9 = 1e-4
    np.testing.assert_allclose(found["cross_entropy"], np.log(2), rtol=1e-6)
    learned = float(Supervised("entropy").learned((logits, {}), {"attributes": labels}))
    # Per image pair: 9 for each 1, about 0 for each 0; known are 1, 0, 1.
    np.testing.assert_allclose(learned, (np.log(2) + 18 / 3) / 2, rtol=1e-4)


def test_the_ensemble_learns_the_labels_of_both_views():
    step = jax.jit(
        make_adversary_step(supervised_networks(), privacy=Supervised("entropy"), seed=1)
    )
    state, metrics = step(supervised_state(), batch())
    first = float(metrics["privacy/loss"])
    for _ in range(30):
        state, metrics = step(state, batch())
    # Three labels of two images, 30 Adam steps of 1e-2: less than half of where it began.
    assert float(metrics["privacy/loss"]) < 0.5 * first


@pytest.mark.parametrize("objective", ["entropy", "cross_entropy"])
def test_step_1_trains_f_a_alone_and_raises_what_it_is_told_to(objective):
    step = make_anonymizer_step(
        supervised_networks(),
        weights=Weights(action=0.0, privacy=1.0, penalty=0.0),
        penalty=Penalty(budget=1.0),
        privacy=Supervised(objective),
        seed=1,
    )
    step = jax.jit(step)
    state = before = supervised_state()
    values = []
    for _ in range(10):
        state, metrics = step(state, batch())
        values.append(float(metrics["anonymizer/privacy_loss"]))
    assert values[-1] > values[0]
    for name in ("action", "privacy"):
        a, b = (jax.tree.leaves(s.nets[name]) for s in (before, state))
        assert equal(list(map(np.asarray, a)), list(map(np.asarray, b)))


def test_a_restart_changes_one_member_wholly_and_no_other_thing():
    step = jax.jit(
        make_adversary_step(supervised_networks(), privacy=Supervised("entropy"), seed=1)
    )
    trained, _ = step(supervised_state(), batch())
    restart = jax.jit(make_restart(ensemble(), image_shape=SHAPE, seed=3))
    restarted = restart(trained, 1)
    old, new = trained.nets["privacy"], restarted.nets["privacy"]
    for part in ("params", "batch_stats", "opt_state"):
        olds, news = members(getattr(old, part)), members(getattr(new, part))
        assert [equal(a, b) for a, b in zip(olds, news, strict=True)] == [True, False, True]
    assert all(not leaf.any() for leaf in members(new.opt_state)[1])  # no moments yet
    fresh = ensemble().init(jax.random.key(0), SHAPE)
    assert [leaf.shape for leaf in members(new.params)[1]] == [
        leaf.shape for leaf in members(fresh.params)[1]
    ]
    for name in ("anonymizer", "action"):
        assert restarted.nets[name] is not None
        a, b = (jax.tree.leaves(s.nets[name]) for s in (trained, restarted))
        assert equal(list(map(np.asarray, a)), list(map(np.asarray, b)))
    again = restart(trained, 1)
    assert equal(members(again.nets["privacy"].params)[1], members(new.params)[1])
