"""The libraries that run an exported model; each is imported when a model is opened."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from jaxtyping import UInt8

from anon_jax.export.errors import ExportError

Frames = UInt8[np.ndarray, "n h w 3"]


class Model(Protocol):
    """An opened model, for frames of a height and width that it takes."""

    def __call__(self, frames: Frames) -> Sequence[np.ndarray]:
        """All its outputs in order, the anonymized frames first."""


class OpenVinoModel:
    """A model in OpenVINO, compiled anew for each shape of frames.

    A compiled shape is 6 % faster than a dynamic one, and compiling takes half a second.

    Args:
      source: an OpenVINO or ONNX file, or the bytes of an ONNX model.
      precision: of the arithmetic; int8 is in the model, and what it leaves out runs in float32.
    """

    def __init__(self, source: Path | bytes, precision: str):
        openvino = import_openvino()
        self._core = openvino.Core()
        self._model = self._core.read_model(source)
        self._options = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",  # all cores for one batch
        }
        self._shape: tuple[int, ...] = ()
        self._request: Any = None

    def __call__(self, frames: Frames) -> Sequence[np.ndarray]:
        """All its outputs in order."""
        if frames.shape != self._shape:
            self._model.reshape(list(frames.shape))
            compiled = self._core.compile_model(self._model, "CPU", self._options)
            self._request, self._shape = compiled.create_infer_request(), frames.shape
        results = self._request.infer({0: frames})
        # Copied, for the next inference writes into the same memory.
        return [np.array(results[index]) for index in range(len(results))]


class OnnxRuntimeModel:
    """A model in onnxruntime on the CPU; `precision` is in the model.

    Args:
      source: an ONNX file, or its bytes.
    """

    def __init__(self, source: Path | bytes, precision: str):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        model = source if isinstance(source, bytes) else str(source)
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, frames: Frames) -> Sequence[np.ndarray]:
        """All its outputs in order."""
        return cast(Sequence[np.ndarray], self._session.run(None, {self._input: frames}))


class StableHloModel:
    """A program that `jax.export` wrote, on the first device; `precision` is in the program.

    Args:
      source: the file, or its bytes.
    """

    def __init__(self, source: Path | bytes, precision: str):
        import jax.export

        program = source if isinstance(source, bytes) else source.read_bytes()
        self._call = jax.jit(jax.export.deserialize(bytearray(program)).call)

    def __call__(self, frames: Frames) -> Sequence[np.ndarray]:
        """Its one output."""
        return [np.asarray(self._call(frames))]


# By keys of FORMATS.
RUNTIMES: dict[str, Callable[[Path | bytes, str], Model]] = {
    "onnx": OnnxRuntimeModel,
    "openvino": OpenVinoModel,
    "stablehlo": StableHloModel,
}


# That converting to a format and running it takes, beside JAX.
_LIBRARIES = {
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
    "stablehlo": ("flatbuffers",),
}


class Padded:
    """A model for frames of any size, each on its own, as `anon_jax.restore.Anonymizer` is.

    Args:
      model: opened.
      multiple: that it needs height and width to be of.
    """

    def __init__(self, model: Model, multiple: int):
        self._model, self._multiple = model, multiple

    def __call__(self, frames: Frames) -> Frames:
        """Pads by replicating edges, runs the model and crops.

        Raises:
          ExportError: the library cannot run it, for want of memory or whatever else it says.
        """
        height, width = frames.shape[1:3]
        below, right = -height % self._multiple, -width % self._multiple
        if below or right:
            frames = np.pad(frames, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")
        try:
            output = self._model(np.ascontiguousarray(frames))[0]
        except Exception as error:  # each library has its own
            raise ExportError(
                f"frames of {width}x{height} pixels cannot be run: {error!s:.200}"
            ) from error
        return output[:, :height, :width]


def open_model(name: str, source: Path | bytes, precision: str, multiple: int) -> Padded:
    """A model of the format `name`.

    Raises:
      ImportError: its library is not installed.
      ExportError: it cannot be read.
    """
    try:
        return Padded(RUNTIMES[name](source, precision), multiple)
    except ImportError:
        raise
    except Exception as error:  # each library has its own
        raise ExportError(f"the {name} model cannot be opened: {error!s:.200}") from error


def need_libraries(name: str) -> None:
    """Raises ImportError where something is missing that makes and runs models of a format."""
    for library in _LIBRARIES[name]:
        if importlib.util.find_spec(library) is None:
            raise ImportError(f"No module named '{library}'")


def import_openvino() -> Any:
    """The module, kept from telling its makers of the import."""
    # It sends a message at each import, from a forked process, unless this module is missing.
    sys.modules.setdefault("openvino_telemetry", cast(Any, None))
    import openvino

    return openvino
