"""A few hundred real clips from a folder of videos, with tiny networks trained from scratch.

Build the dataset first, for instance from a subset of HMDB51 with the labels of VPHMDB:

    python -m input_pipeline.build video_folder --name=hmdb51_subset --source=DIR \
        --attributes=skin_color,face,gender,nudity,relationship --group=source

No image dataset is named, so the privacy branch takes single frames of the training videos. f_B
goes by the batch while it is frozen, and f_A comes to rest, as on the embedded dataset
(docs/results.md).
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """What differs from the base."""
    config = base.get_config()
    config.log_every = 20
    config.sample_every = 200
    config.checkpoint_every = 200
    config.data.videos = "video_folder/hmdb51_subset"
    config.data.num_frames = 8
    config.data.resolution = 64
    config.data.test_clips = 3
    config.data.test_crop_scale = 0.9
    config.data.clip_augmentation.crop_scale = (0.7, 1.0)
    config.data.clip_augmentation.erase = 0.0
    config.data.image_augmentation.crop_scale = (0.7, 1.0)
    config.networks.anonymizer = "unetpp_tiny"
    config.networks.action = "i3d_tiny"
    config.networks.motion_input = True
    config.networks.dropout = 0.5
    config.networks.privacy = "resnet_tiny"
    config.reconstruct.epochs = 12.0
    config.reconstruct.optimizer.schedule = "cosine"
    config.reconstruct.optimizer.learning_rate = 3e-3
    config.reconstruct.optimizer.warmup_epochs = 1.0
    config.pretrain_privacy.epochs = 12.0
    config.pretrain_privacy.batch_size = 32
    config.minimax.epochs = 18.0
    config.minimax.warmup_epochs = 10.0
    config.minimax.weights.action = 4.0
    config.minimax.privacy_batch_norm = "batch"
    config.minimax.anonymizer_optimizer.schedule = "cosine"
    config.minimax.anonymizer_optimizer.learning_rate = 5e-4
    config.minimax.action_optimizer.learning_rate = 2e-3
    config.minimax.privacy_optimizer.learning_rate = 1e-3
    config.evaluate_action.epochs = 40.0
    config.evaluate_action.label_smoothing = 0.1
    config.evaluate_action.validate_every = 10.0
    config.evaluate_action.optimizer.learning_rate = 2e-3
    config.evaluate_action.optimizer.weight_decay = 0.05
    config.evaluate_privacy.source = "videos"
    config.evaluate_privacy.networks = ("resnet_tiny", "i3d_tiny")
    config.evaluate_privacy.epochs = 12.0
    config.evaluate_privacy.batch_size = 32
    config.evaluate_privacy.validate_every = 4.0
    config.evaluate_privacy.optimizer.schedule = "cosine"
    config.evaluate_privacy.optimizer.learning_rate = 2e-3
    config.evaluate_privacy.optimizer.warmup_epochs = 1.0
    config.evaluate_reconstruction.epochs = 12.0
    config.evaluate_reconstruction.validate_every = 4.0
    config.evaluate_reconstruction.optimizer.learning_rate = 3e-3
    config.evaluate_reconstruction.optimizer.warmup_epochs = 1.0
    return config
