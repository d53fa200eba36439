"""The published recipe: full-size networks take a minimax step, on frames of reduced size."""

from pathlib import Path

import jax
import numpy as np

from anon_jax.methods import get_method
from anon_jax.minimax_steps import Penalty, Weights, make_anonymizer_step
from anon_jax.phases import modules, setup
from anon_jax.phases.datasets import Datasets
from anon_jax.privacy_terms import Contrastive
from anon_jax.sharding import make_mesh
from anon_jax.state import Network, new_state
from configs import ucf101
from input_pipeline.specs import DatasetSpec


def test_a_minimax_step_of_the_full_size_networks(tmp_path):
    config = ucf101.get_config()
    config.data.resolution = 32
    actions = tuple(f"action {i}" for i in range(101))
    videos = DatasetSpec("ucf101", Path(tmp_path), "video", actions, (), {"train": 9537})
    run = setup.Run(
        config, tmp_path, get_method(config.method), make_mesh(1), Datasets(*[videos] * 4)
    )
    parts = {
        "anonymizer": modules.anonymizer(run.config),
        "action": modules.action(run.config, len(actions)),
        "privacy": modules.privacy(run.config),
    }
    section = config.minimax
    optimizer = setup.optimizer(section.anonymizer_optimizer, 10, 10)
    networks = {
        name: Network(module, optimizer if name == "anonymizer" else None)
        for name, module in parts.items()
    }
    state = new_state(
        {name: setup.fresh_net(run, "test", name, networks[name]) for name in networks}
    )
    step = make_anonymizer_step(
        networks,
        weights=Weights(**section.weights),
        penalty=Penalty(**section.penalty),
        privacy=Contrastive(section.temperature, section.privacy_loss_ceiling),
        seed=0,
    )
    rng = np.random.default_rng(0)
    side, frames = config.data.resolution, config.data.num_frames
    batch = {
        "clip": {
            "frames": rng.integers(0, 256, (1, frames, side, side, 3), np.uint8),
            "action": np.array([100], np.int32),
        },
        "image": {
            name: rng.integers(0, 256, (2, side, side, 3), np.uint8) for name in ("image", "view_b")
        },
    }
    after, metrics = jax.jit(step)(state, batch)
    assert all(np.isfinite(value) for value in metrics.values()), metrics
    moved = jax.tree.map(
        lambda a, b: float(abs(a - b).max()),
        after.nets["anonymizer"].params,
        state.nets["anonymizer"].params,
    )
    # Adam's first step moves a parameter by the learning rate, as far as it has a gradient.
    np.testing.assert_allclose(max(jax.tree.leaves(moved)), 0.4e-4, rtol=1e-2)
