"""Which inputs there are, and where the output of each one goes."""

import dataclasses
import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from anon_jax.anonymize.pictures import FORMATS
from anon_jax.anonymize.urls import is_url, shown
from anon_jax.anonymize.writing import CONTAINERS
from input_pipeline.errors import DataError

# What a folder is searched for; a file that is named is tried whatever its suffix.
VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "asf", "avi", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg"),
        *("mts", "ogv", "ts", "vob", "webm", "wmv"),
    )
)
_DEFAULT_SUFFIX = ".mp4"


@dataclasses.dataclass(frozen=True)
class Job:
    """One input and its output.

    Attributes:
      source: a path, the number of a camera, or a URL.
      kind: "video", "image" or "live" (a camera or a URL).
    """

    source: str
    output: Path
    kind: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """All jobs of a command.

    Attributes:
      many: whether the inputs were a folder, a pattern or several: nobody looks at each file.
      ignored: files of the folders that are neither videos nor images.
    """

    jobs: tuple[Job, ...]
    many: bool
    ignored: tuple[Path, ...] = ()


def plan(inputs: Sequence[str], output: Path, *, as_folder: bool = False) -> Plan:
    """Finds the inputs and names their outputs.

    The output of a single file, camera or URL is `output`, or a file in it where that is a folder.
    Those of a folder, a pattern or several inputs lie in `output` as they lay in the folder; a
    video becomes an MP4 unless its own suffix is one of CONTAINERS.

    Args:
      as_folder: `output` was given with a slash at its end.

    Raises:
      DataError: there is no such input, no video or image in a folder, an output of a type that
        cannot be written, or one that would replace its own input.
    """
    found: list[tuple[str, Path]] = []  # (source, where below the output folder)
    ignored: list[Path] = []
    many = len(inputs) > 1
    for given in inputs:
        if is_live(given):
            found.append((given, Path(f"camera{given}" if given.isdecimal() else "stream")))
        elif Path(given).is_dir():
            many = True
            found += _of_folder(Path(given), output, ignored)
        elif Path(given).exists() or not glob.has_magic(given):
            found.append((given, Path(Path(given).name)))
        else:
            many = True
            found += _of_pattern(given)
    if many and output.is_file():
        raise DataError(f"--output={output} is a file; several inputs need a folder")
    if many or as_folder or output.is_dir():
        jobs = tuple(_in_folder(found, output))
    else:
        jobs = (Job(found[0][0], output, kind_of(found[0][0])),)
    for job in jobs:
        _check(job)
    return Plan(jobs, many, tuple(ignored))


def is_live(source: str) -> bool:
    """Whether this is a URL or the number of a camera, not a file."""
    return is_url(source) or (source.isdecimal() and not Path(source).exists())


def _of_folder(folder: Path, output: Path, ignored: list[Path]) -> list[tuple[str, Path]]:
    """The videos and images of a folder at any depth, without those of the output's folder."""
    found = []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(n for n in folders if (here / n).resolve() != output.resolve())
        for name in sorted(names):
            path = here / name
            if name.startswith("."):
                continue
            if path.suffix.lower() in VIDEO_SUFFIXES or path.suffix.lower() in FORMATS:
                found.append((str(path), path.relative_to(folder)))
            else:
                ignored.append(path)
    if not found:
        known = " ".join(sorted({*VIDEO_SUFFIXES, *FORMATS}))
        raise DataError(f"{folder}: no videos or images in this folder, which end in {known}")
    return found


def _of_pattern(pattern: str) -> list[tuple[str, Path]]:
    paths = sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())
    if not paths:
        raise DataError(f"{shown(pattern)}: no file has such a name")
    common = Path(os.path.commonpath([Path(path).parent for path in paths]))
    return [(path, Path(path).relative_to(common)) for path in paths]


def _in_folder(found: list[tuple[str, Path]], output: Path) -> list[Job]:
    """Outputs below a folder; where two would have one name, both keep their old suffix in it."""
    names = [_renamed(source, place) for source, place in found]
    counts = Counter(str(name).lower() for name in names)
    jobs = []
    for (source, place), name in zip(found, names, strict=True):
        if counts[str(name).lower()] > 1:
            name = place.with_name(place.name + name.suffix)
        jobs.append(Job(source, output / name, kind_of(source)))
    outputs = Counter(job.output for job in jobs)
    twice = [job for job in jobs if outputs[job.output] > 1]
    if twice:
        first, second = (shown(job.source) for job in twice[:2])
        raise DataError(
            f"{first} and {second} would both become {twice[0].output}; "
            "anonymize them one after another"
        )
    return jobs


def _renamed(source: str, place: Path) -> Path:
    known = FORMATS if kind_of(source) == "image" else CONTAINERS
    return place.with_suffix(
        place.suffix.lower() if place.suffix.lower() in known else _DEFAULT_SUFFIX
    )


def kind_of(source: str) -> str:
    """What a source is, as in `Job.kind`."""
    if is_live(source):
        return "live"
    return "image" if Path(source).suffix.lower() in FORMATS else "video"


def _check(job: Job) -> None:
    known = FORMATS if job.kind == "image" else CONTAINERS
    if job.output.suffix.lower() not in known:
        what = "an image" if job.kind == "image" else "a video"
        raise DataError(
            f"{job.output}: {what} can be written as {', '.join(known)}; a new folder is named "
            "with a slash at its end"
        )
    source = Path(job.source)
    there = job.kind != "live" and job.output.exists() and source.exists()
    if there and job.output.samefile(source):
        raise DataError(f"{job.source} would be replaced by its own output; name another one")
