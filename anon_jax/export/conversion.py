"""From a trained anonymizer to a model of another format, held against JAX before it is used."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8
from ml_collections import ConfigDict

from anon_jax.export.checking import check_psnr, worst_psnr
from anon_jax.export.errors import ExportError
from anon_jax.export.folder import (
    FORMATS,
    PROBE,
    Exported,
    check_combination,
    write_config,
)
from anon_jax.export.frames import drawn_frames
from anon_jax.export.runtimes import RUNTIMES, Padded, import_openvino, open_model
from anon_jax.phases import modules
from anon_jax.restore import Anonymizer, without_paths
from anon_jax.results import whole_folder
from anon_jax.state import Network
from anon_jax.steps import to_float

Image = UInt8[np.ndarray, "height width 3"]

DTYPES = {"float32": "float32", "bf16": "bfloat16"}  # precision -> that of the JAX module
_PROBE_FRAMES, _PROBE_SIDE = 2, 64
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export(
    anonymizer: Anonymizer, folder: Path, name: str, precision: str, frames: Sequence[Image]
) -> dict[str, Any]:
    """Writes a folder with a model and what is known of it, whole or not at all.

    Args:
      folder: does not exist yet.
      name: key of FORMATS.
      frames: what the model is checked on, against f_A in float32 by JAX; for int8 every second
        one calibrates it, and the others check it.

    Returns:
      What was measured: "worst" in dB, "least" allowed, and the number of "frames".

    Raises:
      ExportError: no such format in this precision, too few frames, or a model that is too far
        from JAX.
      WorkdirError: the folder is there already, or cannot be written.
      ImportError: a library is not installed.
    """
    check_combination(name, precision)
    calibrating, checking = (frames[::2], frames[1::2]) if precision == "int8" else ([], frames)
    if not checking:
        needed = "two frames: one to calibrate on, another to check" if calibrating else "a frame"
        raise ExportError(f"an export in {precision} needs at least {needed}")
    folder = folder.expanduser().absolute()
    model = functools.partial(make_model, anonymizer, name, precision, calibrating)
    with whole_folder(folder) as partial:
        file = partial / FORMATS[name].files[0]
        if name == "openvino":
            # In float32, for compressing halves a file at the price of another rounding.
            openvino = import_openvino()
            openvino.save_model(openvino.Core().read_model(model()), file, compress_to_fp16=False)
        else:
            file.write_bytes(model())
        run = open_model(name, file, precision, anonymizer.multiple)
        worst = _worst(run, anonymizer, checking)
        check_psnr(worst, precision, f"the {name} model")
        probe = np.stack(drawn_frames(_PROBE_FRAMES, _PROBE_SIDE))
        np.savez(partial / PROBE, frames=probe, anonymized=run(probe))
        facts = {"worst": round(worst, 2), "frames": len(checking)}
        multiple, trained_at = anonymizer.multiple, anonymizer.config["data"]["resolution"]
        exported = Exported(folder, name, precision, multiple, anonymizer.sha256, trained_at)
        write_config(partial, exported, facts, without_paths(anonymizer.config))
    return facts


def convert(anonymizer: Anonymizer, name: str, precision: str) -> Padded:
    """A model in memory, checked on drawn frames.

    Args:
      precision: not int8, which needs frames to calibrate on.

    Raises:
      ExportError: there is none, or it is too far from JAX.
      ImportError: a library is not installed.
    """
    check_combination(name, precision)
    model = make_model(anonymizer, name, precision, [])
    run = open_model(name, model, precision, anonymizer.multiple)
    probe = drawn_frames(_PROBE_FRAMES, _PROBE_SIDE)
    check_psnr(_worst(run, anonymizer, probe), precision, f"the {name} model")
    return run


def make_model(
    anonymizer: Anonymizer, name: str, precision: str, calibrating: Sequence[Image]
) -> bytes:
    """A StableHLO program, or an ONNX model in the form that the format's engine runs fastest."""
    if name == "stablehlo":
        return _stablehlo(in_precision(anonymizer, precision))
    from anon_jax.export.graph import build_graph
    from anon_jax.export.quantization import calibrate, quantize

    # onnxruntime runs transposed convolutions slower, in int8 at half the speed.
    graph = build_graph(_module(anonymizer), anonymizer.net, merged_upsampling=name == "openvino")
    if precision == "int8":
        padded = [_padded(frame, anonymizer.multiple) for frame in calibrating]
        ranges = calibrate(graph, padded, lambda model: RUNTIMES[name](model, "float32"))
        graph = quantize(graph, ranges, after_each_node=name == "onnx")
    return bytes(graph.SerializeToString())


def in_precision(anonymizer: Anonymizer, precision: str) -> Anonymizer:
    """The same weights in the arithmetic of a key of DTYPES, whatever they were trained in."""
    return Anonymizer(
        {**anonymizer.config, "dtype": DTYPES[precision]},
        anonymizer.net,
        folder_format=anonymizer.format,
        sha256=anonymizer.sha256,
    )


def _worst(run: Padded, anonymizer: Anonymizer, frames: Sequence[Image]) -> float:
    """The least PSNR in dB of a model's frames to those of f_A in float32 by JAX."""
    exact = in_precision(anonymizer, "float32")
    # TPUs and newer GPUs would leave out bits of float32.
    with jax.default_matmul_precision("float32"):
        return min(worst_psnr(run(frame[None]), exact(frame[None])) for frame in frames)


def _module(anonymizer: Anonymizer) -> Any:
    return modules.anonymizer(ConfigDict(anonymizer.config))


def _stablehlo(anonymizer: Anonymizer) -> bytes:
    """f_A with its weights as a program for any batch, height and width, on any device."""
    network, multiple = Network(_module(anonymizer)), anonymizer.multiple

    def run(frames: UInt8[Array, "n h w 3"]) -> UInt8[Array, "n h w 3"]:
        output, _ = network.apply(anonymizer.net, to_float(frames))
        return jnp.round(jnp.clip(output, 0, 1) * 255).astype(jnp.uint8)

    shape = jax.export.symbolic_shape(f"batch, {multiple}*rows, {multiple}*columns, 3")
    program = jax.export.export(jax.jit(run), platforms=_PLATFORMS)
    return bytes(program(jax.ShapeDtypeStruct(shape, jnp.uint8)).serialize())


def _padded(frame: Image, multiple: int) -> Image:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode="edge")
