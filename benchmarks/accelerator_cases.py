"""What `benchmarks.accelerator` measures, a function a case; each runs in a process of its own.

A case yields rows of figures: what it has yielded is kept, should a later size fail.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import Row
from benchmarks.workloads import Workload

_CALLS, _TURNS = 3, 5
# Peak of dense bf16 products that is taken for an H200 (a power-limited card; 989 published).
PEAK = 790e12
_PAIRS_OF_VIEWS = 2


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes of a whole measurement.

    Attributes:
      cycle: the minimax cycle that the others vary.
      most_clips: where the doubling of the batch ends at the latest.
      frames: of the clips, for the table over frames.
      side: of the square matrices whose product tells what the device can do.
      torch_device: "cuda", or "cpu" to try the twin without one.
    """

    cycle: Workload
    most_clips: int
    frames: tuple[int, ...]
    side: int
    torch_device: str


FULL = Plan(
    Workload("minimax", clips=8, images=8, side=224, dtype="bfloat16"), 256, (8, 32), 8192, "cuda"
)
TINY = Plan(
    Workload("minimax", "one_stage", clips=2, frames=4, images=2, side=16, dtype="bfloat16"),
    *(4, (8,), 64, "cpu"),
)


def prepare(folder: Path, plan: Plan) -> Iterator[Row]:
    """First weights of the networks, on the host."""
    from benchmarks.workloads import write_weights

    write_weights(folder, size=plan.cycle.size)
    yield {"weights": "written"}


def device(folder: Path, plan: Plan) -> Iterator[Row]:
    """What JAX sees, and its fastest bf16 matrix product."""
    del folder
    import jax
    import jax.numpy as jnp

    found = jax.devices()[0]
    matrix = jnp.ones((plan.side, plan.side), jnp.bfloat16)
    product = jax.jit(jnp.matmul)
    seconds = _median_seconds(lambda: product(matrix, matrix).block_until_ready())
    limit = (found.memory_stats() or {}).get("bytes_limit", 0)
    yield {
        "device": f"{found.device_kind} ({found.platform}), jax {jax.__version__}",
        "devices": float(len(jax.devices())),
        "memory that JAX may use, GiB": limit / 2**30,
        "matmul bf16, TFLOP/s": 2 * plan.side**3 / seconds / 1e12,
    }


def cycle(folder: Path, plan: Plan) -> Iterator[Row]:
    """The cycle in JAX: uint8 in, activations in bf16, the state's buffers donated."""
    yield _measured(folder, plan.cycle)


def torch_cycle(folder: Path, plan: Plan) -> Iterator[Row]:
    """The same cycle in torch: automatic mixed precision in bf16, channels last."""
    try:
        import torch
    except ImportError:
        yield {"skipped": "torch is not installed: pip install 'anon_jax[bench]'"}
        return
    if plan.torch_device == "cuda" and not torch.cuda.is_available():
        yield {"skipped": f"torch {torch.__version__} sees no CUDA device"}
        return
    from benchmarks.torch_training import Training

    torch.backends.cudnn.benchmark = True
    name = plan.torch_device
    training = Training(folder, plan.cycle, device=name, channels_last=True)
    first = training.losses(calls=1)
    seconds = _median_seconds(training.wait)
    row: Row = {**_sizes(plan.cycle), "ms": 1e3 * seconds, "torch": torch.__version__}
    if name == "cuda":
        row["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
    yield row | {key: float(value[0]) for key, value in first.items()}


def equality(folder: Path, plan: Plan) -> Iterator[Row]:
    """Losses of two cycles in bf16 against float32 of full precision, on two clips."""
    import jax

    from benchmarks.contest import difference
    from benchmarks.jax_training import Training

    jax.config.update("jax_default_matmul_precision", "float32")  # no TF32 for the reference
    small = dataclasses.replace(
        plan.cycle, clips=2, images=_PAIRS_OF_VIEWS, side=min(112, plan.cycle.side)
    )
    exact = Training(folder, dataclasses.replace(small, dtype="float32")).losses()
    halves = Training(folder, small).losses()
    for name, wanted in exact.items():
        error = difference(halves[name], wanted)
        # bf16 keeps 8 bits: 0.4 % a rounding, which average out over a layer but not over layers.
        yield {
            "loss": name,
            "float32": float(wanted[-1]),
            "bf16": float(halves[name][-1]),
            "difference": error,
            "within 5 %": "yes" if error <= 0.05 else "NO",
        }


def batches(folder: Path, plan: Plan, remat: str) -> Iterator[Row]:
    """Twice the batch again and again, until the device's memory is full."""
    clips = 2
    while clips <= plan.most_clips:
        workload = dataclasses.replace(plan.cycle, clips=clips, images=clips, remat=remat)
        try:
            yield _measured(folder, workload)
        except Exception as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            yield {**_sizes(workload), "ms": "out of memory"}
            return
        clips *= 2


def frames(folder: Path, plan: Plan) -> Iterator[Row]:
    """Longer and shorter clips."""
    for count in plan.frames:
        yield _measured(folder, dataclasses.replace(plan.cycle, frames=count))


def _measured(folder: Path, workload: Workload) -> Row:
    import jax

    from benchmarks.jax_training import Training, facts

    start = time.perf_counter()
    training = Training(folder, workload)
    compiling = time.perf_counter() - start
    first = training.losses(calls=1)
    seconds = _median_seconds(lambda: training.run(_CALLS)) / _CALLS
    stats = jax.devices()[0].memory_stats() or {}
    return {
        **_sizes(workload),
        "ms": 1e3 * seconds,
        "clips/s": workload.clips / seconds,
        "TFLOP": training.flop / 1e12,
        "floor ms": 1e3 * training.flop / PEAK,
        "share of the floor": f"{training.flop / PEAK / seconds:.0%}",
        "temporaries GiB": facts(training.compiled)["temp_mib"] / 2**10,
        "peak GiB": stats.get("peak_bytes_in_use", 0) / 2**30,
        "s to compile": compiling,
        **{name: float(value[0]) for name, value in first.items()},
    }


def _sizes(workload: Workload) -> Row:
    return {
        "clips": float(workload.clips),
        "frames": float(workload.frames),
        "side": float(workload.side),
        "pairs of images": float(workload.images),
        "remat": workload.remat,
    }


def _median_seconds(function: Callable[[], Any]) -> float:
    function()
    found = []
    for _ in range(_TURNS):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return float(np.median(found))
