"""Finds people and faces in a dataset's frames: `python -m input_pipeline.detect NAME ...`.

The boxes are kept beside the dataset, where a run with an obfuscation of regions reads them.
"""

import argparse
import dataclasses
import functools
import itertools
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from input_pipeline.boxes import Boxes, boxes_file, load_boxes, save_boxes
from input_pipeline.commands import run_command
from input_pipeline.detection import DETECTORS, Detector, FrameBoxes, make_detector
from input_pipeline.errors import DataError
from input_pipeline.index import read_index
from input_pipeline.processes import run_jobs
from input_pipeline.progress import Progress, say
from input_pipeline.publish import build_lock
from input_pipeline.records import RecordSource
from input_pipeline.specs import DatasetSpec, load_spec
from input_pipeline.transforms import decode_jpeg

_RECORDS = 32  # of a job: a stopped command loses at most this many for each process


@dataclasses.dataclass(frozen=True)
class _Job:
    """Some records of a split; their boxes are written to `part`."""

    spec: DatasetSpec
    split: str
    records: range
    detector: str
    file: Path | None
    every: int
    part: Path


def detect_boxes(
    dataset: str,
    data_dir: str | Path,
    *,
    detector: str = "opencv",
    file: Path | None = None,
    every: int = 1,
    workers: int = 0,
    overwrite: bool = False,
) -> Boxes:
    """Finds the boxes of a dataset's stored frames, unless they are there already.

    Args:
      detector: of `detection.DETECTORS`.
      file: the ONNX model or the table of boxes that the detector needs.
      every: frames from one that is looked at to the next; those between get the boxes of both.
      workers: processes; 0 = one for each core.
      overwrite: find them anew.

    Raises:
      DataError: an unknown dataset or detector, or an unusable file. What was found before an
        interruption is kept, and the same call continues.
    """
    spec = load_spec(dataset, Path(data_dir).expanduser())
    num_frames = _num_frames(spec)
    make_detector(detector, file, num_frames)  # finds an unusable file before any work
    path = boxes_file(spec, detector)
    with build_lock(spec.path.parent):
        if overwrite or not _is_current(spec, detector):
            _find(spec, num_frames, detector, file, every, workers or os.cpu_count() or 1)
        else:
            say(f"{path} is there already; --overwrite finds the boxes anew")
    boxes = load_boxes(spec, detector=detector)
    total = len(boxes.first_boxes) - 1
    say(
        f"{path}: {len(boxes.boxes)} boxes in {total} frames of {len(boxes.rows)} records; "
        f"{boxes.share_of_frames():.1%} of the frames have a box"
    )
    return boxes


def _num_frames(spec: DatasetSpec) -> dict[str, int]:
    """{id: frames} of all records."""
    rows = [
        row for split, size in spec.split_sizes.items() if size for row in read_index(spec, split)
    ]
    counts = {row.id: row.num_frames for row in rows}
    if len(counts) < len(rows):
        raise DataError(f"Records of '{spec.name}' share an id, so boxes cannot be told apart")
    return counts


def _is_current(spec: DatasetSpec, detector: str) -> bool:
    try:
        load_boxes(spec, detector=detector)
    except DataError:
        return False
    return True


def _find(
    spec: DatasetSpec,
    num_frames: dict[str, int],
    detector: str,
    file: Path | None,
    every: int,
    workers: int,
) -> None:
    """Runs the jobs that no earlier, interrupted call has done, and joins their parts."""
    path = boxes_file(spec, detector)
    # Parts belong to one file of the detector, one stride and one state of the dataset.
    plan = zlib.crc32(repr((num_frames, every)).encode() + (file.read_bytes() if file else b""))
    parts = path.with_suffix(f".parts-{plan:08x}")
    for other in spec.path.glob(f"{path.stem}.parts-*"):
        if other != parts:
            shutil.rmtree(other)
    parts.mkdir(exist_ok=True)
    jobs = [
        _Job(
            spec,
            split,
            range(start, min(start + _RECORDS, size)),
            detector,
            file,
            every,
            parts / f"{split}-{start:08d}.npz",
        )
        for split, size in spec.split_sizes.items()
        for start in range(0, size, _RECORDS)
    ]
    with Progress(sum(num_frames.values()), "frames") as bar:
        run_jobs(_run_job, jobs, workers=max(1, min(workers, len(jobs))), bar=bar)
    _join([job.part for job in jobs], path)
    shutil.rmtree(parts)


def _run_job(job: _Job, tick: Callable[[], None]) -> None:
    cv2.setNumThreads(1)  # there is a process for each core
    source = RecordSource(job.spec, job.split)
    records = [source[index] for index in job.records]
    if job.part.is_file():
        for _ in range(sum(len(record.frames) for record in records)):
            tick()
        return
    detect = _detector(job.detector, job.file)
    sizes, found = [], []
    for record in records:
        looked_at = {}
        for position, data in enumerate(record.frames):
            if position % job.every == 0 or position == len(record.frames) - 1:
                frame = decode_jpeg(data, record)
                looked_at[position] = detect(frame, record.id, position)
            tick()
        found.append(_fill(looked_at, len(record.frames)))
        sizes.append(frame.shape[:2])
    save_boxes(job.part, [record.id for record in records], sizes, found)


def _fill(looked_at: Mapping[int, FrameBoxes], num_frames: int) -> list[FrameBoxes]:
    """The boxes of all frames: one between two that were looked at gets those of both."""
    found = []
    for position in range(num_frames):
        before = max(other for other in looked_at if other <= position)
        after = min(other for other in looked_at if other >= position)
        around = sorted({before, after})
        found.append(np.concatenate([looked_at[other] for other in around]))
    return found


@functools.lru_cache(maxsize=1)
def _detector(name: str, file: Path | None) -> Detector:
    """One for each process; the table of boxes was compared with the dataset before."""
    return make_detector(name, file)


def _join(parts: Sequence[Path], path: Path) -> None:
    ids, sizes, found = [], [], []
    for part in parts:
        with np.load(part) as file:
            first_frames, first_boxes = file["first_frames"], file["first_boxes"]
            boxes = np.split(file["boxes"], first_boxes[1:-1])
            ids += file["ids"].tolist()
            sizes += file["sizes"].tolist()
            found += [boxes[a:b] for a, b in itertools.pairwise(first_frames)]
    save_boxes(path, ids, sizes, found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.detect",
        description="Finds people and faces in the frames of a prepared dataset.",
    )
    add = parser.add_argument
    add("dataset", metavar="NAME", help="a prepared dataset, e.g. hmdb51/split1")
    add("--data_dir", required=True, type=Path, metavar="DIR", help="folder of all datasets")
    add("--detector", choices=DETECTORS, default="opencv", help="(default: opencv)")
    add("--model", type=Path, metavar="FILE", help="onnx: face detector of CenterFace's layout")
    add("--boxes", type=Path, metavar="FILE", help="file: table id,frame,top,left,height,width")
    add("--every", type=int, default=1, metavar="N", help="looks at each N-th frame (default: 1)")
    add("--workers", type=int, default=0, metavar="N", help="processes (default: one a core)")
    add("--overwrite", action="store_true", help="find them anew")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 for unusable input."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _detect(arguments), "the boxes")


def _detect(arguments: argparse.Namespace) -> None:
    needed = DETECTORS[arguments.detector]
    for option in ("model", "boxes"):
        if getattr(arguments, option) and option != needed:
            raise DataError(f"--{option} is not for the detector '{arguments.detector}'")
    if arguments.every < 1:
        raise DataError(f"--every={arguments.every}: has to be 1 (every frame) or more")
    detect_boxes(
        arguments.dataset,
        arguments.data_dir,
        detector=arguments.detector,
        file=getattr(arguments, needed) if needed else None,
        every=arguments.every,
        workers=max(0, arguments.workers),
        overwrite=arguments.overwrite,
    )


if __name__ == "__main__":
    sys.exit(main())
