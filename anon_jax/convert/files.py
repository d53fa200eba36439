"""Reads the tensors of a weight file, and runs nothing that is in it."""

import collections
import dataclasses
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anon_jax.convert.errors import ConvertError

# The parts of a checkpoint of the published code, by our names of the networks.
PUBLISHED = {
    "anonymizer": "fa_model_state_dict",
    "action": "ft_model_state_dict",
    "privacy": "fb_model_state_dict",
}
# Where other training programs keep the parameters in their checkpoints.
_CONTAINERS = ("state_dict", "model_state_dict", "model")
_WRAPPER = "module."  # of torch's DataParallel and DistributedDataParallel
_INSTALL = 'install the extra: pip install "anon_jax[convert]"'


@dataclasses.dataclass(frozen=True)
class Source:
    """What a file holds of one network.

    Attributes:
      tensors: by key, less the prefixes; float32 where they were floating.
      part: key of the mapping they stood in; "" = the file itself.
      ignored: other keys -> why they are not used.
    """

    tensors: dict[str, np.ndarray]
    part: str
    ignored: dict[str, str]

    @property
    def published(self) -> bool:
        """Whether the published code wrote the file."""
        return self.part in PUBLISHED.values()


def read_source(path: Path, network: str, prefix: str = "") -> Source:
    """Reads what `path` has of a network.

    Args:
      network: which part of a checkpoint of the published code.
      prefix: that the keys begin with; others are ignored. "module." need not be given.

    Raises:
      ConvertError: there is no such file, it is of no known kind, it holds more than tensors, or
        has nothing of the network.
    """
    if not path.is_file():
        raise ConvertError(f"There is no file {path}")
    if path.suffix not in _READERS:
        raise ConvertError(f"{path}: the name has to end in {', '.join(_READERS)}")
    content = _READERS[path.suffix](path)
    part, state = _part(path, content, network)
    ignored = {key: f"beside {part}" for key in content if part and key != part}
    if prefix:
        state, outside = _without_prefix(path, state, f"{prefix.rstrip('.')}.")
        ignored |= dict.fromkeys(outside, f"outside --prefix={prefix}")
    if state and all(key.startswith(_WRAPPER) for key in state):
        state = {key.removeprefix(_WRAPPER): value for key, value in state.items()}
    tensors = {}
    for key, value in state.items():
        if hasattr(value, "detach"):
            tensors[key] = _array(path, key, value)
        else:
            ignored[key] = "no tensor"
    if not tensors:
        raise ConvertError(
            f"{path}: no tensors, but {_listed(content)}. What is wanted is a state_dict, alone or "
            f"under one of {', '.join((*PUBLISHED.values(), *_CONTAINERS))}"
        )
    return Source(tensors, part, ignored)


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        import torch
    except ImportError:
        raise ConvertError(f"{path} needs torch to be read; {_INSTALL}") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if not wanted:
            raise ConvertError(f"{path} is no file that torch can read, or is damaged") from None
        raise ConvertError(
            f"{path} holds more than tensors: reading it would run {wanted[1]}, so it was not "
            "read. Where it can be trusted, save the parameters alone, with "
            "torch.save(model.state_dict(), FILE) or safetensors, and convert that file"
        ) from None
    except (RuntimeError, EOFError, KeyError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise ConvertError(
            f"{path} is no file that torch can read, or is damaged: {first}"
        ) from None
    if not isinstance(content, Mapping):
        raise ConvertError(f"{path} holds a {type(content).__name__}, and no state_dict")
    return {str(key): value for key, value in content.items()}


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        import safetensors
        from safetensors.torch import load_file
    except ImportError:
        raise ConvertError(f"{path} needs torch and safetensors to be read; {_INSTALL}") from None
    try:
        return load_file(path)
    except (safetensors.SafetensorError, ValueError) as error:
        raise ConvertError(f"{path} is no safetensors file, or is damaged: {error}") from None


_READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".ckpt": _read_torch,
    ".safetensors": _read_safetensors,
}


def _part(path: Path, content: Mapping[str, Any], network: str) -> tuple[str, Mapping[str, Any]]:
    """The mapping that has the network's parameters, and its key in the file."""
    known = [name for name in PUBLISHED.values() if name in content]
    if known and PUBLISHED[network] not in content:
        others = [name for name, part in PUBLISHED.items() if part in content]
        raise ConvertError(
            f"{path} is a checkpoint of the published code without {PUBLISHED[network]}, which "
            f"--network={network} is read from; it has {', '.join(known)}, for --network="
            f"{' or '.join(others)}"
        )
    for name in (PUBLISHED[network], *_CONTAINERS):
        if isinstance(content.get(name), Mapping):
            return name, content[name]
    return "", content


def _without_prefix(
    path: Path, state: Mapping[str, Any], prefix: str
) -> tuple[dict[str, Any], list[str]]:
    """The entries below the prefix, less it, and the other keys."""
    inside = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    if not inside:
        raise ConvertError(f"{path}: no key begins with {prefix}; there are {_listed(state)}")
    return inside, [key for key in state if not key.startswith(prefix)]


def _array(path: Path, key: str, tensor: Any) -> np.ndarray:
    """A tensor as an array; floating ones as float32.

    Raises ConvertError for a value that is not finite.
    """
    tensor = tensor.detach()
    array: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if not np.isfinite(array).all():
        raise ConvertError(f"{path}: {key} has values that are not finite")
    return array


def _listed(state: Mapping[str, Any]) -> str:
    """How the keys begin: "encoder. (122 keys), epoch"."""
    counts = collections.Counter(key.partition(".")[0] for key in state)
    parts = [f"{name}. ({n} keys)" if n > 1 else name for name, n in counts.most_common(8)]
    return ", ".join(parts) or "nothing"
