"""One shard of a dataset: which files it holds, and how any process writes it, all or nothing."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from input_pipeline.encoding import EncodedMedia, encode_image, encode_video
from input_pipeline.errors import DataError
from input_pipeline.specs import image_features, video_features

# A shard closes at either limit. It is what a process works on at a time, and what is lost when a
# build is killed; JPEGs are about ten times as large as the video that they come from.
SHARD_ENTRIES = 64
SHARD_SOURCE_BYTES = 32 * 2**20

# A record is read alone. Compression would save a tenth of 320x240 frames, a quarter of small ones
# (the tables in the head of each JPEG), and undoing it takes longer than decoding a clip's frames.
_WRITER_OPTIONS = "group_size:1,uncompressed"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One video or still image to store.

    Attributes:
      path: its file; None where the file was looked for and is not there.
      id: its name in the dataset.
      action: class name; "" for a still image.
      attributes: 0, 1 or UNKNOWN for each attribute.
      group: film, person or subject that may not stand in two splits; "" where unknown.
      metadata: whatever else is known of it, as JSON values.
    """

    path: Path | None
    id: str
    action: str
    attributes: tuple[int, ...]
    group: str
    metadata: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What all records of a dataset have in common.

    Attributes:
      kind: "video" or "image".
      actions: class names in label order; empty for images.
      attributes: names of the private attributes in column order.
      short_side: the shorter side of the stored frames in pixels; smaller ones keep their size.
      quality: JPEG quality, 1 to 100.
      clip_frames: a damaged video of which fewer frames are left counts as unreadable.
    """

    kind: str
    actions: tuple[str, ...]
    attributes: tuple[str, ...]
    short_side: int
    quality: int
    clip_frames: int

    @property
    def features(self) -> tfds.features.FeaturesDict:
        """The TFDS features of a record."""
        if self.kind == "image":
            return image_features(self.attributes)
        return video_features(self.actions, self.attributes)

    def encode(self, path: Path) -> EncodedMedia:
        """The frames of a file as JPEG bytes.

        Raises:
          DataError: it cannot be read, or too little of it.
        """
        if self.kind == "image":
            return encode_image(path, short_side=self.short_side, quality=self.quality)
        video = encode_video(path, short_side=self.short_side, quality=self.quality)
        if video.info.num_damaged and len(video.frames) < self.clip_frames:
            raise DataError(
                f"{path}: damaged: {len(video.frames)} frames decode, fewer than the "
                f"{self.clip_frames} of a clip (--clip_frames)"
            )
        return video


@dataclasses.dataclass
class ShardResult:
    """What became of the entries of a shard.

    Attributes:
      stored: id to number of frames, of the entries stored, in the order of the file.
      num_bytes: size of the shard's file.
      missing: ids of entries without a file.
      unreadable: id to reason.
      damaged_frames: id to number of frames lost or covered up, of videos that were stored.
    """

    stored: dict[str, int] = dataclasses.field(default_factory=dict)
    num_bytes: int = 0
    missing: list[str] = dataclasses.field(default_factory=list)
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)
    damaged_frames: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Shard:
    """Some entries of a split, the recipe for them, and the folder where shards are collected."""

    split: str
    entries: tuple[Entry, ...]
    recipe: Recipe
    folder: Path

    @functools.cached_property
    def path(self) -> Path:
        """The shard's file, named by all that decides its content: a changed video is noticed."""
        content: list[Any] = [dataclasses.asdict(self.recipe), self.split]
        for entry in self.entries:
            stat = entry.path.stat() if entry.path and entry.path.is_file() else None
            origin = (str(entry.path), stat and (stat.st_size, stat.st_mtime_ns))
            content.append([origin, dataclasses.asdict(entry) | {"path": ""}])
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{self.split}-{digest[:24]}.array_record"

    @property
    def result_path(self) -> Path:
        """The file with the shard's result; it is there only when the shard is complete."""
        return self.path.with_suffix(".json")

    def item_name(self, index: int) -> str:
        """The file of an entry, or the entry's id where there is none."""
        if index >= len(self.entries):
            return str(self.path)
        entry = self.entries[index]
        return str(entry.path or entry.id)


def plan_shards(splits: Mapping[str, Sequence[Entry]], recipe: Recipe, folder: Path) -> list[Shard]:
    """Cuts each split into shards, in an order that mixes the classes and is always the same.

    Paths are made absolute, for whoever writes a shard may have another current folder.
    """
    folder = folder.absolute()
    shards = []
    for split, entries in splits.items():
        parts: list[list[Entry]] = [[]]
        files = source_bytes = 0
        for entry in sorted(entries, key=lambda entry: hashlib.sha256(entry.id.encode()).digest()):
            there = entry.path is not None and entry.path.is_file()
            size = entry.path.stat().st_size if entry.path and there else 0
            full = files == SHARD_ENTRIES or source_bytes + size > SHARD_SOURCE_BYTES
            if files and there and full:  # a file that is missing takes no room
                parts.append([])
                files = source_bytes = 0
            path = entry.path and entry.path.absolute()
            parts[-1].append(dataclasses.replace(entry, path=path))
            files += there
            source_bytes += size
        shards += [Shard(split, tuple(part), recipe, folder) for part in parts]
    return shards


def write_shard(shard: Shard, tick: Callable[[], None]) -> ShardResult:
    """Writes a shard's file, then its result, unless an earlier build has; `tick` after each entry.

    The bytes do not depend on the process that writes them, and two processes may write the same
    shard at the same time, as a cluster does that takes one of them for lost.
    """
    if shard.result_path.is_file():
        for _ in shard.entries:
            tick()
        return ShardResult(**json.loads(shard.result_path.read_text(encoding="utf-8")))
    shard.folder.mkdir(parents=True, exist_ok=True)
    result = ShardResult()
    with _complete(shard.path) as aside:
        _write_records(aside, _records(shard, result, tick))
        result.num_bytes = aside.stat().st_size
    text = json.dumps(dataclasses.asdict(result), ensure_ascii=False)
    with _complete(shard.result_path) as aside:
        aside.write_text(text, encoding="utf-8")
    return result


@contextlib.contextmanager
def _complete(path: Path) -> Iterator[Path]:
    """A name of this process' own to write to, which becomes `path` when all is written."""
    aside = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.incomplete")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _write_records(path: Path, records: Iterator[bytes]) -> None:
    """Writes an array_record file; OSError where it cannot be written, as on a full disk."""
    writer = ArrayRecordWriter(str(path), _WRITER_OPTIONS)
    for data in records:
        with _writing():
            writer.write(data)
    with _writing():
        writer.close()


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what array_record makes of every failure
        raise OSError(str(error)) from error


def _records(shard: Shard, result: ShardResult, tick: Callable[[], None]) -> Iterator[bytes]:
    features = shard.recipe.features
    for entry in shard.entries:
        try:
            if entry.path is None:
                raise FileNotFoundError
            media = shard.recipe.encode(entry.path)
        except FileNotFoundError:
            result.missing.append(entry.id)
        except DataError as error:
            if entry.path is not None and entry.path.is_file():
                result.unreadable[entry.id] = str(error)
            else:
                result.missing.append(entry.id)
        else:
            result.stored[entry.id] = len(media.frames)
            if media.info.num_damaged:
                result.damaged_frames[entry.id] = media.info.num_damaged
            yield _serialize(features, _example(entry, media, shard.recipe.kind))
        tick()


def _serialize(features: tfds.features.FeaturesDict, example: dict[str, Any]) -> bytes:
    return with_sorted_maps(features.serialize_example(features.encode_example(example)))


def with_sorted_maps(data: bytes) -> bytes:
    """A serialised tf.train.Example, the same in every process.

    A protocol buffer map is serialised in an order that changes from process to process.
    """
    parsed = tf_example_pb2.Example.FromString(data)
    return bytes(parsed.SerializeToString(deterministic=True))


def _example(entry: Entry, media: EncodedMedia, kind: str) -> dict[str, Any]:
    info = media.info
    example = {
        "attributes": np.asarray(entry.attributes, np.int32),
        "id": entry.id,
        "group": entry.group,
        "source_height": info.source_height,
        "source_width": info.source_width,
    }
    metadata = dict(entry.metadata)
    if kind == "image":
        example["image"] = media.frames[0]
    else:
        example |= {"frames": media.frames, "num_frames": len(media.frames)}
        example |= {"action": entry.action, "fps": info.fps}
        metadata["damaged_frames"] = info.num_damaged
    return {**example, "metadata": json.dumps(metadata, ensure_ascii=False, sort_keys=True)}
