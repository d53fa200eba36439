"""The input pipeline beside torch's DataLoader, which runs the same decoding and the same views.

Both make batches of 8 training clips of 16 frames with as many threads (ours) or processes
(torch's) as there are cores. A call is one stretch of batches, so that what was made ahead counts
little.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import compete
from benchmarks.contestants import Case, Contestant, Program
from benchmarks.input_pipeline import AUGMENTATION, write_videos
from benchmarks.machine import cores
from benchmarks.tables import Row, Table
from input_pipeline.build import build_dataset
from input_pipeline.loader import train_stream
from input_pipeline.records import RecordSource
from input_pipeline.transforms import TrainClip

_BATCH, _AHEAD = 8, 4  # clips of a batch; batches made ahead
# name -> {"copies": of each video in the dataset, "resolution": of the clips}
Reads = Mapping[str, Mapping[str, int]]


def measure(quick: bool, rounds: int) -> list[Table]:
    """The suite "input": clips a second at two resolutions."""
    sides = (32,) if quick else (112, 224)
    reads = {f"{side}x{side}": {"copies": 1, "resolution": side} for side in sides}
    return [_table("Training clips of 16 frames, from 240x320", reads, quick, rounds)]


def measure_sizes(quick: bool, rounds: int) -> list[Table]:
    """A table of the suite "scaling": the same with datasets of 1, 4 and 16 times the records."""
    copies = (1, 2) if quick else (1, 4, 16)
    reads = {f"records x{n}": {"copies": n, "resolution": 112} for n in copies}
    return [_table("dataset size", reads, quick, rounds)]


def _table(title: str, reads: Reads, quick: bool, rounds: int) -> Table:
    batches = 2 if quick else 24
    arguments = {"reads": reads, "batches": batches}
    case = Case(
        title,
        [
            Contestant("anon_jax, threads", "benchmarks.input_suite:ours", arguments),
            Contestant("torch DataLoader, processes", "benchmarks.input_suite:torchs", arguments),
        ],
        tolerance=0.0,
        prepare="benchmarks.input_suite:prepare",
        prepare_arguments={
            "videos": 12 if quick else 36,
            "frames": 20 if quick else 120,
            "copies": sorted({read["copies"] for read in reads.values()}),
        },
    )
    rows: list[Row] = []
    for one in compete(case, rounds):
        rates, times = batches * _BATCH / one.seconds, 1 / one.ratios
        row: Row = {"program": one.program, "contestant": one.contestant}
        row["clips/s (least to most)"] = (
            f"{np.median(rates):.0f} ({rates.min():.0f} to {rates.max():.0f})"
        )
        row["times torch"] = f"{np.median(times):.2f} ({times.min():.2f} to {times.max():.2f})"
        rows.append({**row, "peak RSS MiB": one.facts["peak_rss_mib"]})
    note = "RSS is of the reading process; the DataLoader's workers come on top."
    return Table(title, rows, note)


def prepare(folder: Path, *, videos: int, frames: int, copies: list[int]) -> None:
    """Writes a dataset for each number of copies, and its spec as SPEC_COPIES."""
    for count in copies:
        source = folder / f"videos_{count}"
        source.mkdir()
        write_videos(source, videos, count, frames)
        (spec,) = build_dataset(
            "video_folder", folder / "data", source=source, name=f"copies_{count}", workers=cores()
        )
        (folder / f"spec_{count}").write_bytes(pickle.dumps(spec))


def ours(folder: Path, *, reads: Reads, batches: int) -> dict[str, Program]:
    """Grain with threads, as a run reads."""

    def stream(source: RecordSource, transform: TrainClip) -> Iterator[Any]:
        return iter(
            train_stream(
                source,
                transform,
                batch_size=_BATCH,
                seed=0,
                num_threads=cores(),
                prefetch=_AHEAD,
            )
        )

    return _programs(folder, reads, batches, stream)


def torchs(folder: Path, *, reads: Reads, batches: int) -> dict[str, Program]:
    """torch.utils.data.DataLoader with processes, shuffled, over the same records and views."""
    from torch.utils.data import DataLoader

    def stream(source: RecordSource, transform: TrainClip) -> Iterator[Any]:
        views: Any = _Views(source, transform)  # torch asks for the methods of a Dataset alone
        loader: DataLoader = DataLoader(
            views,
            batch_size=_BATCH,
            shuffle=True,
            drop_last=True,
            num_workers=cores(),
            prefetch_factor=max(1, _AHEAD // cores()),
            persistent_workers=True,
            multiprocessing_context="spawn",  # as the reader of records has threads
        )
        while True:
            yield from loader

    return _programs(folder, reads, batches, stream)


class _Views:
    """A map-style dataset of torch: random views of the records."""

    def __init__(self, source: RecordSource, transform: TrainClip):
        self._source, self._transform = source, transform
        self._rng = np.random.default_rng()

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        import cv2

        cv2.setNumThreads(0)  # the processes are the parallelism
        return self._transform.random_map(self._source[int(index)], self._rng)


def _programs(
    folder: Path,
    reads: Reads,
    batches: int,
    stream: Callable[[RecordSource, TrainClip], Iterator[Any]],
) -> dict[str, Program]:
    made = {}
    for name, read in reads.items():
        spec = pickle.loads((folder / f"spec_{read['copies']}").read_bytes())
        source = RecordSource(spec, "train")
        transform = TrainClip(16, 2, read["resolution"], AUGMENTATION, repeat_short=True)
        made[name] = _program(source, transform, stream(source, transform), batches)
    return made


def _program(
    source: RecordSource, transform: TrainClip, iterator: Iterator[Any], batches: int
) -> Program:
    def run() -> None:
        for _ in range(batches):
            next(iterator)

    def results() -> dict[str, np.ndarray]:
        batch = next(iterator)
        fixed = transform.random_map(source[0], np.random.default_rng(0))
        return {"frames": fixed["frames"], "batch shape": np.array(batch["frames"].shape)}

    return Program(run, results)
