"""What a dataset has: the TFDS features that all builders write, and the spec read from disk."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from input_pipeline.errors import DataError

UNKNOWN = -1  # the value of an attribute that nobody labelled: masked in losses and metrics
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """A prepared dataset on disk.

    Attributes:
      name: TFDS name with its config, as a run's config names it, e.g. "moving_figures/videos".
      path: folder with `dataset_info.json` and the array_record shards.
      kind: "video" (records have frames and an action) or "image" (one image, no action).
      actions: class names in label order; empty for images.
      attributes: names of the private attributes in column order.
      split_sizes: number of records per split.
      shortest: frames of the shortest video per split; None for images and where it is not known.
    """

    name: str
    path: Path
    kind: str
    actions: tuple[str, ...]
    attributes: tuple[str, ...]
    split_sizes: dict[str, int]
    shortest: dict[str, int] | None = None

    def check_split(self, split: str) -> None:
        """Raises DataError where there is no such split, or nothing in it."""
        if not self.split_sizes.get(split):
            known = ", ".join(f"{name} ({size})" for name, size in self.split_sizes.items())
            raise DataError(f"'{self.name}' in {self.path} has no split '{split}'; it has: {known}")

    @property
    def test_split(self) -> str:
        """The split that results are reported on: "validation" where there is no test split."""
        return "test" if self.split_sizes.get("test") else "validation"


def video_features(actions: Sequence[str], attributes: Sequence[str]) -> tfds.features.FeaturesDict:
    """Features of one video: JPEG frames (RGB), action, attributes in {0, 1, UNKNOWN}, origin.

    The source's size is that of the file before its frames were reduced, in pixels. `metadata` is
    a JSON object of whatever else is known of the video.
    """
    return tfds.features.FeaturesDict(
        {
            "frames": tfds.features.Sequence(_jpeg()),
            "action": tfds.features.ClassLabel(names=list(actions)),
            "attributes": tfds.features.Tensor(shape=(len(attributes),), dtype=np.int32),
            "id": tfds.features.Text(),
            "group": tfds.features.Text(),
            "num_frames": tfds.features.Scalar(np.int32),
            "fps": tfds.features.Scalar(np.float32),
            "source_height": tfds.features.Scalar(np.int32),
            "source_width": tfds.features.Scalar(np.int32),
            "metadata": tfds.features.Text(),
        }
    )


def image_features(attributes: Sequence[str]) -> tfds.features.FeaturesDict:
    """Features of one still image: the JPEG (RGB), attributes in {0, 1, UNKNOWN}, origin."""
    return tfds.features.FeaturesDict(
        {
            "image": _jpeg(),
            "attributes": tfds.features.Tensor(shape=(len(attributes),), dtype=np.int32),
            "id": tfds.features.Text(),
            "group": tfds.features.Text(),
            "source_height": tfds.features.Scalar(np.int32),
            "source_width": tfds.features.Scalar(np.int32),
            "metadata": tfds.features.Text(),
        }
    )


def spec_metadata(
    attributes: Sequence[str], shortest_video: Mapping[str, int] | None = None
) -> tfds.core.MetadataDict:
    """What a builder stores beside its features for `load_spec`: the columns' names, and by split
    the number of frames of the shortest video (a builder may add it when it has seen them all).
    """
    shortest = dict(shortest_video or {})
    return tfds.core.MetadataDict({"attributes": list(attributes), "shortest_video": shortest})


def only_local(info: tfds.core.DatasetInfo) -> tfds.core.DatasetInfo:
    """The same for a dataset that is on this machine alone.

    TFDS would look into its bucket for what is not built yet, and leave an empty temporary folder.
    """
    info.initialize_from_bucket = lambda: None
    return info


def load_spec(name: str, data_dir: str | Path) -> DatasetSpec:
    """Reads the spec of the dataset `name` ("builder/config[:version]") below `data_dir`.

    Raises:
      DataError: nothing complete is there; the message names the build command.
    """
    path = dataset_path(name, data_dir)
    info_file = path / "dataset_info.json" if path else None
    if path is None or info_file is None or not info_file.is_file():
        raise DataError(_missing_message(name, Path(data_dir)))
    info = tfds.builder_from_directory(path).info
    metadata = json.loads((path / "metadata.json").read_text())
    return DatasetSpec(
        name=name,
        path=path,
        kind="video" if "frames" in info.features else "image",
        actions=tuple(info.features["action"].names) if "action" in info.features else (),
        attributes=tuple(metadata["attributes"]),
        split_sizes={split: info.splits[split].num_examples for split in info.splits},
        shortest=metadata.get("shortest_video") or None,
    )


def dataset_path(name: str, data_dir: str | Path) -> Path | None:
    """The folder of the newest prepared version of `name`, or None where there is none.

    Raises:
      DataError: it is no name of a dataset.
    """
    if not re.fullmatch(r"\w[\w.+-]*(/\w[\w.+-]*)*(:[\d.]+)?", name):
        raise DataError(
            f"'{name}' is no name of a dataset; those are like ucf101/split1 or video_folder/mine. "
            "A folder of videos becomes one by: python -m input_pipeline.build video_folder "
            f"--source=DIR --data_dir={data_dir}"
        )
    base, _, version = name.partition(":")
    root = Path(data_dir).expanduser() / base
    if version:
        return root / version if (root / version).is_dir() else None
    found = [path for path in root.glob("*") if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    return max(found, key=lambda path: tuple(map(int, path.name.split("."))), default=None)


def _jpeg() -> tfds.features.Image:
    return tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")


def _missing_message(name: str, data_dir: Path) -> str:
    builder, _, config = name.partition(":")[0].partition("/")
    what, flags = name.partition(":")[0], " --source=DIR"
    if builder == "video_folder":
        what, flags = builder, flags + (f" --name={config}" if config else "")
    elif builder == "moving_figures":
        flags = ""
    beside = sorted(p.parent.parent.name for p in data_dir.glob(f"{builder}/*/*/dataset_info.json"))
    there = f"; of '{builder}' there is: {', '.join(beside)}" if beside else ""
    return (
        f"The dataset '{name}' is not (completely) below {data_dir}{there}. Build it with: "
        f"python -m input_pipeline.build {what}{flags} --data_dir={data_dir}"
    )
