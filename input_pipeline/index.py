"""The table of a dataset's records, records.csv: what can be known of them without their frames."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from input_pipeline.records import RecordSource
from input_pipeline.shards import Shard, ShardResult
from input_pipeline.specs import UNKNOWN, DatasetSpec

INDEX_FILE = "records.csv"
_COLUMNS = ("split", "id", "action", "group", "num_frames")


@dataclasses.dataclass(frozen=True)
class IndexedRecord:
    """A row: `action` is the class name, "" for a still image; attributes in {0, 1, UNKNOWN}."""

    split: str
    id: str
    action: str
    group: str
    num_frames: int
    attributes: tuple[int, ...]


def write_index(
    folder: Path, attributes: Sequence[str], shards: Sequence[Shard], results: Sequence[ShardResult]
) -> None:
    """Writes the table of the stored records into the dataset's folder, in the records' order."""
    with (folder / INDEX_FILE).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([*_COLUMNS, *(f"attribute:{name}" for name in attributes)])
        for shard, result in zip(shards, results, strict=True):
            for entry in shard.entries:
                if entry.id in result.stored:
                    row = [shard.split, entry.id, entry.action, entry.group]
                    cells = ["" if value == UNKNOWN else value for value in entry.attributes]
                    table.writerow([*row, result.stored[entry.id], *cells])


def read_index(spec: DatasetSpec) -> list[IndexedRecord]:
    """The rows of the table, or of the records themselves where a dataset has none."""
    path = spec.path / INDEX_FILE
    if not path.is_file():
        return [row for split in spec.split_sizes for row in _scan(spec, split)]
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.reader(file)
        next(table)
        return [
            IndexedRecord(
                split=split,
                id=name,
                action=action,
                group=group,
                num_frames=int(num_frames),
                attributes=tuple(int(cell) if cell else UNKNOWN for cell in cells),
            )
            for split, name, action, group, num_frames, *cells in table
        ]


def _scan(spec: DatasetSpec, split: str) -> list[IndexedRecord]:
    return [
        IndexedRecord(
            split=split,
            id=record.id,
            action="" if record.action < 0 else spec.actions[record.action],
            group=record.group,
            num_frames=len(record.frames),
            attributes=tuple(record.attributes.tolist()),
        )
        for record in RecordSource(spec, split)
    ]
