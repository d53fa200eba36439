"""The folder of an exported model: what may be in it, how it is written, and read without JAX."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from anon_jax.export.errors import ExportError
from anon_jax.manifest import sha256
from anon_jax.provenance import version
from anon_jax.results import write_json

VERSION = 1  # of the folder; a change that this code could not read raises it
PROBE = "probe.npz"  # drawn frames, and what the model made of them where it was exported
_CONFIG = "config.json"


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of model file.

    Attributes:
      files: in the folder; the first one is what an engine opens.
      engine: row of `anon_jax.anonymize.engines.ENGINES` that runs it.
      precisions: that it can have.
    """

    files: tuple[str, ...]
    engine: str
    precisions: tuple[str, ...]


# onnxruntime has no bf16 kernels for CPUs, and StableHLO no standard for int8 that JAX writes.
FORMATS = {
    "onnx": Format(("model.onnx",), "onnxruntime", ("float32", "int8")),
    "openvino": Format(("model.xml", "model.bin"), "openvino", ("float32", "bf16", "int8")),
    "stablehlo": Format(("model.stablehlo",), "jax", ("float32", "bf16")),
}


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported folder whose files are those that its config.json was written for.

    Attributes:
      folder: absolute.
      format: key of FORMATS.
      precision: of the model.
      multiple: that height and width of its frames have to be of.
      sha256: of the checkpoint's weights.
      trained_at: pixels of the short side of the frames that f_A was trained on.
    """

    folder: Path
    format: str
    precision: str
    multiple: int
    sha256: str
    trained_at: int

    @property
    def model(self) -> Path:
        """What an engine opens."""
        return self.folder / FORMATS[self.format].files[0]


def check_combination(name: str, precision: str) -> None:
    """Raises ExportError, with all that there is, for a format that is not there in a precision."""
    if name not in FORMATS or precision not in FORMATS[name].precisions:
        known = "; ".join(f"{key}: {', '.join(row.precisions)}" for key, row in FORMATS.items())
        raise ExportError(f"There is no export as {name} in {precision}; there is {known}")


def read_export(folder: Path) -> Exported | None:
    """The exported folder at this place; None where there is none (but maybe a checkpoint).

    Raises:
      ExportError: it is of a newer version, or damaged.
    """
    folder = folder.expanduser().absolute()
    stored = _stored(folder)
    if stored is None:
        return None
    version = stored.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise ExportError(
            f"{folder} is an export of version {version}, and this version of anon_jax reads up to "
            f"{VERSION}: update anon_jax, or export the checkpoint again"
        )
    again = "; export the checkpoint again"
    try:
        name, precision, hashes = stored["format"], stored["precision"], stored["files"]
        check_combination(name, precision)
        found = Exported(
            folder,
            name,
            precision,
            stored["multiple"],
            stored["checkpoint"],
            stored["config"]["data"]["resolution"],
        )
        for file in (*FORMATS[name].files, PROBE):
            if sha256(folder / file) != hashes[file]:
                raise ExportError(
                    f"{folder}: {file} is not the file that config.json was written for{again}"
                )
    except (KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{folder}/{_CONFIG} is damaged: {error!r}{again}") from error
    except OSError as error:
        raise ExportError(f"{folder}: {error.filename} cannot be read{again}") from error
    return found


def write_config(
    folder: Path, exported: Exported, psnr: dict[str, Any], config: dict[str, Any]
) -> None:
    """Writes config.json beside the other files, with their hashes.

    Args:
      psnr: what was measured, and on which frames.
      config: of the run that trained the anonymizer, without its paths.
    """
    files = (*FORMATS[exported.format].files, PROBE)
    facts = {
        "version": VERSION,
        "anon_jax": version("anon_jax"),
        "format": exported.format,
        "precision": exported.precision,
        "multiple": exported.multiple,
        "checkpoint": exported.sha256,
        "psnr": psnr,
        "files": {file: sha256(folder / file) for file in files},
        "config": config,
    }
    write_json(folder / _CONFIG, {"export": facts})


def _stored(folder: Path) -> dict[str, Any] | None:
    """What config.json says of an export; what is wrong with others is for their readers to say."""
    try:
        stored = json.loads((folder / _CONFIG).read_text())
    except (OSError, ValueError):
        return None
    found = stored.get("export") if isinstance(stored, dict) else None
    return found if isinstance(found, dict) else None
