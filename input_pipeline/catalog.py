"""The datasets that can be built: a table from a builder's name to the jobs that it stands for."""

import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from input_pipeline.errors import DataError


@dataclasses.dataclass(frozen=True)
class Job:
    """One dataset to build.

    Attributes:
      name: "builder/config".
      version: of the builder's code.
      options: what decides the content beside the code; compared with what is there already.
      make: the TFDS builder that writes below a given data folder.
    """

    name: str
    version: str
    options: Mapping[str, Any]
    make: Callable[[Path], tfds.core.DatasetBuilder]


def jobs(name: str, options: Mapping[str, Any]) -> list[Job]:
    """The jobs that "builder" or "builder/config" stands for, with the builder's own options.

    Raises:
      DataError: the name is unknown, or the options do not fit it.
    """
    builder, _, config = name.partition("/")
    if builder not in BUILDERS:
        raise DataError(f"There is no dataset '{name}' to build; known are: {', '.join(BUILDERS)}")
    return BUILDERS[builder](config, options)


def _moving_figures(config: str, options: Mapping[str, Any]) -> list[Job]:
    if options:
        raise DataError(f"moving_figures is generated and takes no option {', '.join(options)}")
    # Builders are imported when they are asked for: TFDS keeps every one that it has seen.
    module = importlib.import_module(
        "input_pipeline.datasets.moving_figures.moving_figures_dataset_builder"
    )
    builder = module.MovingFigures
    known = [known.name for known in builder.BUILDER_CONFIGS]
    if config and config not in known:
        raise DataError(
            f"There is no dataset 'moving_figures/{config}'; its configs are: {', '.join(known)}"
        )

    def job(config_name: str) -> Job:
        return Job(
            name=f"moving_figures/{config_name}",
            version=str(builder.VERSION),
            options={},
            make=lambda data_dir: builder(config=config_name, data_dir=data_dir),
        )

    return [job(config_name) for config_name in ([config] if config else known)]


def _video_folder(config_name: str, options: Mapping[str, Any]) -> list[Job]:
    module = importlib.import_module(
        "input_pipeline.datasets.video_folder.video_folder_dataset_builder"
    )
    values = dict(options)
    fields = [field.name for field in dataclasses.fields(module.VideoFolderConfig)]
    unknown = [key for key in values if key not in fields]
    if unknown:
        raise DataError(f"video_folder takes no option {', '.join(unknown)}")
    if not values.get("source"):
        raise DataError("video_folder needs the folder of the videos: --source=DIR")
    name = values.pop("name", None) or config_name or _safe_name(Path(values["source"]))
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise DataError(
            f"name: '{name}' must start with a letter and hold only letters, digits, _ and -"
        )
    config = module.VideoFolderConfig(name=name, **values)
    return [
        Job(
            name=f"video_folder/{name}",
            version=str(module.VideoFolder.VERSION),
            options=config.options(),
            make=lambda data_dir: module.VideoFolder(config=config, data_dir=data_dir),
        )
    ]


def _safe_name(source: Path) -> str:
    """The folder's name with everything replaced that cannot stand in a dataset's name."""
    folder = source.expanduser().resolve().name
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", folder).strip("_-")
    return name if name[:1].isalpha() else f"videos_{name}".rstrip("_")


BUILDERS: dict[str, Callable[[str, Mapping[str, Any]], list[Job]]] = {
    "moving_figures": _moving_figures,
    "video_folder": _video_folder,
}
