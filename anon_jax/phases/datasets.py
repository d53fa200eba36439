"""The datasets of a run: those that the config names, and whether they hold what it needs."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from anon_jax import distributed
from anon_jax.errors import ConfigError
from anon_jax.image_metrics import WINDOW
from anon_jax.methods import get_method
from anon_jax.phases import modules
from anon_jax.phases.pretrained import trunks
from input_pipeline.boxes import load_boxes
from input_pipeline.build import ensure_dataset
from input_pipeline.index import read_index
from input_pipeline.obfuscation import OBFUSCATIONS, RAW, Obfuscator
from input_pipeline.specs import DatasetSpec

_ATTACKS = ("evaluate_privacy", "evaluate_reconstruction")
_NAMED = 5  # short videos that a message names


@dataclasses.dataclass(frozen=True)
class Datasets:
    """What the anonymizer is trained on, and what attackers learn from and are tested on.

    Attributes:
      videos: dataset of clips.
      images: dataset of the privacy branch; the videos themselves where the config names none.
      attack_videos, attack_images: the same for the attackers.
      tested_attributes: where attackers of the attributes are tested; None = where they learn.
    """

    videos: DatasetSpec
    images: DatasetSpec
    attack_videos: DatasetSpec
    attack_images: DatasetSpec
    tested_attributes: DatasetSpec | None = None

    def specs(self) -> dict[str, DatasetSpec]:
        """{"videos": spec, ...} of those that there are."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {role: spec for role, spec in found.items() if spec}

    def names(self) -> dict[str, str]:
        """{"videos": name, ...} of those that there are."""
        return {role: spec.name for role, spec in self.specs().items()}


class Attacked(NamedTuple):
    """The private attributes that are attacked.

    Attributes:
      learned: attackers learn from its split "train"; its "validation" chooses their epoch.
      tested: has the same attributes; its test split is reported on.
    """

    learned: DatasetSpec
    tested: DatasetSpec

    def splits(self) -> list[tuple[DatasetSpec, str]]:
        """Those that an attacker learns from, is chosen by and is tested on."""
        return _evaluated_splits(self.learned, self.tested)


def ensure_datasets(config: ConfigDict) -> Datasets:
    """The datasets of `config.data` and `config.attack`; those that are generated are made.

    Raises:
      ConfigError: no dataset of clips is named.
      DataError: a dataset is not there; the message names the command that builds it.
    """
    data, attack = config.data, config.attack
    if not data.videos:
        raise ConfigError(
            "config.data.videos is empty; name the dataset of clips, e.g. moving_figures/videos"
        )
    attack_videos = attack.videos or data.videos
    names = {
        "videos": data.videos,
        "images": data.images or data.videos,
        "attack_videos": attack_videos,
        "attack_images": attack.images or data.images or attack_videos,
    }
    if attack.tested_attributes:
        names["tested_attributes"] = attack.tested_attributes
    data_dir = Path(data.data_dir).expanduser()

    def ensure() -> dict[str, DatasetSpec]:
        return {name: ensure_dataset(name, data_dir) for name in dict.fromkeys(names.values())}

    if distributed.count() > 1:
        distributed.first(lambda: len(ensure()))  # then all look, each on its own machine
    specs = ensure()
    return Datasets(**{role: specs[name] for role, name in names.items()})


def check_datasets(config: ConfigDict, datasets: Datasets) -> None:
    """Finds what would end a later phase, before anything is trained.

    Raises:
      ConfigError: no videos where clips are needed, videos shorter than a clip, attributes that
        cannot be measured, or people who cannot be searched for; says of which dataset and what to
        do.
      DataError: a split, or the boxes of people and faces, that a phase needs are missing.
    """
    for field, spec in (
        ("data.videos", datasets.videos),
        ("attack.videos", datasets.attack_videos),
    ):
        if spec.kind != "video":
            raise ConfigError(
                f"config.{field} is '{spec.name}', a dataset of still images; name one of videos"
            )
    if "minimax" in config.phases and get_method(config.method).learned:
        _check_lengths(config, datasets.videos, "train")
        _check_supervision(config, datasets.images)
    if "evaluate_action" in config.phases:
        for spec, split in _evaluated_splits(datasets.attack_videos):
            _check_lengths(config, spec, split)
        make_obfuscator(config, config.method, datasets.attack_videos)
    if "evaluate_reconstruction" in config.phases and config.data.resolution < WINDOW:
        raise ConfigError(
            f"config.data.resolution is {config.data.resolution}; SSIM, by which the phase "
            f"'evaluate_reconstruction' compares frames, needs {WINDOW} or more"
        )
    if _attacking(config):
        for spec, split in attacked_attributes(config, datasets).splits():
            _check_labels(config, spec, split)
            if any(_clip_attackers(config, phase) for phase in _attacking(config)):
                _check_lengths(config, spec, split)
            make_obfuscator(config, config.method, spec)
    if "evaluate_identity" in config.phases:
        _check_people(datasets.attack_videos)
        make_obfuscator(config, config.method, datasets.attack_videos)
    if "evaluate_frames" in config.phases:
        _check_frames(config)
        _check_lengths(config, datasets.attack_videos, datasets.attack_videos.test_split)
        make_obfuscator(config, config.method, datasets.attack_videos)


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


def attacked_attributes(config: ConfigDict, datasets: Datasets) -> Attacked:
    """The datasets whose attributes are attacked.

    Raises:
      ConfigError: there are no attributes, those learned are not those tested, or an attacker sees
        clips where there are still images.
    """
    source = config.evaluate_privacy.source
    spec = datasets.attack_images if source == "images" else datasets.attack_videos
    if not spec.attributes:
        raise ConfigError(
            f"config.evaluate_privacy.source is '{source}', but '{spec.name}' has no attributes; "
            f"build it with --attributes=..., take another source or config.attack.{source}, or "
            f"leave {_phases(config)} out of config.phases"
        )
    tested = datasets.tested_attributes or spec
    if tested.attributes != spec.attributes:
        raise ConfigError(
            f"config.attack.tested_attributes is '{tested.name}', whose attributes are "
            f"{', '.join(tested.attributes) or 'none'}; attackers learn those of '{spec.name}', "
            f"{', '.join(spec.attributes)}. Name datasets with the same ones, in the same order"
        )
    still = [found.name for found in (spec, tested) if found.kind == "image"]
    for phase in _attacking(config):
        clips = _clip_attackers(config, phase)
        if clips and still:
            field, names = next(iter(clips.items()))
            raise ConfigError(
                f"config.{field} has {', '.join(names)}, which sees clips, but "
                f"'{still[0]}', where the attributes are, has still images; leave it out of "
                f"config.{field}, or take attributes of videos by "
                "config.evaluate_privacy.source and config.attack"
            )
    return Attacked(spec, tested)


def _clip_attackers(config: ConfigDict, phase: str) -> dict[str, list[str]]:
    """{field of the config: networks that see clips} of the attackers of a phase."""
    fields = {f"{phase}.networks": list(config[phase].networks)}
    if phase == "evaluate_privacy" and "action" in trunks(config):
        fields[f"{phase}.init_from_action"] = [config.networks.action]
    found = {field: list(filter(modules.sees_clips, names)) for field, names in fields.items()}
    return {field: names for field, names in found.items() if names}


def _attacking(config: ConfigDict) -> list[str]:
    """The phases to run that attack the attributes."""
    return [name for name in _ATTACKS if name in config.phases]


def _phases(config: ConfigDict) -> str:
    names = [f"'{name}'" for name in _attacking(config)]
    return f"the phase{'s' if len(names) > 1 else ''} {' and '.join(names)}"


def _evaluated_splits(
    learned: DatasetSpec, tested: DatasetSpec | None = None
) -> list[tuple[DatasetSpec, str]]:
    """Those that an attacker learns from, is chosen by and is tested on; mostly of one dataset."""
    tested = tested or learned
    found = [(learned, "train"), (learned, "validation")]
    test = (tested, tested.test_split)
    return found if test in found else [*found, test]


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


def _check_supervision(config: ConfigDict, images: DatasetSpec) -> None:
    if get_method(config.method).supervised and not images.attributes:
        raise ConfigError(
            f"config.method '{config.method}' learns from attributes; '{images.name}' has none. "
            "Name a dataset with attributes in config.data.images, build this one with "
            "--attributes=..., or take a method without labels (spact, penalty)"
        )


def _check_labels(config: ConfigDict, spec: DatasetSpec, split: str) -> None:
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
        f"leave {_phases(config)} out of config.phases"
    )


def _check_people(spec: DatasetSpec) -> None:
    """Whether people can be searched for who were not seen in training."""
    hint = (
        "Build the dataset with --group=COLUMN, the column that says who is in a video, or leave "
        "the phase 'evaluate_identity' out of config.phases"
    )
    people = {}
    for _, split in _evaluated_splits(spec):
        people[split] = [row.group for row in read_index(spec, split)]
        found, of_split = people[split], f"the split '{split}' of '{spec.name}'"
        if "" in found:
            raise ConfigError(
                f"{found.count('')} of the {len(found)} videos in {of_split} have no group, so it "
                f"is not known who is in them. {hint}"
            )
        if split == "train":
            continue
        if shared := sorted(set(found) & set(people["train"])):
            raise ConfigError(
                f"{len(shared)} people in {of_split} are in its split 'train' too, among them "
                f"'{shared[0]}'; the search is for people who were not seen in training. {hint}"
            )
        if len(set(found)) == len(found):
            raise ConfigError(
                f"No person has two videos in {of_split}, so there is nobody to search for. {hint}"
            )


def _check_frames(config: ConfigDict) -> None:
    """Whether flicker (two frames) and SSIM (its window) can be measured."""
    for field, needed in (("num_frames", 2), ("resolution", WINDOW)):
        if config.data[field] < needed:
            raise ConfigError(
                f"config.data.{field} is {config.data[field]}; the phase 'evaluate_frames' needs "
                f"at least {needed}. Raise it, or leave the phase out of config.phases"
            )
