"""What a result was made with and on: versions of packages, the checkout's commit, the machine."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

_PACKAGES = (
    "anon_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "numpy",
    "opencv-python-headless",
)
_CHECKOUT = Path(__file__).parents[1]
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def versions() -> dict[str, str]:
    """{package: version} of Python and of what computes the figures."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def machine() -> dict[str, Any]:
    """{"system", "processor", "cores", "devices": {kind: number}, "processes"} of the whole run.

    The kind of a device is what JAX calls it, e.g. "cpu" or "NVIDIA H200".
    """
    import jax  # not above: exports and saved anonymizers ask for a version, and start no JAX

    kinds = [device.device_kind for device in jax.devices()]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "devices": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "processes": jax.process_count(),
    }


def commit(checkout: Path = _CHECKOUT) -> str | None:
    """The commit of the checkout that this code runs from; None outside of one.

    Read from Git's files. Whether files were changed since is not looked at.
    """
    folder = checkout / ".git"
    try:
        if folder.is_file():  # a further worktree: "gitdir: FOLDER"
            folder = checkout / folder.read_text().removeprefix("gitdir:").strip()
        head = (folder / "HEAD").read_text().strip()
        name = head.removeprefix("ref:").strip()
        found = head if name == head else _resolve(folder, name)
    except (OSError, UnicodeDecodeError):
        return None
    return found if _HASH.fullmatch(found) else None


def _resolve(folder: Path, name: str) -> str:
    """The commit that a branch stands for, "" where it is not known."""
    common = folder / "commondir"  # branches of a further worktree are kept with the first one
    root = folder / common.read_text().strip() if common.is_file() else folder
    if (root / name).is_file():
        return (root / name).read_text().strip()
    packed = (root / "packed-refs").read_text().splitlines()
    found = [line.partition(" ")[0] for line in packed if line.endswith(f" {name}")]
    return found[0] if found else ""


def version(package: str) -> str:
    """The installed version of a package; "not installed" where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "not installed"


def processor() -> str:
    """What the CPU is called; as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # no Linux
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
