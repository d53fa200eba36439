"""The engines that run a checkpoint; another one is a row of ENGINES."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from anon_jax.errors import RunError
from input_pipeline.errors import DataError

# Pixels of a batch: eight frames of 224x224, which keep two cores busy. Larger frames come fewer at
# a time, for UNet++ holds some hundred maps of a frame's size.
_BATCH_PIXELS = 8 * 224 * 224
_MOST_FRAMES = 16


class Engine(Protocol):
    """Runs f_A; called by one thread.

    Attributes:
      name: the key in ENGINES.
      sha256: of the checkpoint's weights.
    """

    name: str
    sha256: str

    def __call__(self, frames: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n h w 3"]:
        """Anonymizes a batch of RGB frames of any size, each on its own."""


class JaxEngine:
    """f_A by JAX on its first device: always there."""

    name = "jax"

    def __init__(self, checkpoint: Path):
        from anon_jax.restore import load_anonymizer  # JAX starts here, not with --method=blur

        self._anonymizer = load_anonymizer(checkpoint)
        self.sha256 = self._anonymizer.sha256

    def __call__(self, frames: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n h w 3"]:
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


# In the order in which "auto" tries them; each raises ImportError where its library is missing.
ENGINES: dict[str, Callable[[Path], Engine]] = {"jax": JaxEngine}


def make_engine(name: str, checkpoint: Path) -> Engine:
    """The engine `name`, or the first one that is installed for "auto".

    Raises:
      DataError: it is unknown, not installed, or cannot use the checkpoint.
    """
    if name not in ("auto", *ENGINES):
        raise DataError(f"There is no engine '{name}'; known: auto, {', '.join(ENGINES)}")
    for candidate in ENGINES if name == "auto" else (name,):
        try:
            return ENGINES[candidate](checkpoint)
        except ImportError as error:
            missing = error
        except RunError as error:
            raise DataError(str(error)) from error
    raise DataError(f"The engine '{name}' is not installed: {missing}")


def batch_size(height: int, width: int) -> int:
    """How many frames of this size an engine gets at a time."""
    return max(1, min(_MOST_FRAMES, _BATCH_PIXELS // (height * width)))
