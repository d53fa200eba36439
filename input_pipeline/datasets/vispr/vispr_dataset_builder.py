"""TFDS builder of VISPR: photographs with private attributes, `vispr/vispr1`, `vispr2`, ..."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from input_pipeline.annotations import vispr
from input_pipeline.annotations.files import find_file
from input_pipeline.annotations.splits import hold_out
from input_pipeline.datasets.annotated import AnnotatedBuilder
from input_pipeline.errors import DataError
from input_pipeline.shards import Entry

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
VALIDATION_SHARE = 0.1  # of the training images, where the labels have no validation split

_SETS: Mapping[str, Sequence[str]] = {
    "vispr1": vispr.VISPR1,
    "vispr2": vispr.VISPR2,
    "pa": tuple(vispr.PA),
    "all": vispr.ATTRIBUTES,
}
# The pickles of other projects, which have seven columns of the training and test images.
_PICKLES = {
    "vispr1": ("{}_VISPR1_labels.pkl", "{}_labels.pkl"),
    "vispr2": ("{}_VISPR2_labels.pkl",),
}
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


class Vispr(AnnotatedBuilder):
    """22,167 photographs; `pa` has the attributes of PA-HMDB51, `all` has 68."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: Mapping[str, str] = {"1.0.0": "First version."}
    KIND = "image"
    CONFIGS = tuple(_SETS)

    @property
    def actions(self) -> Sequence[str]:
        """None: these are still images."""
        return ()

    @property
    def attributes(self) -> Sequence[str]:
        """Names of the private attributes in column order."""
        return _SETS[self.builder_config.name]

    @functools.cached_property
    def _entries(self) -> Mapping[str, Sequence[Entry]]:
        images = _image_index(self.builder_config.source)
        return {
            split: [
                Entry(images.get(name), name, "", values, group="", metadata={})
                for name, values in sorted(rows.items())
            ]
            for split, rows in read_rows(self.builder_config.labels, self.builder_config.name)
        }

    def entries(self) -> Mapping[str, Sequence[Entry]]:
        """The labelled images by split."""
        return self._entries


def read_rows(folder: Path, config: str) -> list[tuple[str, dict[str, tuple[int, ...]]]]:
    """(split, {image: attributes}) from the official JSON files or, without them, from pickles.

    Raises:
      DataError: there are neither, or they are not as published.
    """
    folders = {split: _json_folder(folder, split) for split in _SPLITS}
    if any(folders.values()):
        return [
            (_SPLITS[split], _json_rows(found, split, config))
            for split, found in folders.items()
            if found
        ]
    if config not in _PICKLES and config != "pa":
        raise DataError(
            f"{folder}: the config '{config}' needs the folders train2017, val2017 and test2017 of "
            f"JSON files below this folder. {vispr.HINT}"
        )
    train, test = (_pickle_rows(folder, split, config) for split in ("train", "test"))
    held_out = hold_out(train, VALIDATION_SHARE)
    return [
        ("train", {name: row for name, row in train.items() if name not in held_out}),
        ("validation", {name: row for name, row in train.items() if name in held_out}),
        ("test", test),
    ]


def _json_folder(folder: Path, split: str) -> Path | None:
    found = [path for path in sorted(folder.rglob(f"{split}2017")) if any(path.glob("*.json"))]
    if len(found) > 1:
        raise DataError(
            f"{folder}: two folders hold the labels of '{split}': {found[0]}, {found[1]}; leave "
            "only one below this folder"
        )
    return found[0] if found else None


def _json_rows(folder: Path, split: str, config: str) -> dict[str, tuple[int, ...]]:
    return {
        name: _values(labels, config)
        for name, labels in vispr.read_vispr_json(folder, split).items()
    }


def _pickle_rows(folder: Path, split: str, config: str) -> dict[str, tuple[int, ...]]:
    names = [name.format(split) for name in _PICKLES["vispr1" if config == "pa" else config]]
    there = [name for name in names if any(folder.rglob(name))]
    path = find_file(folder, there[0] if there else names[-1], vispr.HINT)
    rows = vispr.read_vispr_pickle(path, split)
    if config != "pa":
        return rows
    return {
        name: _values([vispr.VISPR1[i] for i, value in enumerate(row) if value], config)
        for name, row in rows.items()
    }


def _values(labels: Sequence[str] | frozenset[str], config: str) -> tuple[int, ...]:
    return vispr.pa_columns(labels) if config == "pa" else vispr.columns(labels, _SETS[config])


def _image_index(source: Path) -> dict[str, Path]:
    index: dict[str, Path] = {}
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            if path.stem in index:
                raise DataError(
                    f"{source}: two images are called {path.stem}: {index[path.stem]}, {path}; "
                    "leave only one below this folder"
                )
            index[path.stem] = path
    return index
