"""Boxes of the people and faces of moving_figures, from the places where they are drawn.

    python -m input_pipeline.datasets.moving_figures.boxes moving_figures/videos --data_dir=data \\
        --output=boxes.csv

The frames are too small for a detector; `input_pipeline.detect` takes this table in its place.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from input_pipeline.boxes import clip_boxes
from input_pipeline.commands import run_command
from input_pipeline.datasets.moving_figures import clips, figures
from input_pipeline.datasets.moving_figures.capsules import Capsule
from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig
from input_pipeline.datasets.moving_figures.moving_figures_dataset_builder import MovingFigures
from input_pipeline.detection import TABLE_COLUMNS
from input_pipeline.errors import DataError
from input_pipeline.progress import say
from input_pipeline.records import RecordSource
from input_pipeline.specs import DatasetSpec, load_spec


def people_boxes(
    people: Sequence[figures.Person], resolution: int
) -> list[Int[np.ndarray, "boxes 4"]]:
    """For each frame the boxes of the people, then those of their faces, in the people's order.

    A person's box holds every pixel that is painted of the person, be it hidden by somebody else
    or not; a face's box holds the head's circle and the beard, without hat and long hair.

    Args:
      people: of `clips.place_people`.
      resolution: height and width of the frames in pixels.

    Returns:
      Per frame (top, left, height, width) in whole pixels, cut at the frame's borders; what lies
      outside has no box.
    """
    bodies = [_rectangles(figures.person_parts(person)) for person in people]
    faces = [_rectangles(figures.face_parts(person)) for person in people]
    # [boxes, time, 4] -> a [boxes, 4] for each frame
    frames = np.stack([*bodies, *faces]).swapaxes(0, 1)
    return [clip_boxes(boxes, resolution, resolution) for boxes in frames]


def _rectangles(parts: Iterable[Capsule]) -> Float[np.ndarray, "time 4"]:
    """(top, left, height, width) of what encloses all parts, in each frame."""
    extents = np.stack([part.extent() for part in parts])  # [parts, time, 4]
    left, top = extents[..., :2].min(0).T
    right, bottom = extents[..., 2:].max(0).T
    return np.stack([top, left, bottom - top, right - left], axis=1)


def write_boxes(config: MovingFiguresConfig, spec: DatasetSpec, path: Path) -> None:
    """Writes the boxes of a dataset whole or not at all: a table that the detector "file" reads.

    Args:
      config: what the dataset was generated from.
      spec: the dataset; its records are compared with what the config draws.
      path: of the table.

    Raises:
      DataError: a record is not the one that the config draws.
    """
    records = frames = boxes = 0
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(TABLE_COLUMNS)
            for plan in _stored_plans(config, spec):
                people = clips.place_people(
                    plan.subject, plan.joints, plan.scene, config.resolution
                )
                records += 1
                for position, found in enumerate(people_boxes(people, config.resolution)):
                    table.writerows([plan.id, position, *box] for box in found.tolist())
                    frames, boxes = frames + 1, boxes + len(found)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    say(f"{path}: {boxes} boxes in {frames} frames of {records} records")


def _stored_plans(config: MovingFiguresConfig, spec: DatasetSpec) -> Iterator[clips.Plan]:
    """The plans of all clips, once it is known that those and no others are in the dataset."""
    for split in {**config.clips, **spec.split_sizes}:
        planned = [clips.plan_clip(config, split, i) for i in range(config.clips.get(split, 0))]
        source = RecordSource(spec, split) if spec.split_sizes.get(split) else ()
        drawn = {plan.id: plan.metadata for plan in planned}
        stored = {record.id: record.metadata for record in source}
        differing = [name for name in {**drawn, **stored} if drawn.get(name) != stored.get(name)]
        if differing:
            raise DataError(
                f"{len(differing)} records of the split '{split}' in {spec.path} are not those "
                f"that are drawn now, e.g. '{differing[0]}': the dataset was made by another "
                f"version. Build it anew: python -m input_pipeline.build {spec.name} "
                "--data_dir=DIR --overwrite"
            )
        yield from planned


def _known_config(dataset: str) -> MovingFiguresConfig:
    known = {f"moving_figures/{config.name}": config for config in MovingFigures.BUILDER_CONFIGS}
    name = dataset.partition(":")[0]
    if name not in known:
        raise DataError(
            f"Where people are is not known of '{dataset}'; it is known of: {', '.join(known)}"
        )
    return known[name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.datasets.moving_figures.boxes",
        description="Writes the boxes of the people and faces of a dataset of moving_figures.",
    )
    add = parser.add_argument
    add("dataset", metavar="NAME", help="a prepared dataset, e.g. moving_figures/videos")
    add("--data_dir", required=True, type=Path, metavar="DIR", help="folder of all datasets")
    add("--output", required=True, type=Path, metavar="FILE", help="table of boxes to write, .csv")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 for unusable input."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _write(arguments), "the table")


def _write(arguments: argparse.Namespace) -> None:
    config = _known_config(arguments.dataset)
    spec = load_spec(arguments.dataset, arguments.data_dir.expanduser())
    write_boxes(config, spec, arguments.output.expanduser())


if __name__ == "__main__":
    sys.exit(main())
