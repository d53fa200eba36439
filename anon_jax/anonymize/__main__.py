"""Anonymizes videos and images: python -m anon_jax.anonymize INPUT... --output=PATH --method=blur.

A learned anonymizer (--checkpoint=DIR) or a detector is no guarantee: look at the result before
you give it to anybody.
"""

import argparse
import math
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from anon_jax.anonymize import methods
from anon_jax.anonymize.batch import Options, describe_jobs, run_jobs
from anon_jax.anonymize.engines import ENGINES
from anon_jax.anonymize.jobs import Plan, plan
from anon_jax.anonymize.outputs import why
from anon_jax.anonymize.watching import watch
from anon_jax.export.checking import PRECISIONS
from anon_jax.results import write_json
from anon_jax.shipped import SMALL
from input_pipeline.errors import DataError
from input_pipeline.progress import say

_FAILED, _INTERRUPTED, _TERMINATED = 2, 130, 143


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit code.

    0: all is done. 2: something could not be, and is named. 130 and 143: interrupted, terminated.
    """
    arguments = _parser().parse_args(argv)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(arguments)
    except DataError as error:
        say(f"error: {error}")
        return _FAILED
    except KeyboardInterrupt:
        say("interrupted; the output that was being written is removed")
        return _INTERRUPTED
    except _Terminated:
        say("terminated; the output that was being written is removed")
        return _TERMINATED
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: argparse.Namespace) -> int:
    _check(arguments)
    if arguments.window:
        return _watch(arguments)
    output = Path(arguments.output).expanduser()
    chosen = plan(arguments.inputs, output, as_folder=arguments.output.endswith("/"))
    _check_preview(arguments, chosen)
    method = _method(arguments)
    options = Options(
        keep_audio=arguments.keep_audio,
        overwrite=arguments.overwrite,
        preview=arguments.preview,
        seconds=arguments.seconds,
    )
    if chosen.ignored:
        say(f"left out, by their suffixes: {', '.join(map(str, chosen.ignored))}")
    if arguments.preview:
        say("warning: a preview shows the raw frames; do not give it to anybody")
    if arguments.dry_run:
        entries = describe_jobs(chosen.jobs, options)
    else:
        entries = run_jobs(chosen.jobs, method, options)
    if any(entry["status"] == "done" for entry in entries):
        say("No method is a guarantee: look at the result before you give it to anybody.")
    failed = [entry["file"] for entry in entries if entry["status"] == "failed"]
    if failed and len(entries) > 1:
        say(f"{len(failed)} of {len(entries)} failed: {', '.join(failed)}")
    _write_summary(arguments, entries, failed)
    return _FAILED if failed else 0


def _watch(arguments: argparse.Namespace) -> int:
    entry = watch(
        arguments.inputs[0],
        _method(arguments),
        port=arguments.port,
        seconds=arguments.seconds,
        preview=arguments.preview,
    )
    _write_summary(arguments, [entry], [])
    return 0


def _write_summary(
    arguments: argparse.Namespace, entries: Sequence[Mapping[str, Any]], failed: Sequence[str]
) -> None:
    if not arguments.summary:
        return
    summary = Path(arguments.summary).expanduser()
    try:
        write_json(summary, {"files": entries, "failed": failed, "dry_run": arguments.dry_run})
    except OSError as error:
        raise DataError(f"--summary={summary} could not be written: {why(error)}") from error


def _check(arguments: argparse.Namespace) -> None:
    """Raises DataError for arguments that do not go together."""
    if bool(arguments.output) == arguments.window:
        raise DataError("say where to: --output=PATH, or --window for a live window")
    if arguments.window and len(arguments.inputs) > 1:
        raise DataError("--window shows one video, camera or URL at a time")
    if arguments.window and (arguments.keep_audio or arguments.dry_run):
        raise DataError("--keep-audio and --dry-run are for files; --window has neither")
    if bool(arguments.checkpoint) == bool(arguments.method):
        raise DataError(
            "say how to anonymize: --checkpoint=DIR of a trained anonymizer, or "
            f"--checkpoint={SMALL}, or --method={'|'.join(methods.METHODS)}"
        )
    if arguments.faces_only and not arguments.method:
        raise DataError("--faces-only is for --method=blur and --method=blacken")
    if not 0 <= arguments.smoothing < 1:
        raise DataError(f"--smoothing is {arguments.smoothing}; it has to be from 0 to below 1")
    for name, value in (("resolution", arguments.resolution), ("seconds", arguments.seconds)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise DataError(f"--{name} is {value}; it has to be above 0")


def _check_preview(arguments: argparse.Namespace, chosen: Plan) -> None:
    if arguments.preview and chosen.many and not arguments.force:
        raise DataError(
            "--preview writes raw frames, which of many files nobody would notice; add --force to "
            "do it all the same"
        )


def _method(arguments: argparse.Namespace) -> methods.Method:
    if arguments.checkpoint:
        return methods.learned(
            arguments.checkpoint,
            arguments.engine,
            arguments.resolution,
            arguments.smoothing,
            arguments.precision,
        )
    return methods.obfuscation(
        arguments.method,
        arguments.detector,
        arguments.resolution,
        arguments.smoothing,
        arguments.faces_only,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anon-jax-anonymize", description=__doc__, allow_abbrev=False
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="file, folder, pattern, camera number or URL")
    add("--output", help="a file, or a folder (new ones end with a slash)")
    add("--window", action="store_true", help="show it on a page of this machine; write nothing")
    add("--port", type=int, default=8600, help="of the page of --window; 0 = any free one")
    add("--checkpoint", help="workdir of a run, what save_anonymizer or anon_jax.export wrote, or "
        "small: the one that comes with the package")  # fmt: skip
    add("--method", choices=methods.METHODS, help="an anonymizer that needs no checkpoint")
    add("--engine", default="auto", choices=("auto", *ENGINES), help="what runs the checkpoint")
    add("--precision", choices=PRECISIONS, help="of the engine; float32 where nothing else is said")
    add("--detector", default="opencv", help="of blur and blacken: opencv, or an ONNX file besides")
    add("--faces-only", action="store_true", help="of blur and blacken: do not look for people")
    add("--resolution", type=int, help="short side at which larger frames are anonymized")
    add("--smoothing", type=float, default=0.0, help="against flicker: 0 (none) to below 1")
    add("--keep-audio", action="store_true", help="keep the sound, encoded anew")
    add("--seconds", type=float, help="how long a camera or URL is read")
    add("--overwrite", action="store_true", help="replace outputs that are there")
    add("--preview", action="store_true", help="write raw and anonymized side by side")
    add("--force", action="store_true", help="allow --preview for many files")
    add("--dry-run", action="store_true", help="say what would be done, and write nothing")
    add("--summary", help="JSON file for an account of each input")
    return parser


class _Terminated(BaseException):
    """SIGTERM: ends the command as Ctrl-C does."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


if __name__ == "__main__":
    sys.exit(main())
