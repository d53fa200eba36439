"""Builds datasets in TFDS format: `python -m input_pipeline.build NAME --data_dir=DIR ...`."""

import argparse
import contextlib
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from input_pipeline.build_report import REPORT_FILE, BuildReport
from input_pipeline.catalog import BUILDERS, PUBLISHED, Job, jobs
from input_pipeline.commands import run_command
from input_pipeline.errors import DataError
from input_pipeline.media_builder import SHARDS_FOLDER
from input_pipeline.progress import say
from input_pipeline.publish import build_lock, publish, staging
from input_pipeline.specs import DatasetSpec, dataset_path, load_spec


def build_dataset(
    dataset: str,
    data_dir: str | Path,
    *,
    overwrite: bool = False,
    beam_options: str | None = None,
    **options: Any,
) -> list[DatasetSpec]:
    """Builds a dataset, or all configs of one, unless it is there already.

    Args:
      dataset: "moving_figures", "moving_figures/CONFIG" or "video_folder".
      data_dir: folder of all datasets.
      overwrite: build anew; what is there is replaced when the new dataset is complete.
      beam_options: build on Apache Beam with these pipeline options, such as
        "--runner=FlinkRunner"; "" takes threads of this process, None does without Beam.
      **options: the fields of the builder's config, such as `source`.

    Returns:
      The specs of the datasets named.

    Raises:
      DataError: an unknown name, unusable input, too many unreadable videos, or a dataset that was
        built with other options is there and `overwrite` is not given. Nothing half-built stays.
      OSError: the disk is full or cannot be written; what is complete stays and is continued.
    """
    data_dir = Path(data_dir).expanduser()
    beam = None if beam_options is None else _pipeline_options(beam_options, options)
    return [_build(job, data_dir, overwrite, beam) for job in jobs(dataset, options)]


def ensure_dataset(name: str, data_dir: str | Path) -> DatasetSpec:
    """The spec of a dataset; `moving_figures/CONFIG` is generated where it is not there yet.

    Raises:
      DataError: the dataset is not there; the message names the command that builds it.
    """
    data_dir = Path(data_dir).expanduser()
    folder = dataset_path(name, data_dir)
    generated = name.partition("/")[0] == "moving_figures" and ":" not in name
    if generated and not (folder and _is_complete(folder)):
        found = jobs(name, {})
        if len(found) > 1:
            raise DataError(f"'{name}' is several datasets: {', '.join(job.name for job in found)}")
        return _build(found[0], data_dir, overwrite=False)
    return load_spec(name, data_dir)


def _pipeline_options(text: str, options: Mapping[str, Any]) -> Any:
    """Apache Beam's options; it is imported here, when it is asked for, and nowhere else."""
    if "workers" in options:
        raise DataError(
            "--workers is for builds without --beam; with it --beam_options says how many there "
            "are, on this machine as --direct_num_workers=N"
        )
    try:
        from input_pipeline.beam import parse_options
    except ModuleNotFoundError as error:
        raise DataError(
            f"--beam needs Apache Beam (no module {error.name}): pip install 'anon_jax[beam]'"
        ) from error
    return parse_options(text)


def _build(job: Job, data_dir: Path, overwrite: bool, beam: Any = None) -> DatasetSpec:
    folder = data_dir / job.name
    final = folder / job.version
    with build_lock(folder):
        if not overwrite and _is_complete(final):
            _check_same_options(job, final)
            say(f"{job.name} is in {final} already; nothing to do{_missing_then(final)}")
        else:
            _write(job, folder, final, beam)
    return load_spec(job.name, data_dir)


def _write(job: Job, folder: Path, final: Path, beam: Any) -> None:
    with staging(folder, job.version, keep=SHARDS_FOLDER) as scratch, _quiet_tfds():
        builder = job.make(scratch)
        say(f"building {job.name} in {final}")
        builder.download_and_prepare(
            file_format="array_record",
            download_config=tfds.download.DownloadConfig(try_download_gcs=False, beam_options=beam),
        )
        publish(Path(builder.data_dir), final)
    if (final / REPORT_FILE).is_file():
        say(BuildReport.load(final).summary())
    size = sum(path.stat().st_size for path in final.iterdir())
    say(f"{job.name} is in {final}, {size / 2**20:.1f} MiB")


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """TFDS announces the scratch folder as if the dataset stayed there, and every custom config."""
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def _is_complete(folder: Path) -> bool:
    return (folder / "dataset_info.json").is_file()


def _check_same_options(job: Job, final: Path) -> None:
    if not (final / REPORT_FILE).is_file():
        return
    built = BuildReport.load(final).options
    differ = [
        f"  {key}: there {built.get(key)!r}, asked for {job.options.get(key)!r}"
        for key in sorted({*built, *job.options})
        if built.get(key) != job.options.get(key)
    ]
    if differ:
        raise DataError(
            "\n".join(
                [
                    f"{job.name} is in {final} already, built with other options:",
                    *differ,
                    "--overwrite replaces it; --name=... builds a second one beside it",
                ]
            )
        )


def _missing_then(final: Path) -> str:
    missing = BuildReport.load(final).missing if (final / REPORT_FILE).is_file() else []
    if not missing:
        return ""
    return f" ({len(missing)} files were missing then; --overwrite builds it anew)"


def _split_values(text: str) -> dict[str, str]:
    pairs = [part.rpartition(":") for part in text.split(",") if part.strip()]
    if any(not colon for _, colon, _ in pairs):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form VALUE:SPLIT,VALUE:SPLIT")
    return {value.strip(): split.strip() for value, _, split in pairs}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.build",
        description="Builds a dataset in TFDS format below a data folder.",
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=(
            "example:\n  python -m input_pipeline.build video_folder --source=clips --data_dir=data"
            " \\\n    --attributes=gender,face --group=film"
        ),
    )
    add = parser.add_argument
    add("dataset", metavar="NAME", help=f"{', '.join(BUILDERS)}, or BUILDER/CONFIG")
    add("--data_dir", required=True, metavar="DIR", help="folder of all datasets")
    add("--overwrite", action="store_true", default=False, help="build anew, replace what is there")
    files = parser.add_argument_group("all but moving_figures")
    add = files.add_argument
    add("--source", type=Path, metavar="DIR", help="folder of the videos or images")
    add("--short_side", type=int, metavar="PIXELS", help="of the stored frames (default: 240)")
    add("--quality", type=int, help="of their JPEGs, 1 to 100 (default: 95)")
    add("--max_bad_share", type=float, metavar="SHARE", help="of unreadable files (default: 0.01)")
    add("--allow_missing", action="store_true", help="leave out the files that are not there")
    add("--clip_frames", type=int, metavar="N", help="least of a damaged video (default: 16)")
    add("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    cluster = parser.add_argument_group("Apache Beam, for clusters")
    add = cluster.add_argument
    add("--beam", action="store_true", default=False, help="build on it; needs anon_jax[beam]")
    add(
        "--beam_options",
        metavar='"OPTIONS"',
        help='its pipeline options, e.g. "--runner=FlinkRunner --flink_master=HOST:PORT" '
        "(default: threads of this process, one for each core)",
    )
    published = parser.add_argument_group(", ".join(PUBLISHED))
    published.add_argument(
        "--annotations",
        type=Path,
        metavar="DIR",
        help="folder of the split and label files, at any depth (default: the source)",
    )
    folder = parser.add_argument_group("video_folder")
    add = folder.add_argument
    add("--name", help="the dataset becomes video_folder/NAME (default: the folder's name)")
    add("--labels", type=Path, metavar="FILE", help="table of labels (default: SOURCE/labels.csv)")
    add("--attributes", type=_names, metavar="A,B,...", help="columns of private attributes")
    add("--group", metavar="COLUMN", help="film or person that may not stand in two splits")
    add("--split", metavar="COLUMN", help="column of the splits (default: split)")
    add(
        "--split_values",
        type=_split_values,
        metavar="VALUE:SPLIT,...",
        help="what its cells mean, e.g. T1:train,T2:validation",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 for unusable input."""
    parser = _parser()
    arguments = vars(parser.parse_args(argv))
    dataset, data_dir = arguments.pop("dataset"), arguments.pop("data_dir")
    if arguments.pop("beam"):
        arguments.setdefault("beam_options", "")
    elif "beam_options" in arguments:
        parser.error("--beam_options is for builds with --beam")
    return run_command(lambda: build_dataset(dataset, data_dir, **arguments), "the dataset")


if __name__ == "__main__":
    sys.exit(main())
