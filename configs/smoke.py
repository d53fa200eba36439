"""The demo cut to the least of everything: shows that an installation works, in about two minutes.

Its figures mean nothing.
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    """What differs from the demo."""
    config = demo.get_config()
    config.log_every = 5
    config.sample_every = 10
    for phase in ("reconstruct", "pretrain_privacy", "evaluate_action", "evaluate_privacy"):
        config[phase].epochs = 0.1
        config[phase].optimizer.warmup_epochs = 0.0
    config.reconstruct.epochs = 0.02  # its frames are ten times as many
    config.minimax.epochs = 0.1
    config.minimax.warmup_epochs = 0.0
    for phase in ("evaluate_action", "evaluate_privacy", "evaluate_reconstruction"):
        config[phase].validate_every = 1.0
    config.evaluate_reconstruction.epochs = 0.05
    config.evaluate_reconstruction.inversion_steps = 2
    config.evaluate_reconstruction.optimizer.warmup_epochs = 0.0
    config.evaluate_identity.epochs = 0.1
    config.evaluate_identity.validate_every = 1.0
    config.evaluate_identity.optimizer.warmup_epochs = 0.0
    config.evaluate_frames.videos = 8
    return config
