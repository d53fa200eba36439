"""Exports an anonymizer: python -m anon_jax.export --checkpoint=DIR --output=DIR --format=openvino.

The model is held against JAX on frames, and nothing is written where it differs too much.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from anon_jax.errors import RunError
from anon_jax.export.checking import LEAST_PSNR, PRECISIONS
from anon_jax.export.folder import FORMATS, check_combination
from anon_jax.export.frames import drawn_frames, frames_of_files
from input_pipeline.errors import DataError

_DRAWN, _DRAWN_SIDE = 16, 112  # images to check on, where no files are given


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script; exit code 1 where nothing was written, with a sentence."""
    given = _parser().parse_args(arguments)
    try:
        print(_run(given))
    except (RunError, DataError) as error:
        sys.exit(f"error: {error}; nothing was written")
    except ImportError as error:
        extra = 'install the extra: pip install "anon_jax[engines]"'
        sys.exit(f"error: {error}; {extra}; nothing was written")
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")


def _run(given: argparse.Namespace) -> str:
    check_combination(given.format, given.precision)
    # Not above: JAX takes seconds to start, and a wrong argument should be told at once.
    from anon_jax.export.conversion import export
    from anon_jax.restore import load_anonymizer

    anonymizer = load_anonymizer(given.checkpoint)
    frames = frames_of_files(given.frames) or drawn_frames(_DRAWN, _DRAWN_SIDE)
    found = export(anonymizer, given.output, given.format, given.precision, frames)
    on = "frames of the files" if given.frames else "drawn frames"
    return (
        f"{given.output}: {given.format}, {given.precision}. The worst of {found['frames']} {on} "
        f"is {found['worst']:.1f} dB from JAX in float32 (allowed: "
        f"{LEAST_PSNR[given.precision]:.0f}).\npython -m anon_jax.anonymize VIDEO --output=OUTPUT "
        f"--checkpoint={given.output}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anon-jax-export", description=__doc__, allow_abbrev=False
    )
    add = parser.add_argument
    add("--checkpoint", required=True, help="workdir of a run, or what save_anonymizer wrote")
    add("--output", required=True, type=Path, metavar="DIR", help="a new folder")
    add("--format", required=True, choices=FORMATS, help="of the model")
    add("--precision", default="float32", choices=PRECISIONS, help="of its arithmetic")
    add(
        "--frames",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="video or image to calibrate and check on, any number of times; else drawn figures",
    )
    return parser


if __name__ == "__main__":
    main()
