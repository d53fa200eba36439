"""Networks of one stage each, their first state, a batch, and the minimax steps over them."""

import functools

import jax
import numpy as np
import optax

from anon_jax.minimax_steps import Penalty, Weights, make_adversary_step, make_anonymizer_step
from anon_jax.models import build_model
from anon_jax.privacy_terms import Contrastive
from anon_jax.state import Network, TrainState, new_state
from anon_jax.steps import Step

BATCH, FRAMES, SIDE, ACTIONS, ATTRIBUTES = 2, 4, 16, 3, 2
SMALL = {"stage_sizes": (1,), "width": 4}
SMALL_3D = {**SMALL, "temporal_marks": ((1,),)}
PRIVACY = Contrastive(temperature=0.1)
RATES = {"anonymizer": 1e-3, "action": 2e-3, "privacy": 3e-3}


@functools.cache
def networks() -> dict[str, Network]:
    modules = {
        # One stage each: compiling takes most of a test's time.
        "anonymizer": build_model(
            "unetpp_tiny", stage_sizes=(1,), width=4, decoder_channels=(4, 4)
        ),
        "action": build_model("i3d_tiny", num_classes=ACTIONS, dropout_rate=0.0, **SMALL_3D),
        "privacy": build_model("resnet_tiny", head="projection", projection_dim=8, **SMALL),
    }
    return {
        name: Network(module, optax.with_extra_args_support(optax.adam(RATES[name])))
        for name, module in modules.items()
    }


@functools.cache
def initial_state() -> TrainState:
    shapes = {
        "anonymizer": (1, SIDE, SIDE, 3),
        "action": (1, FRAMES, SIDE, SIDE, 3),
        "privacy": (1, SIDE, SIDE, 3),
    }
    keys = dict(zip(shapes, jax.random.split(jax.random.key(7, impl="rbg"), 3), strict=True))
    return new_state({n: net.init(keys[n], shapes[n]) for n, net in networks().items()})


@functools.cache
def batch() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(3)

    def pixels(*shape: int) -> np.ndarray:
        # Flat colours: f_A has no path at full resolution, so it could not reproduce pixel noise.
        return np.broadcast_to(
            rng.integers(0, 256, (*shape, 1, 1, 3)).astype(np.uint8), (*shape, SIDE, SIDE, 3)
        )

    return {
        "clip": {"frames": pixels(BATCH, FRAMES), "action": np.array([0, 2], np.int32)},
        "image": {
            "image": pixels(BATCH),
            "view_b": pixels(BATCH),
            "attributes": np.array([[0, 1], [1, -1]], np.int32),
        },
    }


def make_small_anonymizer_step(
    penalty_weight: float = 1.0,
    mode: str = "hinge",
    space: str = "pixel",
    budget: float = 0.05,
    privacy_batch_norm: str = "running",
) -> Step:
    return make_anonymizer_step(
        networks(),
        weights=Weights(penalty=penalty_weight),
        penalty=Penalty(budget=budget, mode=mode, space=space, multiplier_rate=2.0),
        privacy=PRIVACY,
        privacy_batch_norm=privacy_batch_norm,
        seed=5,
    )


def make_small_adversary_step() -> Step:
    return make_adversary_step(networks(), privacy=PRIVACY, seed=5)
