"""Three actions by three people, fully crossed: identity against action, in the small.

Build the dataset first; the first trial of each person trains, the second one is reported:

    python -m input_pipeline.build video_folder --name=gatech_mhi --source=DIR \
        --attributes=subject --split=trial --split_values=T1:train,T2:validation

With nine training videos the figures say whether the person leaks, not how much to a percent.
"""

from ml_collections import ConfigDict

from configs import hmdb51_subset


def get_config() -> ConfigDict:
    """What differs from the other small real dataset."""
    config = hmdb51_subset.get_config()
    config.data.videos = "video_folder/gatech_mhi"
    config.data.frame_stride = 4
    config.data.test_clips = 5
    config.reconstruct.epochs = 200.0
    config.reconstruct.batch_size = 8
    config.reconstruct.optimizer.warmup_epochs = 10.0
    config.pretrain_privacy.epochs = 150.0
    config.pretrain_privacy.batch_size = 8
    config.minimax.epochs = 300.0
    config.minimax.warmup_epochs = 100.0
    config.evaluate_action.epochs = 150.0
    config.evaluate_action.batch_size = 8
    config.evaluate_action.validate_every = 50.0
    config.evaluate_privacy.epochs = 300.0
    config.evaluate_privacy.batch_size = 8
    config.evaluate_privacy.validate_every = 100.0
    config.evaluate_reconstruction.epochs = 300.0
    config.evaluate_reconstruction.batch_size = 8
    config.evaluate_reconstruction.validate_every = 100.0
    return config
