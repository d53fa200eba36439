"""Anonymizes the jobs of a plan one after another, and keeps account of each."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from anon_jax.anonymize.camera import CameraReader
from anon_jax.anonymize.frames import VideoFormat
from anon_jax.anonymize.jobs import Job
from anon_jax.anonymize.methods import Method
from anon_jax.anonymize.outputs import check_free, whole_or_nothing
from anon_jax.anonymize.pictures import read_picture, write_picture
from anon_jax.anonymize.pipeline import Pipeline, side_by_side
from anon_jax.anonymize.reading import VideoReader, open_input
from anon_jax.anonymize.selfcheck import SelfCheck
from anon_jax.anonymize.sound import Sound
from anon_jax.anonymize.urls import shown
from anon_jax.anonymize.writing import VideoWriter
from input_pipeline.errors import DataError
from input_pipeline.progress import Progress, say


@dataclasses.dataclass(frozen=True)
class Options:
    """What holds for all jobs.

    Attributes:
      keep_audio: encode the sound anew beside the frames; else it is dropped.
      overwrite: replace outputs that are there.
      preview: write raw and anonymized frames side by side.
      seconds: of a camera or URL; None = until it ends.
      on_frame: called with the frames of a video that are done, after each; what it raises ends
        that video, and the run if it is no Exception.
    """

    keep_audio: bool = False
    overwrite: bool = False
    preview: bool = False
    seconds: float | None = None
    on_frame: Callable[[int], object] | None = None


def run_jobs(jobs: Sequence[Job], method: Method, options: Options) -> list[dict[str, Any]]:
    """Anonymizes all that can be; returns an entry of the summary for each job.

    An entry has "status" "done" or "failed", then with an "error". Ctrl-C ends it all: the entries
    of the jobs that were done are lost, their outputs are not.
    """
    entries = []
    for number, job in enumerate(jobs, start=1):
        entry: dict[str, Any] = {"file": shown(job.source), "output": str(job.output)}
        start = time.monotonic()
        try:
            found = (_anonymize_image if job.kind == "image" else _anonymize_video)(
                job, method, options
            )
            entry |= {"status": "done", **found}
        except DataError as error:
            entry |= {"status": "failed", "error": str(error)}
        # Whatever it is, the other files can still be anonymized, and this one has no output.
        except Exception as error:
            said = str(error).replace(job.source, entry["file"])
            said = f"{entry['file']}: {type(error).__name__}: {said}"
            entry |= {"status": "failed", "error": said}
        entry |= {"seconds": round(time.monotonic() - start, 3), "method": method.name}
        entry |= method.facts
        entries.append(entry)
        _tell(entry, f"[{number}/{len(jobs)}] " if len(jobs) > 1 else "")
    return entries


def describe_jobs(jobs: Sequence[Job], options: Options) -> list[dict[str, Any]]:
    """What `run_jobs` would begin with: entries with "status" "ready" or "failed"."""
    entries = []
    for job in jobs:
        entry: dict[str, Any] = {"file": shown(job.source), "output": str(job.output)}
        try:
            check_free(job.output, overwrite=options.overwrite)
            if job.kind == "image":
                height, width = read_picture(Path(job.source)).shape[:2]
                entry |= {"size": [width, height], "frames": 1}
            elif job.kind == "video":
                with VideoReader(job.source) as reader:
                    entry |= {"size": reader.stored_size, "frames": reader.estimated}
            entry["status"] = "ready"
            say(f"{entry['file']} -> {job.output} {_sized(entry)}")
        except DataError as error:
            entry |= {"status": "failed", "error": str(error)}
            say(f"error: {error}")
        entries.append(entry)
    return entries


def _anonymize_video(job: Job, method: Method, options: Options) -> dict[str, Any]:
    check_free(job.output, overwrite=options.overwrite)
    with (
        open_reader(job.source, job.kind, options.seconds) as reader,
        _open_sound(job, options) as container,
    ):
        sound = Sound(container) if container else None
        heard = sound if sound and sound.found else None
        check = SelfCheck()
        with (
            whole_or_nothing(job.output, overwrite=options.overwrite) as file,
            Progress(reader.estimated, "frames") if reader.estimated else nullcontext() as bar,
        ):

            def open_writer(video: VideoFormat) -> VideoWriter:
                width = video.width * (2 if options.preview else 1)
                wide = dataclasses.replace(video, width=width)
                return VideoWriter(file, job.output.suffix.lower(), wide, heard)

            pipeline = Pipeline(
                reader,
                method,
                open_writer,
                check=check,
                preview=options.preview,
                advance=_tellers(bar, options),
            )
            pipeline.run()
        assert pipeline.stream is not None
        assert reader.format is not None
        warnings = [*reader.warnings, *pipeline.stream.warnings(), *check.warnings()]
        if reader.damaged:
            warnings.append(f"{reader.damaged} damaged frames are black or missing")
        warnings += _about_sound(sound)
        video = reader.format
        return {
            "frames": pipeline.frames,
            "damaged": reader.damaged,
            "size": [video.width, video.height],
            "fps": round(float(video.fps), 3),
            "audio": heard is not None,
            "preview": options.preview,
            **pipeline.stream.facts(),
            "nearly_unchanged": check.facts(),
            "warnings": warnings,
        }


def _tellers(bar: Progress | None, options: Options) -> Callable[[int], None]:
    """Tells all who want to know how many frames are done."""

    def advance(frames: int) -> None:
        if bar:
            bar.advance_to(frames)
        if options.on_frame:
            options.on_frame(frames)

    return advance


def _anonymize_image(job: Job, method: Method, options: Options) -> dict[str, Any]:
    check_free(job.output, overwrite=options.overwrite)
    raw = read_picture(Path(job.source))
    stream, _ = method.start(*raw.shape[:2])
    (result,) = [*stream.feed([raw]), *stream.finish()]
    check = SelfCheck()
    check.add(raw, result)
    frame = side_by_side(raw, result.frame) if options.preview else result.frame
    with whole_or_nothing(job.output, overwrite=options.overwrite) as file:
        write_picture(file, job.output.suffix.lower(), frame)
    return {
        "frames": 1,
        "damaged": 0,
        "size": [raw.shape[1], raw.shape[0]],
        "preview": options.preview,
        **stream.facts(),
        "nearly_unchanged": check.facts(),
        "warnings": [*stream.warnings(), *check.warnings()],
    }


def open_reader(source: str, kind: str, seconds: float | None) -> VideoReader | CameraReader:
    """The frames of a file, a camera or a URL; `kind` and `source` as in `Job`."""
    if kind != "live":
        return VideoReader(source)
    if source.isdecimal():
        if seconds is None:
            raise DataError(f"camera {source}: say with --seconds for how long")
        return CameraReader(int(source), seconds)
    return VideoReader(source, seconds=seconds)


def _open_sound(job: Job, options: Options) -> Any:
    """The input once more, so that sound and pictures are read each at its own pace."""
    if not options.keep_audio:
        return nullcontext()
    if job.kind == "live":
        raise DataError(f"{shown(job.source)}: --keep-audio works for files only")
    return open_input(job.source)


def _about_sound(sound: Sound | None) -> list[str]:
    if sound is None or not sound.there:
        return []
    if not sound.found:
        return ["the sound cannot be decoded: it was left out"]
    heard = ["the sound was kept: a voice tells who speaks"]
    if sound.damaged:
        heard.append(f"{sound.damaged} damaged packets of the sound were left out")
    return heard


def _tell(entry: dict[str, Any], number: str) -> None:
    if entry["status"] == "failed":
        say(f"{number}error: {entry['error']}")
        return
    rate = entry["frames"] / max(entry["seconds"], 1e-3)
    say(f"{number}{entry['file']} -> {entry['output']} {_sized(entry)}, {rate:.1f} frames/s")
    for warning in entry["warnings"]:
        say(f"  warning: {warning}")


def _sized(entry: dict[str, Any]) -> str:
    if "size" not in entry:
        return "(live)"
    return f"({entry['size'][0]}x{entry['size'][1]}, {entry['frames']} frames)"
