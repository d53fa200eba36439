"""What the TFDS builders of video and image files share: shards by processes, and a report."""

import abc
import collections
import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder
from tensorflow_datasets.core.splits import SplitDict

from input_pipeline.build_report import MAX_LISTED, BuildReport
from input_pipeline.errors import DataError
from input_pipeline.estimate import estimate
from input_pipeline.index import write_index
from input_pipeline.processes import run_jobs
from input_pipeline.progress import Progress, say
from input_pipeline.shards import Entry, Recipe, Shard, ShardResult, plan_shards, write_shard
from input_pipeline.specs import only_local, spec_metadata

# Where shards are collected until all are there, below the builder's data folder.
SHARDS_FOLDER = "shards"

# A process takes seconds to start: it must have some time's work to do.
SOURCE_BYTES_A_PROCESS = 4 * 2**20


@dataclasses.dataclass(eq=False, kw_only=True)
class MediaBuilderConfig(tfds.core.BuilderConfig):
    """How the files are stored, and how they are read.

    Attributes:
      short_side: the shorter side of the stored frames in pixels; smaller ones keep their size.
      quality: JPEG quality, 1 to 100.
      clip_frames: a damaged video of which fewer frames are left counts as unreadable.
      max_bad_share: the share of the listed files that may be unreadable or missing, 0 to 1.
      allow_missing: files that are not there are counted and left out, however many they are.
      workers: processes that decode; 0 takes one for each core.
    """

    short_side: int = 240
    quality: int = 95
    clip_frames: int = 16
    max_bad_share: float = 0.01
    allow_missing: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        if self.short_side < 1:
            raise DataError(f"short_side must be at least 1 pixel, not {self.short_side}")
        if not 1 <= self.quality <= 100:
            raise DataError(f"quality must lie between 1 and 100, not {self.quality}")
        if self.clip_frames < 1:
            raise DataError(f"clip_frames must be at least 1, not {self.clip_frames}")
        if not 0 <= self.max_bad_share <= 1:
            raise DataError(f"max_bad_share must lie between 0 and 1, not {self.max_bad_share}")
        if self.workers < 0:
            raise DataError(f"workers must be 0 (one for each core) or more, not {self.workers}")

    def options(self) -> dict[str, Any]:
        """What decides the content, as JSON: stored with it and compared before another build."""
        return {
            "short_side": self.short_side,
            "quality": self.quality,
            "clip_frames": self.clip_frames,
        }


class MediaBuilder(FileReaderBuilder):
    """A TFDS builder that stores the frames of listed video or image files as JPEG.

    TFDS' own base classes write one record after the other in one process, and start anew after a
    stop. Here a shard is a job for any process, and what is complete is not written again.
    """

    KIND = "video"
    builder_config: MediaBuilderConfig

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # TFDS has a ucf101 of its own, and no two builders of one name may be registered.
        super().__init_subclass__(skip_registration=True, **kwargs)

    @property
    @abc.abstractmethod
    def actions(self) -> Sequence[str]:
        """Class names in label order; empty for images."""

    @property
    @abc.abstractmethod
    def attributes(self) -> Sequence[str]:
        """Names of the private attributes in column order."""

    @abc.abstractmethod
    def entries(self) -> Mapping[str, Sequence[Entry]]:
        """The listed files by split."""

    def excluded(self) -> Mapping[str, str]:
        """Ids of listed files that belong to no split of this dataset, with the reason."""
        return {}

    @functools.cached_property
    def recipe(self) -> Recipe:
        """What all records have in common."""
        config = self.builder_config
        return Recipe(
            kind=self.KIND,
            actions=tuple(self.actions),
            attributes=tuple(self.attributes),
            short_side=config.short_side,
            quality=config.quality,
            clip_frames=config.clip_frames,
        )

    def _info(self) -> tfds.core.DatasetInfo:
        info = self.dataset_info_from_configs(
            features=self.recipe.features,
            supervised_keys=None,
            metadata=spec_metadata(self.attributes),
        )
        return only_local(info)

    def _download_and_prepare(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig | None = None,
    ) -> None:
        del dl_manager  # the files are on this machine already
        entries = self.entries()
        _check_missing(entries, self.builder_config)
        shards = plan_shards(entries, self.recipe, Path(self.data_dir_root) / SHARDS_FOLDER)
        _forget_others(shards)
        results = self._write(shards, download_config and download_config.beam_options)
        report = BuildReport.of(self.builder_config.options(), shards, results, self.excluded())
        _check_readable(report, entries, self.builder_config)
        self._assemble(shards, results)
        write_index(Path(self.data_path), self.attributes, shards, results)
        self.info.metadata["shortest_video"] = report.shortest
        report.save(Path(self.data_path))

    def _write(self, shards: Sequence[Shard], beam_options: Any) -> list[ShardResult]:
        todo = [shard for shard in shards if not shard.result_path.is_file()]
        entries = [entry for shard in todo for entry in shard.entries]
        total = sum(len(shard.entries) for shard in shards)
        if len(todo) < len(shards):
            say(f"continuing: {total - len(entries)} of {total} files are stored already")
        expected = estimate([e.path for e in entries if e.path], self.recipe.encode)
        workers = self.builder_config.workers or os.cpu_count() or 1
        useful = -(-expected.source_bytes // SOURCE_BYTES_A_PROCESS)
        workers = 1 if beam_options is not None else max(1, min(workers, len(todo), useful))
        root = Path(self.data_dir_root)
        if entries:
            say(expected.summary(workers, root))
        if beam_options is not None:
            from input_pipeline import beam  # an extra, which only --beam needs

            return beam.run_jobs(
                write_shard, shards, options=beam_options, folder=root, unit="shards"
            )
        with Progress(total, f"{self.KIND}s") as bar:
            return run_jobs(write_shard, shards, workers=workers, bar=bar)

    def _assemble(self, shards: Sequence[Shard], results: Sequence[ShardResult]) -> None:
        """Moves the shards that hold records to their names in the dataset and tells TFDS."""
        by_split: dict[str, list[tuple[Shard, ShardResult]]] = collections.defaultdict(list)
        for shard, result in zip(shards, results, strict=True):
            if result.stored:
                by_split[shard.split].append((shard, result))
        infos = []
        for split, parts in by_split.items():
            template = self._get_filename_template(split_name=split)
            for index, (shard, _) in enumerate(parts):
                target = template.sharded_filepath(shard_index=index, num_shards=len(parts))
                os.replace(shard.path, target)
            infos.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[len(result.stored) for _, result in parts],
                    num_bytes=sum(result.num_bytes for _, result in parts),
                    filename_template=template,
                )
            )
        self.info.set_splits(SplitDict(infos))


def _forget_others(shards: Sequence[Shard]) -> None:
    """Removes what an earlier build of other files or options has left in the shards' folder."""
    if not shards:
        raise DataError("the annotations name no file for any split")
    keep = {shard.path.stem for shard in shards if shard.result_path.is_file()}
    folder = shards[0].folder
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.stem not in keep:
            path.unlink()


def _check_missing(entries: Mapping[str, Sequence[Entry]], config: MediaBuilderConfig) -> None:
    """Ends a build that cannot succeed before it has taken hours."""
    listed = [entry for of_split in entries.values() for entry in of_split]
    missing = [entry.id for entry in listed if entry.path is None or not entry.path.is_file()]
    if len(missing) == len(listed):
        raise DataError(
            f"none of the {len(listed)} files that the annotations name is in the source folder, "
            f"for example not {missing[0]}; is --source the right folder?"
        )
    if len(missing) > config.max_bad_share * len(listed) and not config.allow_missing:
        more = [f"  ... and {len(missing) - MAX_LISTED} more"] if len(missing) > MAX_LISTED else []
        raise DataError(
            "\n".join(
                [
                    f"{len(missing)} of {len(listed)} files that the annotations name are missing; "
                    "--allow_missing builds the dataset from the others:",
                    *(f"  {name}" for name in missing[:MAX_LISTED]),
                    *more,
                ]
            )
        )


def _check_readable(
    report: BuildReport, entries: Mapping[str, Sequence[Entry]], config: MediaBuilderConfig
) -> None:
    """Too many unreadable files, or too few left of a split or class, fail the build."""
    bad = list(report.unreadable.values())
    if not config.allow_missing:
        bad = [f"{name}: there is no such file" for name in report.missing] + bad
    problems = []
    if len(bad) > config.max_bad_share * report.listed:
        problems.append(
            f"{len(bad)} of {report.listed} files cannot be read, more than the share of "
            f"{config.max_bad_share:g} that --max_bad_share allows"
        )
    if not config.allow_missing:
        problems += _lost_parts(report, entries)
    if problems:
        more = [f"... and {len(bad) - MAX_LISTED} more"] if len(bad) > MAX_LISTED else []
        named = [f"  {line}" for line in [*bad[:MAX_LISTED], *more]]
        raise DataError("\n".join(["; ".join(problems) + ":", *named]))


def _lost_parts(report: BuildReport, entries: Mapping[str, Sequence[Entry]]) -> list[str]:
    lost = set(report.missing) | set(report.unreadable)
    problems = [
        f"nothing of the split '{split}' can be read"
        for split, of_split in entries.items()
        if all(entry.id in lost for entry in of_split)
    ]
    actions = {entry.action for of_split in entries.values() for entry in of_split} - {""}
    left = {entry.action for entry in entries.get("train", ()) if entry.id not in lost}
    return problems + [
        f"no training video of the action '{action}' can be read"
        for action in sorted(actions - left)
    ]
