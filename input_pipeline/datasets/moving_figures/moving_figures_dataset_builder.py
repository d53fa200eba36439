"""TFDS builder of moving_figures: generated people with private attributes who perform actions."""

import json
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from input_pipeline.datasets.moving_figures import clips
from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig
from input_pipeline.specs import SPLITS, image_features, spec_metadata, video_features

FPS = 8.0
JPEG_QUALITY = 95


def _config(name: str, domain: str, description: str) -> MovingFiguresConfig:
    if not name.startswith("images"):
        return MovingFiguresConfig(name=name, domain=domain, description=description)
    people = {"train": 2000, "validation": 300, "test": 600}
    return MovingFiguresConfig(
        name=name,
        domain=domain,
        description=description,
        still=True,
        frames=1,
        clips=people,
        subjects=people,
    )


class MovingFigures(tfds.core.GeneratorBasedBuilder):
    """Clips ("videos", "videos_b") and still images of other people ("images", "images_b")."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012 (TFDS reads a class attribute)
    BUILDER_CONFIGS = [  # noqa: RUF012
        _config("videos", "a", "Clips of eight actions, eight private attributes."),
        _config("images", "a", "Still images of other people, the attributes of 'videos'."),
        _config("videos_b", "b", "Clips of eight other actions, six other attributes, outdoors."),
        _config("images_b", "b", "Still images of other people, the attributes of 'videos_b'."),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        features = (
            image_features(config.attributes)
            if config.still
            else video_features(config.actions, config.attributes)
        )
        return self.dataset_info_from_configs(
            features=features,
            metadata=spec_metadata(config.attributes, self._shortest()),
        )

    def _shortest(self) -> dict[str, int]:
        config = self.builder_config
        return {} if config.still else dict.fromkeys(config.clips, config.frames)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        return {
            split: self._generate_examples(split)
            for split in SPLITS
            if self.builder_config.clips.get(split)
        }

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        config = self.builder_config
        for index in range(config.clips[split]):
            clip = clips.sample_clip(config, split, index)
            example = {
                "attributes": clip.attributes,
                "id": clip.id,
                "group": clip.group,
                "source_height": config.resolution,
                "source_width": config.resolution,
                "metadata": json.dumps(clip.metadata),
            }
            if config.still:
                example |= {"image": _jpeg(clip.frames[0])}
            else:
                example |= {
                    "frames": [_jpeg(frame) for frame in clip.frames],
                    "num_frames": len(clip.frames),
                    "action": clip.action,
                    "fps": FPS,
                }
            yield clip.id, example


def _jpeg(frame: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """JPEG bytes of an RGB frame; colour is not subsampled, for that blurs things so small."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    written, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), quality + sampling)
    if not written:
        raise RuntimeError(f"OpenCV could not encode a frame of shape {frame.shape}")
    return data.tobytes()
