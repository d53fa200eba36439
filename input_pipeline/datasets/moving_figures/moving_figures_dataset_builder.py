"""TFDS builder of moving_figures: generated people with private attributes who perform actions."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.writer import ExampleWriter

from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig
from input_pipeline.datasets.moving_figures.examples import (
    Example,
    clip_ranges,
    examples,
    make_examples,
)
from input_pipeline.shards import with_sorted_maps
from input_pipeline.specs import SPLITS, image_features, only_local, spec_metadata, video_features


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

    _made: dict[str, list[Example]] | None = None  # by Apache Beam, by split

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        features = (
            image_features(config.attributes)
            if config.still
            else video_features(config.actions, config.attributes)
        )
        info = self.dataset_info_from_configs(
            features=features,
            metadata=spec_metadata(config.attributes, self._shortest()),
        )
        return only_local(info)

    def _shortest(self) -> dict[str, int]:
        config = self.builder_config
        return {} if config.still else dict.fromkeys(config.clips, config.frames)

    def _download_and_prepare(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig,
    ) -> None:
        if download_config.beam_options is not None:
            self._made = self._make_on_beam(download_config.beam_options)
        super()._download_and_prepare(dl_manager, download_config)

    def _make_on_beam(self, beam_options: Any) -> dict[str, list[Example]]:
        """The examples of each split; TFDS shuffles and writes them as those of a local build.

        Its own writer for Beam cuts the shards elsewhere.
        """
        from input_pipeline import beam  # an extra, which only --beam needs

        parts = [part for split in SPLITS for part in clip_ranges(self.builder_config, split)]
        folder = Path(self.data_dir_root)
        results = beam.run_jobs(
            make_examples, parts, options=beam_options, folder=folder, unit="parts"
        )
        made: dict[str, list[Example]] = {}
        for part, result in zip(parts, results, strict=True):
            made.setdefault(part.split, []).extend(result)
        return made

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        return {
            split: self._generate_examples(split)
            for split in SPLITS
            if self.builder_config.clips.get(split)
        }

    def _generate_examples(self, split: str) -> Iterator[Example]:
        if self._made is not None:
            yield from self._made[split]
        else:
            for part in clip_ranges(self.builder_config, split):
                yield from examples(part)

    def _example_writer(self) -> ExampleWriter:
        return _SortedMapsWriter(file_format=self.info.file_format)


class _SortedMapsWriter(ExampleWriter):
    """Writes the same bytes in every process."""

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        return super().write(path, ((key, with_sorted_maps(data)) for key, data in examples))
