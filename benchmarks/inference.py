"""Speed of f_A by engine and precision: `python -m benchmarks.inference [--video=FILE]`.

A full-size UNet++ with random weights, whose BatchNorm statistics are those of drawn frames, so
that it behaves as a trained one does. Each engine has a process of its own, for their threads and
allocators slow each other down; they take turns, and are compared with PyTorch in float32 within
each turn. With --video the whole command runs as well: decoding, f_A, encoding.
"""

import argparse
import contextlib
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from anon_jax.anonymize.__main__ import main as anonymize
from anon_jax.anonymize.engines import batch_size
from anon_jax.export.checking import worst_psnr
from anon_jax.export.conversion import export, in_precision, make_model
from anon_jax.export.errors import ExportError
from anon_jax.export.folder import FORMATS
from anon_jax.export.frames import drawn_frames
from anon_jax.export.runtimes import Padded, open_model
from anon_jax.phases import modules
from anon_jax.restore import Anonymizer
from anon_jax.state import NetState, Network
from anon_jax.steps import to_float
from benchmarks.contestants import BenchmarkError
from benchmarks.machine import describe
from benchmarks.tables import Row, Table
from configs import base

Timed = dict[str, np.ndarray]  # name -> seconds of each round

_FLAGS = ("amx_tile", "amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni")
_TORCH = "torch float32"
_CALLS = 3  # of an engine in its turn
# Rounding to uint8 in another place is 1 of 255 here and there, about 60 dB.
_LEAST_PSNR = {"float32": 50.0, "bf16": 30.0, "int8": 20.0}


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table, and with --video a second one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference")
    add = parser.add_argument
    add("--network", default="unetpp", help="row of anon_jax.models.MODELS")
    add("--side", type=int, default=224, help="pixels of a frame's height and width")
    add("--batch", type=int, default=1, help="frames at a time")
    add("--rounds", type=int, default=7, help="that are timed, after one that is not")
    add("--video", type=Path, help="file that the whole command is timed on")
    arguments = parser.parse_args(argv)
    flags = Path("/proc/cpuinfo").read_text().split()
    print(describe())
    print("  ".join(f"{flag}: {'yes' if flag in flags else 'no'}" for flag in _FLAGS))
    anonymizer = _random_anonymizer(arguments.network)
    rows = _speeds(anonymizer, arguments.side, arguments.batch, arguments.rounds)
    print(Table("Frames a second", rows).markdown())
    if arguments.video:
        _time_command(anonymizer, arguments.video)
    return 0


def measure(quick: bool, rounds: int) -> list[Table]:
    """The suite: one frame of 224x224 at a time in every engine (quick: JAX and PyTorch alone).

    Raises:
      BenchmarkError: an engine's frames are not those of JAX in float32.
    """
    if quick:
        rows = _speeds(_random_anonymizer("unetpp_tiny"), 32, 1, rounds, (_TORCH, "jax float32"))
    else:
        rows = _speeds(_random_anonymizer("unetpp"), 224, 1, rounds)
    return [Table("UNet++, one frame at a time", rows, "Frames of JAX in float32 are the truth.")]


def _speeds(
    anonymizer: Anonymizer, side: int, batch: int, rounds: int, titles: Sequence[str] = ()
) -> list[Row]:
    """One row an engine and precision; of `titles` alone, where there are any."""
    frames = np.stack(drawn_frames(batch, side))
    with _engines(anonymizer, frames, titles) as (engines, psnr):
        return _rows(_time(engines, rounds), batch, psnr)


def _random_anonymizer(network: str) -> Anonymizer:
    """Kernels as He et al. draw them, and the statistics of their outputs on drawn frames."""
    config = base.get_config()
    config.networks.anonymizer = network
    rng = np.random.default_rng(0)
    net = Network(modules.anonymizer(ConfigDict(config)))

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = jax.tree_util.keystr(path)
        if "kernel" in name:
            kernel = rng.normal(size=leaf.shape) * (2 / np.prod(leaf.shape[:-1])) ** 0.5
            # Outputs of the contrast of pictures, not of noise from black to white.
            return jnp.asarray(kernel * (0.25 if "output_conv" in name else 1), jnp.float32)
        return jnp.full(leaf.shape, float("scale" in name))

    state: NetState = jax.tree.map_with_path(draw, net.abstract((1, 16, 16, 3)))
    frames = to_float(np.stack(drawn_frames(8, 64)))
    # Where all of them are zero, a step in training leaves a tenth of the batch's statistics.
    _, tenth = jax.jit(lambda state, frames: net.apply(state, frames, train=True))(state, frames)
    state = state.replace(batch_stats=jax.tree.map(lambda leaf: leaf * 10, tenth))
    return Anonymizer(config.to_dict(), state, folder_format=0, sha256="random")


@contextlib.contextmanager
def _engines(
    anonymizer: Anonymizer, frames: np.ndarray, titles: Sequence[str]
) -> Iterator[tuple[dict[str, Connection], dict[str, float]]]:
    """A process for each engine and precision whose library is there, and their PSNR."""
    rows = [(_TORCH, "onnx", "float32")]
    rows += [
        (f"{row.engine} {precision}", name, precision)
        for name, row in FORMATS.items()
        for precision in row.precisions
    ]
    exact = in_precision(anonymizer, "float32")(frames)
    calibrating = drawn_frames(8, 112)
    context = multiprocessing.get_context("spawn")
    engines: dict[str, Connection] = {}
    psnr: dict[str, float] = {}
    processes = []
    for title, name, precision in rows:
        if titles and title not in titles:
            continue
        try:
            model = make_model(anonymizer, name, precision, calibrating)
        except ImportError as error:
            print(f"no {title}: {error}")
            continue
        here, there = context.Pipe()
        arguments = (title, name, precision, model, anonymizer.multiple, frames, there)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        answer = here.recv()
        if isinstance(answer, str):
            print(f"no {title}: {answer}")
            continue
        psnr[title] = _checked(title, precision, worst_psnr(answer, exact))
        engines[title] = here
        processes.append(process)
    yield engines, psnr
    for connection in engines.values():
        connection.send(False)
    for process in processes:
        process.join()


def _checked(title: str, precision: str, psnr: float) -> float:
    if psnr < _LEAST_PSNR[precision]:
        raise BenchmarkError(
            f"the frames of {title} are {psnr:.1f} dB from those of JAX in float32, less than the "
            f"{_LEAST_PSNR[precision]:.0f} dB that {precision} should reach; nothing was timed"
        )
    return psnr


def _serve(
    title: str,
    name: str,
    precision: str,
    model: bytes,
    multiple: int,
    frames: np.ndarray,
    connection: Connection,
) -> None:
    """In a process of its own: sends the anonymized frames, then the seconds of each call."""
    try:
        if title == _TORCH:
            from benchmarks.torch_graph import TorchGraph

            run: TorchGraph | Padded = TorchGraph(model)
        else:
            run = open_model(name, model, precision, multiple)
    except ImportError as error:
        connection.send(str(error))
        return
    connection.send(run(frames))
    while connection.recv():
        run(frames)  # the others have taken the caches meanwhile
        start = time.perf_counter()
        for _ in range(_CALLS):
            run(frames)
        connection.send((time.perf_counter() - start) / _CALLS)


def _time(engines: dict[str, Connection], rounds: int) -> Timed:
    """Seconds of each call: the engines in turn, `rounds` times after one that is not counted."""
    seconds: dict[str, list[float]] = {title: [] for title in engines}
    for _ in range(rounds + 1):
        for title, connection in engines.items():
            connection.send(True)
            seconds[title].append(connection.recv())
    return {title: np.array(found[1:]) for title, found in seconds.items()}


def _rows(seconds: Timed, batch: int, psnr: dict[str, float]) -> list[Row]:
    rows: list[Row] = []
    for title, found in seconds.items():
        rates = batch / found
        spread = f"{np.median(rates):.1f} ({rates.min():.1f} to {rates.max():.1f})"
        row: Row = {"engine": title, "frames/s (least to most)": spread}
        if _TORCH in seconds:
            times = seconds[_TORCH] / found
            spread = f"{np.median(times):.2f} ({times.min():.2f} to {times.max():.2f})"
            row[f"times {_TORCH}"] = spread
        rows.append({**row, "dB from JAX float32": psnr[title]})
    return rows


def _time_command(anonymizer: Anonymizer, video: Path) -> None:
    """The command with exported folders, so that no time goes into checking."""
    print(f"python -m anon_jax.anonymize {video.name}:")
    frames = drawn_frames(16, 112)
    with tempfile.TemporaryDirectory() as directory:
        for name, row in FORMATS.items():
            for precision in row.precisions:
                folder = Path(directory) / f"{name}_{precision}"
                try:
                    export(anonymizer, folder, name, precision, frames)
                except (ExportError, ImportError) as error:
                    print(f"{row.engine} {precision}: {error}")
                    continue
                output, summary = folder.with_suffix(".mp4"), folder.with_suffix(".json")
                arguments = [str(video), f"--output={output}", f"--summary={summary}"]
                if anonymize([*arguments, f"--checkpoint={folder}"]):
                    continue  # it has said why
                (entry,) = json.loads(summary.read_text())["files"]
                width, height = entry["size"]
                rate = entry["frames"] / entry["seconds"]
                print(
                    f"{row.engine + ' ' + precision:24}{rate:7.1f} frames/s: {entry['frames']} "
                    f"frames of {width}x{height}, {batch_size(height, width)} at a time"
                )


if __name__ == "__main__":
    sys.exit(main())
