"""Converts weights: python -m anon_jax.convert FILE --network=action --output=DIR.

FILE is a .pth, .pt, .ckpt or .safetensors of PyTorch, DIR what `config.init_from` names.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from anon_jax.convert.conversion import NETWORKS, convert, summary
from anon_jax.convert.errors import ConvertError
from anon_jax.models.unetpp import OUTPUT_ACTIVATIONS


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script; 1 where nothing was written, with a sentence."""
    given = _parser().parse_args(arguments)
    try:
        found = convert(
            given.file,
            given.network,
            given.output,
            prefix=given.prefix,
            arch=given.arch,
            overwrite=given.overwrite,
            output_activation=given.output_activation,
            resolution=given.resolution,
        )
    except ConvertError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error}; nothing was written")
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
    print(summary(found, given.output))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m anon_jax.convert",
        description="Converts weights of PyTorch into a folder for config.init_from.",
    )
    parser.add_argument("file", type=Path, help=".pth, .pt, .ckpt or .safetensors")
    parser.add_argument("--network", required=True, choices=NETWORKS, help="what it becomes")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="a new folder")
    parser.add_argument("--prefix", default="", help="what the keys begin with, other than module.")
    parser.add_argument(
        "--arch", default="", help="row of anon_jax.models.MODELS; found by the file's blocks"
    )
    parser.add_argument(
        "--output-activation",
        choices=tuple(OUTPUT_ACTIVATIONS),
        default="identity",
        help="of an anonymizer: what stands after its last convolution (default: identity)",
    )
    parser.add_argument(
        "--resolution",
        type=int,
        default=224,
        metavar="PIXELS",
        help="short side of the frames that an anonymizer was trained on (default: 224)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a converted folder")
    return parser


if __name__ == "__main__":
    main()
