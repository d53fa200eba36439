"""Phase "evaluate_frames": how much the frames flicker and change, and what anonymizing costs."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from anon_jax import distributed
from anon_jax.image_metrics import flicker, psnr, ssim
from anon_jax.models.direct import xla_forms
from anon_jax.phases import minimax, modules, setup, streams
from anon_jax.phases.datasets import make_obfuscator
from anon_jax.results import has_result, write_result
from anon_jax.sharding import to_host
from anon_jax.state import NetState, Network
from anon_jax.steps import anonymize
from anon_jax.writers import save_comparison
from input_pipeline.obfuscation import RAW, Frame, Obfuscator
from input_pipeline.records import Record, RecordSource

NAME = "evaluate_frames"
_PICTURED = 8  # frames in samples/frames-METHOD.png
_TIMED_CALLS = 7  # whose median is reported: three slow ones change nothing


class Clip(NamedTuple):
    """A clip before and after, float32 [T, H, W, 3] in [0, 1].

    `distinct` of its frames are different ones; a short video repeats the last.
    """

    raw: np.ndarray
    anonymized: np.ndarray
    distinct: int


def run(run: setup.Run) -> None:
    """Measures each evaluated method that has no result yet; nothing is trained.

    One device does it, of the first process where there are several.
    """
    for method in run.evaluated:
        if not has_result(run.workdir, method, "frames"):
            found = distributed.first(functools.partial(_evaluate, run, method, _net(run, method)))
            write_result(run.workdir, method, "frames", found)


def _net(run: setup.Run, method: str) -> NetState | None:
    """The method's f_A as NumPy arrays; None where it learns none."""
    if not setup.is_learned(method):
        return None
    return to_host(setup.load_net(run, minimax.NAME, "anonymizer", _network(run)))


def _network(run: setup.Run) -> Network:
    return Network(modules.anonymizer(run.config), scrambled=run.config.compat.scrambled_frames)


def _evaluate(run: setup.Run, method: str, net: NetState | None) -> dict[str, Any]:
    """The clip in the middle of test videos that are spread evenly over the split.

    Leaves a picture of some first frames, raw above anonymized, in samples/.
    """
    spec = run.datasets.attack_videos
    source = RecordSource(spec, spec.test_split)
    obfuscator = make_obfuscator(run.config, method, spec)
    records = _spread(len(source), run.config[NAME].videos)
    if net:
        call, cost = _learned(run, net, _clip(run, source[records[0]], RAW))
    else:
        call, cost = None, _obfuscation_cost(run, source[records[0]], obfuscator)

    def clips() -> Iterator[Clip]:
        for index in records:
            record = source[index]
            raw = _clip(run, record, RAW)
            changed = call(raw) if call else _clip(run, record, obfuscator)
            yield Clip(raw, changed, min(len(record.frames), len(raw)))

    pictured: list[Clip] = []
    found = summarise(_noting(clips(), pictured))
    # [N, H, W, 3] each
    rows = [
        np.stack([clip.raw[0] for clip in pictured]),
        np.stack([clip.anonymized[0] for clip in pictured]),
    ]
    save_comparison(run.workdir / "samples" / f"frames-{method}.png", rows)
    return {**found, "split": spec.test_split, **obfuscator.facts(), "cost": cost}


def _noting(clips: Iterator[Clip], first: list[Clip]) -> Iterator[Clip]:
    """Passes clips on and keeps the first ones, for the picture."""
    for clip in clips:
        if len(first) < _PICTURED:
            first.append(clip)
        yield clip


def summarise(clips: Iterator[Clip]) -> dict[str, Any]:
    """What the frames have become, ready for JSON.

    Returns:
      "videos", "frames": how many; "flicker", "raw_flicker": means over the clips in which
      something stands still, None where there is no such clip; "distance": RMS of a clip's change,
      mean over the clips; "psnr" in dB, mean over the frames that changed, None where none did;
      "ssim", mean over all frames.
    """
    measured, psnrs, ssims = [], [], []
    for raw, changed, distinct in clips:
        distance = float(np.sqrt(np.mean((changed - raw) ** 2, dtype=np.float64)))
        # A repeated frame changes nothing, which is no merit of the anonymizer.
        measured.append((distance, *_flickers(changed[:distinct], raw[:distinct])))
        psnrs.append(psnr(changed, raw))
        ssims.append(ssim(changed, raw))
    distances, flickers, raw_flickers = np.asarray(measured).T
    frames = np.concatenate(psnrs)
    return {
        "videos": len(measured),
        "frames": len(frames),
        "flicker": _mean_of_finite(flickers),
        "raw_flicker": _mean_of_finite(raw_flickers),
        "distance": float(distances.mean()),
        "psnr": _mean_of_finite(frames),
        "ssim": float(np.concatenate(ssims).mean()),
    }


def _flickers(changed: np.ndarray, raw: np.ndarray) -> tuple[float, float]:
    """Flicker of the anonymized and of the raw clip; NaN of a single frame."""
    if len(raw) < 2:
        return float("nan"), float("nan")
    return flicker(changed, raw), flicker(raw, raw)


def _mean_of_finite(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None


def _spread(available: int, wanted: int) -> list[int]:
    """Indices of at most `wanted` records, spread evenly; a single one lies in the middle."""
    count = min(available, wanted)
    return ((np.arange(count) + 0.5) * available / count).astype(int).tolist()


def _clip(run: setup.Run, record: Record, obfuscator: Obfuscator) -> np.ndarray:
    """The clip in the middle of a video, float32 [T, H, W, 3] in [0, 1]."""
    frames = streams.evaluation_clip(run, obfuscator).map((record, 0.5, 0.5))["frames"]
    return frames.astype(np.float32) / 255


def _learned(
    run: setup.Run, net: NetState, example: np.ndarray
) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any]]:
    """f_A, clip by clip on one device, and its cost; the time is that of clips on the device."""
    networks = {"anonymizer": _network(run)}
    net = jax.device_put(net)

    def lower(net: NetState, clips: jax.Array) -> jax.stages.Lowered:
        function = jax.jit(lambda net, clips: anonymize(networks, {"anonymizer": net}, clips))
        return function.lower(net, clips)

    clips = jax.device_put(example[None])  # [T, H, W, 3] -> [1, T, H, W, 3]
    compiled = lower(net, clips).compile()
    num_frames = len(example)
    with xla_forms():  # it counts no operations of others' kernels
        flops = (lower(net, clips).cost_analysis() or {}).get("flops")
    seconds = _median_seconds(lambda: jax.block_until_ready(compiled(net, clips)))
    cost = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(net.params)),
        "gflops_per_frame": flops / num_frames / 1e9 if flops else None,
        "ms_per_frame": 1000 * seconds / num_frames,
        "frames_per_call": num_frames,
        "backend": jax.default_backend(),
    }
    return lambda clip: to_host(compiled(net, clip[None]))[0], cost


def _obfuscation_cost(run: setup.Run, record: Record, obfuscator: Obfuscator) -> dict[str, Any]:
    """That of an obfuscator on decoded frames, without the search for boxes; zeros for raw."""
    cost: dict[str, Any] = {"parameters": 0, "gflops_per_frame": 0.0, "ms_per_frame": 0.0}
    if obfuscator is not RAW:
        timed = _TimedObfuscator(obfuscator.obfuscation, obfuscator.boxes)

        def seconds_of_a_clip() -> float:
            timed.seconds.clear()
            _clip(run, record, timed)
            return sum(timed.seconds)

        seconds_of_a_clip()  # warms the caches
        seconds = statistics.median(seconds_of_a_clip() for _ in range(_TIMED_CALLS))
        num_frames = run.config.data.num_frames
        cost |= {"gflops_per_frame": None, "ms_per_frame": 1000 * seconds / num_frames}
    return {**cost, "frames_per_call": 1, "backend": "cpu"}


@dataclasses.dataclass(frozen=True)
class _TimedObfuscator(Obfuscator):
    """One that notes the seconds that each of its calls takes."""

    seconds: list[float] = dataclasses.field(default_factory=list)

    def stored(self, frame: Frame, record: Record, position: int) -> Frame:
        return self._timed(lambda: super(_TimedObfuscator, self).stored(frame, record, position))

    def seen(self, frame: Frame) -> Frame:
        return self._timed(lambda: super(_TimedObfuscator, self).seen(frame))

    def _timed(self, call: Callable[[], Frame]) -> Frame:
        start = time.perf_counter()
        result = call()
        self.seconds.append(time.perf_counter() - start)
        return result


def _median_seconds(call: Callable[[], Any]) -> float:
    """Of `_TIMED_CALLS` calls, after one that is not timed."""
    call()
    seconds = []
    for _ in range(_TIMED_CALLS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
