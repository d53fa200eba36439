"""A look at a dataset: `python -m input_pipeline.show NAME --data_dir=DIR --output=FILE.png`.

Prints the split sizes, the videos of each class and the prevalence of each attribute; draws some
clips as they are stored and, below, as training sees them.
"""

import argparse
import collections
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from input_pipeline.errors import DataError
from input_pipeline.index import IndexedRecord, read_index
from input_pipeline.records import Record, RecordSource
from input_pipeline.specs import UNKNOWN, DatasetSpec, load_spec
from input_pipeline.transforms import (
    Augmentation,
    apply_view,
    clip_positions,
    decode_jpeg,
    sample_view,
)

# The published augmentation of clips (configs/base.py), drawn where nothing else is asked for.
AUGMENTATION = Augmentation((0.6, 1.0), jitter=0.1, hue=0.1, grey=0.1, flip=0.5, erase=0.4)


def describe(spec: DatasetSpec) -> str:
    """The split sizes, and per split the counts of classes and attributes, as text."""
    rows = [row for split in spec.split_sizes for row in read_index(spec, split)]
    lines = [f"{spec.name} ({spec.kind}) in {spec.path}"]
    lines += _split_lines(spec, rows)
    if spec.actions:
        lines += ["", *_table("action", spec.actions, spec, _action_counts(spec, rows))]
    if spec.attributes:
        cells = {
            split: [_prevalence(rows, split, column) for column in range(len(spec.attributes))]
            for split in spec.split_sizes
        }
        lines += ["", *_table("attribute: present / labelled", spec.attributes, spec, cells)]
    return "\n".join(lines)


def draw(
    spec: DatasetSpec,
    split: str,
    *,
    count: int,
    num_frames: int,
    stride: int,
    resolution: int,
    augmentation: Augmentation,
    seed: int,
) -> Figure:
    """Evenly spaced records of a split: a clip as stored, and below it one random view of it."""
    source = RecordSource(spec, split)
    rng = np.random.default_rng(seed)
    places = np.unique(np.linspace(0, len(source) - 1, count).round().astype(int))
    columns = num_frames if spec.kind == "video" else 4
    figure = Figure(figsize=(1.2 * columns, 2.9 * len(places)), layout="constrained")
    parts = figure.subfigures(len(places), 1, squeeze=False)[:, 0]
    for place, part in zip(places.tolist(), parts, strict=True):
        record = source[place]
        part.suptitle(_caption(spec, record), fontsize=8, x=0.01, ha="left")
        axes = part.subplots(2, columns, squeeze=False)
        stored, seen = _pictures(record, columns, stride, resolution, augmentation, rng)
        for line, pictures in zip(axes, (stored, seen), strict=True):
            for axis in line:
                axis.set_axis_off()
            for axis, picture in zip(line, pictures, strict=False):
                axis.imshow(picture)
    return figure


def _pictures(
    record: Record,
    columns: int,
    stride: int,
    resolution: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The stored frames of a clip and one view of them all; or an image and a view per column."""
    if len(record.frames) == 1:
        frame = decode_jpeg(record.frames[0], record)
        height, width, _ = frame.shape
        views = [sample_view(augmentation, height, width, rng) for _ in range(columns)]
        return [frame], [apply_view(frame, view, resolution) for view in views]
    positions = clip_positions(len(record.frames), columns, stride, rng.random())
    frames = [decode_jpeg(record.frames[position], record) for position in positions]
    height, width, _ = frames[0].shape
    view = sample_view(augmentation, height, width, rng)
    return frames, [apply_view(frame, view, resolution) for frame in frames]


def _caption(spec: DatasetSpec, record: Record) -> str:
    values = zip(spec.attributes, record.attributes.tolist(), strict=True)
    marks = {0: "no ", 1: "", UNKNOWN: "? "}
    action = f"{spec.actions[record.action]}, " if record.action >= 0 else ""
    frames = f"{len(record.frames)} frames" if spec.kind == "video" else "image"
    named = ", ".join(f"{marks[value]}{name}" for name, value in values)
    # A dollar sign would start a formula.
    return f"{record.id} ({frames})\n{action}{named}".replace("$", r"\$")


def _split_lines(spec: DatasetSpec, rows: Sequence[IndexedRecord]) -> list[str]:
    lines = []
    for split, size in spec.split_sizes.items():
        of_split = [row for row in rows if row.split == split]
        groups = {row.group for row in of_split if row.group}
        frames = sorted(row.num_frames for row in of_split)
        middle = f", frames {frames[0]} to {frames[-1]}, median {frames[len(frames) // 2]}"
        lines.append(
            f"  {split}: {size} records, {len(groups)} groups"
            + (middle if spec.kind == "video" else "")
        )
    return lines


def _action_counts(spec: DatasetSpec, rows: Sequence[IndexedRecord]) -> dict[str, list[str]]:
    counts = collections.Counter((row.split, row.action) for row in rows)
    return {
        split: [str(counts[split, action]) for action in spec.actions] for split in spec.split_sizes
    }


def _prevalence(rows: Sequence[IndexedRecord], split: str, column: int) -> str:
    values = [row.attributes[column] for row in rows if row.split == split]
    known = [value for value in values if value != UNKNOWN]
    share = f" ({sum(known) / len(known):.1%})" if known else ""
    return f"{sum(known)} / {len(known)}{share}"


def _table(
    title: str, names: Sequence[str], spec: DatasetSpec, cells: dict[str, list[str]]
) -> list[str]:
    wide = max(map(len, [title, *names]))
    lines = [title.ljust(wide) + "".join(f"{split:>22}" for split in spec.split_sizes)]
    for index, name in enumerate(names):
        line = "".join(f"{cells[split][index]:>22}" for split in spec.split_sizes)
        lines.append(name.ljust(wide) + line)
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m input_pipeline.show", description=__doc__)
    add = parser.add_argument
    add("dataset", metavar="NAME", help="a prepared dataset, e.g. hmdb51/split1")
    add("--data_dir", required=True, type=Path, metavar="DIR", help="folder of all datasets")
    add("--output", required=True, type=Path, metavar="FILE", help="picture to write, .png or .pdf")
    add("--split", default="train", help="split to draw (default: train)")
    add("--count", type=_positive, default=6, metavar="N", help="records drawn (default: 6)")
    add("--num_frames", type=_positive, default=8, metavar="N", help="of a clip (default: 8)")
    add("--stride", type=_positive, default=2, metavar="N", help="of its frames (default: 2)")
    add("--resolution", type=_positive, default=112, metavar="N", help="of a view (default: 112)")
    add("--seed", type=int, default=0, help="of the random views (default: 0)")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number above 0")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 for unusable input."""
    arguments = _parser().parse_args(argv)
    try:
        spec = load_spec(arguments.dataset, arguments.data_dir)
        print(describe(spec))
        figure = draw(
            spec,
            arguments.split,
            count=arguments.count,
            num_frames=arguments.num_frames,
            stride=arguments.stride,
            resolution=arguments.resolution,
            augmentation=AUGMENTATION,
            seed=arguments.seed,
        )
        figure.savefig(arguments.output, dpi=100)
    except (DataError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
