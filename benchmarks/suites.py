"""The suites that compare JAX with PyTorch: what competes, in which shapes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.contestants import Case, Contestant
from benchmarks.machine import cores

_JAX, _TORCH = "benchmarks.jax_training", "benchmarks.torch_training"
_WEIGHTS = "benchmarks.workloads:write_weights"

# Largest relative difference of the losses of two successive calls. Float32 sums in another order
# move a loss by 1e-6; Adam's first updates then turn the sign of gradients near zero into full
# steps, which came to 1e-2 in f_T's loss with the batch statistics of one clip.
_LOSSES = 2e-2
# One operation: sums of up to 25,000 products of normal numbers, in another order.
_SUMS = 1e-4

Rows = Mapping[str, Mapping[str, Any]]


def peak(quick: bool) -> list[Case]:
    """Matrix products in both libraries, whose fastest is the machine's peak."""
    arguments = {"sides": (256,) if quick else (1024, 2048)}
    contestants = [
        Contestant("JAX", f"{_JAX}:peak", arguments, devices=1),
        Contestant("torch", f"{_TORCH}:peak", arguments),
    ]
    return [Case("peak", contestants, _SUMS)]


def layers(quick: bool, devices: Sequence[int]) -> list[Case]:
    """Single operations: the plain form, the best of XLA, the chosen one, torch; on one device."""
    del devices
    forms = {
        "JAX, plain form": {"plain": True, "kernels": False},
        "JAX, XLA alone": {"plain": False, "kernels": False},
        "JAX, chosen form": {"plain": False, "kernels": True},
    }
    contestants = [
        Contestant(name, "benchmarks.jax_layers:programs", {"small": quick, **form}, devices=1)
        for name, form in forms.items()
    ]
    contestants.append(Contestant("torch", "benchmarks.torch_layers:programs", {"small": quick}))
    return [Case("layers", contestants, _SUMS)]


def networks(quick: bool, devices: Sequence[int]) -> list[Case]:
    """Training steps of one network each, and f_A's forward pass."""
    size = {"size": "one_stage", "side": 16, "frames": 4} if quick else {"size": "full"}
    rows: dict[str, dict[str, Any]] = {
        "UNet++ train 8x112": {"kind": "reconstruct", "images": 8},
        "ResNet-50 train 8x112": {"kind": "contrast", "images": 4},
        "I3D train 1x16x112": {"kind": "action", "clips": 1},
        "UNet++ forward 1x224": {"kind": "anonymize", "images": 1, "side": 224},
    }
    if quick:
        rows = {"ResNet-50 train 8x112": rows["ResNet-50 train 8x112"]}
    return [
        _training(
            name, {name: {**row, **size}}, _shared(devices, row), channels_last=name[0] != "I"
        )
        for name, row in rows.items()
    ]


def minimax(quick: bool, devices: Sequence[int]) -> list[Case]:
    """The whole minimax cycle: step 1 and step 2 on 2 clips and 4 + 4 image views."""
    small = {"size": "one_stage", "side": 16, "frames": 4, "images": 2} if quick else {}
    row = {"kind": "minimax", "clips": 2, "images": 4, "size": "full", **small}
    name = "minimax cycle, 2 clips 16x112, 4+4 views"
    return [_training(name, {name: row}, [n for n in devices if n <= 2])]


def scaling(quick: bool, devices: Sequence[int]) -> list[Case]:
    """The minimax cycle of the tiny networks over batch, frames, resolution and devices."""
    base = {"kind": "minimax", "size": "tiny", "clips": 4, "images": 4, "frames": 8, "side": 32}
    first = "4 clips, 8 frames, 32x32"
    changes: dict[str, dict[str, int]] = {
        first: {},
        "2 clips": {"clips": 2, "images": 2},
        "8 clips": {"clips": 8, "images": 8},
        "4 frames": {"frames": 4},
        "16 frames": {"frames": 16},
        "64x64": {"side": 64},
        "96x96": {"side": 96},
    }
    if quick:
        base |= {"size": "one_stage", "frames": 4, "side": 16, "kind": "contrast"}
        changes = {first: {}}
    rows = {name: {**base, **change} for name, change in changes.items()}
    cases = [_training("batch, frames, resolution", rows, devices[:1])]
    return cases if quick else [*cases, _training("devices", {first: base}, devices)]


SUITES: dict[str, Callable[[bool, Sequence[int]], list[Case]]] = {
    "layers": layers,
    "networks": networks,
    "minimax": minimax,
    "scaling": scaling,
}


def default_devices() -> tuple[int, ...]:
    """One device, as many as cores, and four."""
    return tuple(sorted({1, cores(), 4}))


def _shared(devices: Sequence[int], row: Mapping[str, Any]) -> list[int]:
    """The numbers of devices that can share the row's batch evenly."""
    return [n for n in devices if not (row.get("clips", 0) or row["images"]) % n]


def _training(
    name: str, rows: Rows, devices: Sequence[int], *, channels_last: bool = False
) -> Case:
    contestants = [
        Contestant(f"JAX, {n} device{'s' * (n > 1)}", f"{_JAX}:programs", {"rows": rows}, n)
        for n in devices
    ]
    alone = {"rows": rows, "kernels": False}
    contestants.append(Contestant("JAX, XLA alone", f"{_JAX}:programs", alone, devices[0]))
    if channels_last:
        arguments = {"rows": rows, "channels_last": True}
        contestants.append(Contestant("torch, channels last", f"{_TORCH}:programs", arguments))
    contestants.append(Contestant("torch", f"{_TORCH}:programs", {"rows": rows}))
    size = next(iter(rows.values()))["size"]
    return Case(name, contestants, _LOSSES, _WEIGHTS, {"size": size})
