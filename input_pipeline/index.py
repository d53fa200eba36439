"""The table of a dataset's records, records.csv: what can be known of them without their frames."""

import csv
import dataclasses
from collections.abc import Iterator, Sequence
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


def read_index(spec: DatasetSpec, split: str) -> Iterator[IndexedRecord]:
    """The rows of a split, from the table, or from the records where a dataset has none.

    Raises:
      DataError: there is no such split, or nothing in it.
    """
    spec.check_split(split)
    path = spec.path / INDEX_FILE
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.reader(file)
            next(table)
            for row_split, name, action, group, num_frames, *cells in table:
                if row_split == split:
                    values = tuple(int(cell) if cell else UNKNOWN for cell in cells)
                    yield IndexedRecord(split, name, action, group, int(num_frames), values)
        return
    for record in RecordSource(spec, split):
        action = "" if record.action < 0 else spec.actions[record.action]
        values = tuple(record.attributes.tolist())
        yield IndexedRecord(split, record.id, action, record.group, len(record.frames), values)
