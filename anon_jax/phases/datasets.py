"""The datasets of a run: those that the config names, and whether they hold what it needs."""

import dataclasses
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from anon_jax.errors import ConfigError
from anon_jax.methods import get_method
from anon_jax.phases import modules
from input_pipeline.boxes import load_boxes
from input_pipeline.build import ensure_dataset
from input_pipeline.index import read_index
from input_pipeline.obfuscation import OBFUSCATIONS, RAW, Obfuscator
from input_pipeline.specs import DatasetSpec

_NAMED = 5  # short videos that a message names


@dataclasses.dataclass(frozen=True)
class Datasets:
    """What the anonymizer is trained on, and what attackers learn from and are tested on.

    Attributes:
      videos: dataset of clips.
      images: dataset of the privacy branch; the videos themselves where the config names none.
      attack_videos, attack_images: the same for the attackers.
    """

    videos: DatasetSpec
    images: DatasetSpec
    attack_videos: DatasetSpec
    attack_images: DatasetSpec

    def names(self) -> dict[str, str]:
        """{"videos": name, ...} of the four."""
        return {field.name: getattr(self, field.name).name for field in dataclasses.fields(self)}


def ensure_datasets(config: ConfigDict) -> Datasets:
    """The datasets of `config.data` and `config.attack`; those that are generated are made.

    Raises:
      DataError: a dataset is not there; the message names the command that builds it.
    """
    data, attack = config.data, config.attack
    attack_videos = attack.videos or data.videos
    names = {
        "videos": data.videos,
        "images": data.images or data.videos,
        "attack_videos": attack_videos,
        "attack_images": attack.images or data.images or attack_videos,
    }
    data_dir = Path(data.data_dir).expanduser()
    specs = {name: ensure_dataset(name, data_dir) for name in dict.fromkeys(names.values())}
    return Datasets(**{role: specs[name] for role, name in names.items()})


def check_datasets(config: ConfigDict, datasets: Datasets) -> None:
    """Finds what would end a later phase, before anything is trained.

    Raises:
      ConfigError: no videos where clips are needed, videos shorter than a clip, or attributes that
        cannot be measured; says of which dataset and what to do.
      DataError: a split, or the boxes of people and faces, that a phase needs are missing.
    """
    for field, spec in (
        ("data.videos", datasets.videos),
        ("attack.videos", datasets.attack_videos),
    ):
        if spec.kind != "video":
            raise ConfigError(f"config.{field} is '{spec.name}', a dataset of still images")
    if "minimax" in config.phases and get_method(config.method).learned:
        _check_lengths(config, datasets.videos, "train")
    if "evaluate_action" in config.phases:
        for split in _evaluated_splits(datasets.attack_videos):
            _check_lengths(config, datasets.attack_videos, split)
        make_obfuscator(config, config.method, datasets.attack_videos)
    if "evaluate_privacy" in config.phases:
        spec = attribute_spec(config, datasets)
        for split in _evaluated_splits(spec):
            _check_labels(spec, split)
        make_obfuscator(config, config.method, spec)


def make_obfuscator(config: ConfigDict, method: str, spec: DatasetSpec) -> Obfuscator:
    """What a method does to the frames of a dataset before a network sees them; mostly nothing.

    Raises:
      DataError: it hides people and faces, and there are no boxes that fit the dataset; names the
        command that finds them.
    """
    name = get_method(method).obfuscation
    if not name:
        return RAW
    obfuscation = OBFUSCATIONS[name]
    if obfuscation.regions is None:
        return Obfuscator(obfuscation)
    return Obfuscator(obfuscation, load_boxes(spec, **config.obfuscation))


def attribute_spec(config: ConfigDict, datasets: Datasets) -> DatasetSpec:
    """The dataset whose attributes are attacked.

    Raises:
      ConfigError: it has no attributes.
    """
    source = config.evaluate_privacy.source
    spec = datasets.attack_images if source == "images" else datasets.attack_videos
    if not spec.attributes:
        raise ConfigError(
            f"config.evaluate_privacy.source is '{source}', but '{spec.name}' has no attributes; "
            f"build it with --attributes=..., take another source or config.attack.{source}, or "
            "leave the phase 'evaluate_privacy' out of config.phases"
        )
    clips = [name for name in config.evaluate_privacy.networks if modules.sees_clips(name)]
    if clips and spec.kind == "image":
        raise ConfigError(
            f"config.evaluate_privacy.networks has {', '.join(clips)}, which sees clips, but "
            f"config.evaluate_privacy.source is '{source}', and '{spec.name}' has still images; "
            "set it to 'videos' if these have attributes"
        )
    return spec


def _evaluated_splits(spec: DatasetSpec) -> tuple[str, ...]:
    """Those that an attacker learns from, is chosen by and is tested on."""
    return tuple(dict.fromkeys(("train", "validation", spec.test_split)))


def _check_lengths(config: ConfigDict, spec: DatasetSpec, split: str) -> None:
    """A dataset that does not know its shortest video is checked while it is read."""
    spec.check_split(split)
    needed = config.data.num_frames
    shortest = (spec.shortest or {}).get(split, needed)
    if config.data.repeat_short_videos or shortest >= needed:
        return
    short = [row for row in read_index(spec, split) if row.num_frames < needed]
    named = ", ".join(f"'{row.id}' ({row.num_frames})" for row in short[:_NAMED])
    more = f" and {len(short) - _NAMED} more" if len(short) > _NAMED else ""
    raise ConfigError(
        f"config.data.num_frames is {needed}, but videos in the split '{split}' of '{spec.name}' "
        f"have fewer frames: {named}{more}. Lower config.data.num_frames (the shortest video has "
        f"{shortest}), set config.data.repeat_short_videos=True to repeat the last frame of such "
        "videos, or leave them out of the dataset"
    )


def _check_labels(spec: DatasetSpec, split: str) -> None:
    """Reads labels until one attribute is seen both absent and present."""
    seen = np.zeros((2, len(spec.attributes)), bool)
    for row in read_index(spec, split):
        seen |= [np.equal(row.attributes, value) for value in (0, 1)]
        if seen.all(axis=0).any():
            return
    words = {(False, False): "unlabelled", (True, False): "always 0", (False, True): "always 1"}
    found = ", ".join(
        f"{name} is {words[bool(absent), bool(present)]}"
        for name, absent, present in zip(spec.attributes, *seen, strict=True)
    )
    raise ConfigError(
        f"Leakage cannot be measured on the split '{split}' of '{spec.name}': {found}. At least "
        "one attribute needs records of both kinds in each split: change its labels or splits, "
        "name another dataset in config.attack, take another config.evaluate_privacy.source, or "
        "leave the phase 'evaluate_privacy' out of config.phases"
    )
