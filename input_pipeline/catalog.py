"""The datasets that can be built: a table from a builder's name to the jobs that it stands for."""

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from input_pipeline.datasets.annotated import AnnotatedBuilder, AnnotatedConfig
from input_pipeline.errors import DataError
from input_pipeline.media_builder import MediaBuilderConfig


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


def register(builder: str, builder_class: type[AnnotatedBuilder]) -> None:
    """Adds a builder that lies elsewhere; `build_dataset` and its command know it from then on.

    Args:
      builder: its name: that of the class in small letters with underscores, as TFDS has it.
      builder_class: takes `AnnotatedConfig`; its bare name stands for the first of its CONFIGS.

    Raises:
      DataError: there is a builder of this name.
    """
    if builder in BUILDERS:
        raise DataError(f"There is a dataset '{builder}' already; take another name")
    # TFDS looks for README.md and its like in the class's package; a lone file has its folder.
    builder_class.pkg_dir_path = tfds.core.Path(inspect.getfile(builder_class)).parent
    BUILDERS[builder] = _annotated(builder, lambda: builder_class)


def _moving_figures(config: str, options: Mapping[str, Any]) -> list[Job]:
    if options:
        raise DataError(f"moving_figures is generated and takes no option {', '.join(options)}")
    builder = _builder_module("moving_figures").MovingFigures
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
    module = _builder_module("video_folder")
    values = dict(options)
    _check_options("video_folder", module.VideoFolderConfig, values)
    name = values.pop("name", None) or config_name or _safe_name(Path(values["source"]))
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise DataError(
            f"name: '{name}' must start with a letter and hold only letters, digits, _ and -"
        )
    config = module.VideoFolderConfig(name=name, **values)
    return [_job("video_folder", module.VideoFolder, config)]


def _published(builder: str, class_name: str) -> Callable[[str, Mapping[str, Any]], list[Job]]:
    """The jobs of a builder of this package, by the name of its class."""
    return _annotated(builder, lambda: getattr(_builder_module(builder), class_name))


def _annotated(
    builder: str, load: Callable[[], type[AnnotatedBuilder]]
) -> Callable[[str, Mapping[str, Any]], list[Job]]:
    """The jobs of a builder that takes `AnnotatedConfig`; its bare name is its first config's."""

    def jobs_of(config_name: str, options: Mapping[str, Any]) -> list[Job]:
        builder_class = load()
        known = builder_class.CONFIGS
        if config_name and config_name not in known:
            raise DataError(
                f"There is no dataset '{builder}/{config_name}'; its configs are: "
                f"{', '.join(known)}"
            )
        _check_options(builder, AnnotatedConfig, options, but=("name",))
        config = AnnotatedConfig(name=config_name or known[0], **options)
        return [_job(builder, builder_class, config)]

    return jobs_of


def _builder_module(builder: str) -> Any:
    # Builders are imported when they are asked for: TFDS keeps every one that it has seen.
    return importlib.import_module(f"input_pipeline.datasets.{builder}.{builder}_dataset_builder")


def _check_options(
    builder: str, config: type, options: Mapping[str, Any], but: Sequence[str] = ()
) -> None:
    fields = {field.name for field in dataclasses.fields(config)} - set(but)
    unknown = [key for key in options if key not in fields]
    if unknown:
        raise DataError(f"{builder} takes no option {', '.join(unknown)}")
    if not options.get("source"):
        raise DataError(f"{builder} needs the folder of the files: --source=DIR")


def _job(builder: str, builder_class: Any, config: MediaBuilderConfig) -> Job:
    return Job(
        name=f"{builder}/{config.name}",
        version=str(builder_class.VERSION),
        options=config.options(),
        make=lambda data_dir: builder_class(config=config, data_dir=data_dir),
    )


def _safe_name(source: Path) -> str:
    """The folder's name with everything replaced that cannot stand in a dataset's name."""
    folder = source.expanduser().resolve().name
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", folder).strip("_-")
    return name if name[:1].isalpha() else f"videos_{name}".rstrip("_")


# Datasets that others have published: the builder's name, and its class.
PUBLISHED = {
    "ucf101": "Ucf101",
    "hmdb51": "Hmdb51",
    "vispr": "Vispr",
    "pa_hmdb51": "PaHmdb51",
    "vphmdb": "Vphmdb",
    "vpucf": "Vpucf",
}

BUILDERS: dict[str, Callable[[str, Mapping[str, Any]], list[Job]]] = {
    "moving_figures": _moving_figures,
    "video_folder": _video_folder,
    **{builder: _published(builder, name) for builder, name in PUBLISHED.items()},
}
