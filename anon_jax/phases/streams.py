"""The batches of the phases: clips, images and pairs of views, as a run's config has them."""

from typing import Any

import grain
from ml_collections import ConfigDict

from anon_jax import distributed
from anon_jax.phases import modules
from anon_jax.phases.setup import Run, Source
from input_pipeline import loader
from input_pipeline.obfuscation import RAW, Obfuscator
from input_pipeline.records import RecordSource
from input_pipeline.transforms import (
    Augmentation,
    EvaluationClip,
    TrainClip,
    TrainClipPair,
    TrainImage,
)


def clip_stream(
    run: Run,
    source: Source,
    batch_size: int,
    *,
    name: str,
    obfuscator: Obfuscator = RAW,
    whole: bool = False,
) -> grain.IterDataset:
    """Training clips of videos, under one random view each.

    `whole`: each of several processes gets the whole batch.
    """
    transform = _train_clip(run, run.config.data.clip_augmentation, obfuscator)
    return _stream(run, source, transform, batch_size, name, whole=whole)


def contrast_source(run: Run) -> RecordSource:
    """The training records whose pairs of views f_B contrasts."""
    datasets = run.datasets
    return RecordSource(datasets.videos if contrasts_clips(run) else datasets.images, "train")


def contrast_stream(run: Run, source: Source, batch_size: int, *, name: str) -> grain.IterDataset:
    """Pairs "image", "view_b" of views of images or, where f_B sees clips, of clips of videos."""
    if not contrasts_clips(run):
        return image_stream(run, source, batch_size, name=name, views=2)
    clip = _train_clip(run, run.config.data.image_augmentation)
    return _stream(run, source, TrainClipPair(clip), batch_size, name)


def contrasts_clips(run: Run) -> bool:
    """Whether the f_B of the game sees clips."""
    return modules.sees_clips(modules.game_privacy(run.config))


def evaluation_clip(run: Run, obfuscator: Obfuscator) -> EvaluationClip:
    """The transform of test clips."""
    data = run.config.data
    return EvaluationClip(
        data.num_frames,
        data.frame_stride,
        data.resolution,
        data.test_crop_scale,
        data.repeat_short_videos,
        obfuscator,
    )


def image_stream(
    run: Run,
    source: Source,
    batch_size: int,
    *,
    name: str,
    views: int,
    obfuscator: Obfuscator = RAW,
    raw: bool = False,
) -> grain.IterDataset:
    """Training images (still ones, or random frames of videos) under `views` random views.

    `raw` as in `TrainImage`.
    """
    data = run.config.data
    augmentation = Augmentation(**data.image_augmentation)
    transform = TrainImage(data.resolution, augmentation, views, obfuscator, raw)
    return _stream(run, source, transform, batch_size, name)


def _train_clip(run: Run, augmentation: ConfigDict, obfuscator: Obfuscator = RAW) -> TrainClip:
    data = run.config.data
    return TrainClip(
        data.num_frames,
        data.frame_stride,
        data.resolution,
        Augmentation(**augmentation),
        data.repeat_short_videos,
        obfuscator,
    )


def _stream(
    run: Run, source: Source, transform: Any, batch_size: int, name: str, whole: bool = False
) -> grain.IterDataset:
    share = {"batch_size": batch_size} if whole else distributed.share(batch_size)
    return loader.train_stream(
        source,
        transform,
        seed=run.seed("data", name),
        num_threads=run.config.data.num_threads,
        prefetch=run.config.data.prefetch,
        **share,
    )
