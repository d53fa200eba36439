"""The training steps that are timed: shapes, networks, batches and first weights, of no library."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ACTIONS = 101  # of UCF101
TEMPERATURE, BUDGET = 0.1, 0.3  # of NT-Xent and of the penalty, as published
LEARNING_RATES = {"anonymizer": 1e-3, "action": 1e-4, "privacy": 1e-4}

# kind -> the networks that it needs; what it does is said in `Workload`.
KINDS = {
    "anonymize": ("anonymizer",),
    "reconstruct": ("anonymizer",),
    "action": ("action",),
    "contrast": ("privacy",),
    "minimax": ("anonymizer", "action", "privacy"),
}
_ONE_STAGE: dict[str, Any] = {"stage_sizes": (1,), "width": 4}
# size -> (row of anon_jax.models.MODELS, attributes) of each network.
SIZES: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "full": {
        "anonymizer": ("unetpp", {}),
        "action": ("i3d_resnet50", {}),
        "privacy": ("resnet50", {}),
    },
    "tiny": {
        "anonymizer": ("unetpp_tiny", {}),
        "action": ("i3d_tiny", {}),
        "privacy": ("resnet_tiny", {}),
    },
    "one_stage": {  # compiles fast, for tests of the benchmarks
        "anonymizer": ("unetpp_tiny", {**_ONE_STAGE, "decoder_channels": (4, 4)}),
        "action": ("i3d_tiny", {**_ONE_STAGE, "temporal_marks": ((1,),)}),
        "privacy": ("resnet_tiny", _ONE_STAGE),
    },
}


@dataclasses.dataclass(frozen=True)
class Workload:
    """One program.

    Attributes:
      kind: "anonymize" (f_A's forward pass, evaluation), or a training step of f_A ("reconstruct"),
        f_T ("action") or f_B ("contrast"), or the cycle of both minimax steps ("minimax").
      size: "full" or "tiny" or "one_stage" networks, see `SIZES`.
      clips, frames: clips of a batch, and their frames (f_T, minimax).
      images: single frames of a batch (anonymize, reconstruct), or pairs of views (contrast,
        minimax).
      side: of the square frames.
      dtype: of the activations.
      remat: what JAX's networks compute again, see `anon_jax.models.remat`.
    """

    kind: str
    size: str = "full"
    clips: int = 0
    frames: int = 16
    images: int = 0
    side: int = 112
    dtype: str = "float32"
    remat: str = "none"

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of the networks that it needs."""
        return KINDS[self.kind]


def make_batch(workload: Workload) -> dict[str, Any]:
    """uint8 noise and labels, as the input pipeline delivers them."""
    rng = np.random.default_rng(1)

    def pixels(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, (*shape, workload.side, workload.side, 3), np.uint8)

    clip = {
        "frames": pixels(workload.clips, workload.frames),
        "action": (np.arange(workload.clips) % ACTIONS).astype(np.int32),
    }
    image = {"image": pixels(workload.images), "view_b": pixels(workload.images)}
    if workload.kind == "minimax":
        return {"clip": clip, "image": image}
    return clip if workload.kind == "action" else image


def example_shapes(workload: Workload) -> dict[str, tuple[int, ...]]:
    """Shapes of one input of each network."""
    image = (1, workload.side, workload.side, 3)
    return {"anonymizer": image, "action": (1, workload.frames, *image[1:]), "privacy": image}


def write_weights(folder: Path, *, size: str) -> None:
    """weights.npz: "anonymizer/params/stem_conv/kernel" and so on, of all networks of a size.

    Kernels are drawn as by He et al. 2015 (arXiv 1502.01852); scales of 0.5 keep the sums of the
    residual blocks from growing in evaluation, where these statistics are not the batches' own.
    """
    import jax

    from benchmarks.jax_training import make_networks

    rng = np.random.default_rng(0)
    workload = Workload("minimax", size=size, frames=16, side=64)
    arrays: dict[str, Any] = {}
    for name, network in make_networks(workload).items():
        state = network.abstract(example_shapes(workload)[name])
        for collection in ("params", "batch_stats"):
            leaves = jax.tree_util.tree_leaves_with_path(getattr(state, collection))
            for path, leaf in leaves:
                key = "/".join([name, collection, *(part.key for part in path)])
                arrays[key] = _draw(key, leaf.shape, rng)
    np.savez(folder / "weights.npz", **arrays)


def read_weights(folder: Path, name: str) -> dict[str, Any]:
    """{"params": tree, "batch_stats": tree} of one network."""
    found: dict[str, Any] = {"params": {}, "batch_stats": {}}
    with np.load(folder / "weights.npz") as arrays:
        for key in arrays:
            first, *path, last = key.split("/")
            if first == name:
                tree = found
                for part in path:
                    tree = tree.setdefault(part, {})
                tree[last] = arrays[key]
    return found


def check_finite(metrics: Mapping[str, float]) -> None:
    """Raises ValueError for a loss that is no number: then nothing would be compared."""
    bad = [name for name, value in metrics.items() if not np.isfinite(value)]
    if bad:
        raise ValueError(f"{', '.join(bad)}: not finite")


def compared_losses(
    workload: Workload, calls: Sequence[Mapping[str, float]]
) -> dict[str, np.ndarray]:
    """The losses of successive calls by which two libraries are held to the same arithmetic.

    Those of later calls depend on the gradients before. Of the minimax cycle's second step the
    first call's count alone: f_T's and f_B's gradients show in the later calls' first step, which
    judges both with running statistics, and there agree to 2e-4. With the statistics of two clips
    f_T's own loss after one update came to 4.27, 4.31 and 4.46 in three forms of the same
    convolutions, for Adam makes full steps of gradients that are zero but for rounding.

    Raises:
      ValueError: a loss is not finite.
    """
    for metrics in calls:
        check_finite(metrics)
    chaotic = ("action/", "privacy/") if workload.kind == "minimax" else ()
    return {
        name: np.array(
            [metrics[name] for metrics in calls[: 1 if name.startswith(chaotic) else None]]
        )
        for name in calls[0]
    }


def _draw(key: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    last = key.rpartition("/")[2]
    if last == "kernel":
        spread = (2 / np.prod(shape[:-1])) ** 0.5
        return (spread * rng.standard_normal(shape)).astype(np.float32)
    return np.full(shape, {"scale": 0.5, "var": 1.0}.get(last, 0.0), np.float32)
