"""The engines that run a checkpoint; another one is a row of ENGINES."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from anon_jax.errors import RunError
from anon_jax.export.checking import PRECISIONS, check_psnr, worst_psnr
from anon_jax.export.errors import ExportError
from anon_jax.export.folder import FORMATS, PROBE, Exported, read_export
from anon_jax.export.runtimes import Padded, need_libraries, open_model
from input_pipeline.errors import DataError
from input_pipeline.progress import say

# Pixels of a batch: eight frames of 224x224, which keep two cores busy. Larger frames come fewer at
# a time, for UNet++ holds some hundred maps of a frame's size.
_BATCH_PIXELS = 8 * 224 * 224
_MOST_FRAMES = 16

Frames = UInt8[np.ndarray, "n h w 3"]


class Engine(Protocol):
    """Runs f_A; called by one thread.

    Attributes:
      name: the key in ENGINES.
      precision: of its arithmetic, one of PRECISIONS.
      sha256: of the checkpoint's weights.
      trained_at: pixels of the short side of the frames that f_A was trained on.
    """

    name: str
    precision: str
    sha256: str
    trained_at: int

    def __call__(self, frames: Frames) -> Frames:
        """Anonymizes a batch of RGB frames of any size, each on its own."""


class JaxEngine:
    """f_A by JAX on its first device: always there.

    Args:
      precision: float32 or bf16; None = as it was trained.
    """

    name = "jax"

    def __init__(self, checkpoint: Path, precision: str | None):
        from anon_jax.export.conversion import DTYPES, in_precision
        from anon_jax.restore import load_anonymizer  # JAX starts here, not with --method=blur

        anonymizer = load_anonymizer(checkpoint)
        names = {dtype: name for name, dtype in DTYPES.items()}
        self.precision = precision or names[anonymizer.config["dtype"]]
        self._anonymizer = in_precision(anonymizer, self.precision)
        self.sha256 = anonymizer.sha256
        self.trained_at = anonymizer.config["data"]["resolution"]

    def __call__(self, frames: Frames) -> Frames:
        """Anonymizes a batch.

        Raises:
          DataError: the device has not enough memory for it.
        """
        import jax

        try:
            return self._anonymizer(frames)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            height, width = frames.shape[1:3]
            raise DataError(
                f"the anonymizer cannot run on frames of {width}x{height} pixels (--resolution "
                f"makes them smaller): {error!s:.200}"
            ) from error


class ModelEngine:
    """f_A by a model that another library runs.

    Args:
      run: the model, checked.
    """

    def __init__(self, name: str, precision: str, sha256: str, trained_at: int, run: Padded):
        self.name, self.precision, self.sha256 = name, precision, sha256
        self.trained_at, self._run = trained_at, run

    def __call__(self, frames: Frames) -> Frames:
        """Anonymizes a batch.

        Raises:
          DataError: the library cannot run it.
        """
        try:
            return self._run(frames)
        except ExportError as error:
            raise DataError(
                f"the engine {self.name}: {error} (--resolution makes them smaller)"
            ) from error


def _onnxruntime(checkpoint: Path, precision: str | None) -> Engine:
    return _converted("onnx", checkpoint, precision)


def _openvino(checkpoint: Path, precision: str | None) -> Engine:
    return _converted("openvino", checkpoint, precision)


def _converted(name: str, checkpoint: Path, precision: str | None) -> Engine:
    """A checkpoint as a model in memory, in float32 unless something else is asked for."""
    from anon_jax.export.conversion import convert
    from anon_jax.restore import load_anonymizer

    need_libraries(name)  # before anything is read or computed in vain
    anonymizer = load_anonymizer(checkpoint)
    precision = precision or "float32"
    run = convert(anonymizer, name, precision)
    trained_at = anonymizer.config["data"]["resolution"]
    return ModelEngine(FORMATS[name].engine, precision, anonymizer.sha256, trained_at, run)


# The fastest on CPUs first; each takes a checkpoint and a precision (None = its own choice) and
# raises ImportError where its library is missing.
ENGINES: dict[str, Callable[[Path, str | None], Engine]] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "jax": JaxEngine,
}


def make_engine(name: str, checkpoint: Path, precision: str | None = None) -> Engine:
    """The engine `name`, or for "auto" the first one that is installed and agrees with JAX.

    A folder that `anon_jax.export` wrote runs as it is, by the one engine that can.

    Args:
      precision: None = that of the exported folder, or float32, by JAX as it was trained.

    Raises:
      DataError: something is unknown, not installed, or cannot be used with the checkpoint.
    """
    if name not in ("auto", *ENGINES):
        raise DataError(f"There is no engine '{name}'; known: auto, {', '.join(ENGINES)}")
    if precision not in (None, *PRECISIONS):
        raise DataError(f"There is no precision '{precision}'; known: {', '.join(PRECISIONS)}")
    try:
        exported = read_export(checkpoint)
        if exported:
            return _open_export(exported, name, precision)
        if precision == "int8":
            raise ExportError(
                "int8 has to be calibrated on frames like those that it will see: export the "
                "checkpoint by python -m anon_jax.export --format=openvino --precision=int8 "
                "--frames=FILE, and name the folder that it writes"
            )
        return _first_of(_by_speed() if name == "auto" else [name], checkpoint, precision)
    except ImportError as error:
        raise DataError(
            f"An engine is not installed: {error}; install the extra: "
            'pip install "anon_jax[engines]"'
        ) from error
    except RunError as error:
        raise DataError(str(error)) from error


def _by_speed() -> list[str]:
    """ENGINES, the fastest first."""
    import jax

    # The others run on the CPU alone.
    on_cpu = jax.default_backend() == "cpu"
    return sorted(ENGINES, key=lambda name: name == "jax" if on_cpu else name != "jax")


def _first_of(names: list[str], checkpoint: Path, precision: str | None) -> Engine:
    *others, last = names
    for name in others:
        try:
            return ENGINES[name](checkpoint, precision)
        except ImportError:
            continue
        except ExportError as error:
            say(f"the engine {name} is not used: {error}")
    return ENGINES[last](checkpoint, precision)


def _open_export(exported: Exported, name: str, precision: str | None) -> Engine:
    engine = FORMATS[exported.format].engine
    if name not in ("auto", engine):
        raise ExportError(f"{exported.folder} is for the engine {engine}, not for {name}")
    if precision not in (None, exported.precision):
        raise ExportError(f"{exported.folder} is in {exported.precision}, not in {precision}")
    run = open_model(exported.format, exported.model, exported.precision, exported.multiple)
    # Another processor may round, or saturate, in its own way.
    with np.load(exported.folder / PROBE) as probe:
        found = worst_psnr(run(probe["frames"]), probe["anonymized"])
    check_psnr(found, exported.precision, f"{exported.folder}: on this machine the model")
    return ModelEngine(engine, exported.precision, exported.sha256, exported.trained_at, run)


def batch_size(height: int, width: int) -> int:
    """How many frames of this size an engine gets at a time."""
    return max(1, min(_MOST_FRAMES, _BATCH_PIXELS // (height * width)))
