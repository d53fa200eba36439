"""The embedded dataset with every attack and every measurement: for comparisons of methods.

    python -m anon_jax.sweep --config=configs/moving_figures.py --workdir=DIR \
        --methods=raw,downsample8,spact,penalty --budgets=0.1,0.2,0.3 --seeds=0,1,2

Against the demo: the weights of L_A are all 1, as published; f_B learns more often, goes by the
batch while it is frozen, and f_A comes to rest, which leaves less to fresh attackers
(docs/results.md). Attackers are a ResNet that sees
frames and an I3D that sees clips; their budgets are cut so that a cell takes minutes on two cores.
"""

from ml_collections import ConfigDict

from configs import base, demo


def get_config() -> ConfigDict:
    """What differs from the demo."""
    config = demo.get_config()
    config.phases = base.PHASES
    config.minimax.epochs = 8.5
    config.minimax.privacy_steps = 3
    config.minimax.weights.action = 1.0
    config.minimax.privacy_batch_norm = "batch"
    config.minimax.anonymizer_optimizer.schedule = "cosine"
    config.minimax.anonymizer_optimizer.clip_norm = 1.0
    config.evaluate_privacy.networks = ("resnet_tiny", "i3d_tiny")
    config.evaluate_privacy.epochs = 5.0
    config.evaluate_privacy.validate_every = 2.5
    return config
