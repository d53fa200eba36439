"""What became of each listed file in a build: read, missing, unreadable, damaged, excluded."""

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from input_pipeline.shards import Shard, ShardResult

REPORT_FILE = "build_report.json"
MAX_LISTED = 20  # files named in a message; the rest is counted


@dataclasses.dataclass
class BuildReport:
    """What became of the listed files; stored as `build_report.json` in the dataset's folder.

    Attributes:
      options: `MediaBuilderConfig.options` of the build.
      listed: number of files that the annotations name for one of the splits.
      read: number of files stored, by split.
      shortest: frames of the shortest video stored, by split.
      frames: number of frames stored.
      missing: ids of files that were not there.
      unreadable: id to reason.
      damaged_frames: id to number of frames lost or covered up, of videos that were stored.
      excluded: id to reason, of files that the annotations name and no split of this dataset has.
    """

    options: dict[str, Any]
    listed: int = 0
    read: dict[str, int] = dataclasses.field(default_factory=dict)
    shortest: dict[str, int] = dataclasses.field(default_factory=dict)
    frames: int = 0
    missing: list[str] = dataclasses.field(default_factory=list)
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)
    damaged_frames: dict[str, int] = dataclasses.field(default_factory=dict)
    excluded: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        options: dict[str, Any],
        shards: Sequence[Shard],
        results: Sequence[ShardResult],
        excluded: Mapping[str, str],
    ) -> "BuildReport":
        """The report of a build from the results of its shards."""
        report = cls(options, excluded=dict(excluded))
        for shard, result in zip(shards, results, strict=True):
            split = shard.split
            report.listed += len(shard.entries)
            report.read[split] = report.read.get(split, 0) + len(result.stored)
            for num_frames in result.stored.values():
                report.shortest[split] = min(num_frames, report.shortest.get(split, num_frames))
                report.frames += num_frames
            report.missing += result.missing
            report.unreadable |= result.unreadable
            report.damaged_frames |= result.damaged_frames
        return report

    def save(self, folder: Path) -> None:
        """Writes the report into the dataset's folder."""
        text = json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)
        (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "BuildReport":
        """The report of the dataset in `folder`."""
        return cls(**json.loads((folder / REPORT_FILE).read_text(encoding="utf-8")))

    def summary(self) -> str:
        """A few lines for the person who started the build."""
        read = ", ".join(f"{split} {count}" for split, count in self.read.items())
        lines = [
            f"{sum(self.read.values())} of {self.listed} files read ({read}), "
            f"{self.frames} frames; {len(self.missing)} missing, {len(self.unreadable)} "
            f"unreadable, {len(self.damaged_frames)} with damaged frames"
        ]
        lines += _first("missing", self.missing)
        lines += _first("unreadable", list(self.unreadable.values()))
        damaged = self.damaged_frames.items()
        lines += _first(
            "damaged", [f"{name}: {n} frames lost or covered up" for name, n in damaged]
        )
        reasons = collections.Counter(self.excluded.values())
        lines += [f"  excluded: {count}: {reason}" for reason, count in reasons.items()]
        return "\n".join(lines)


def _first(what: str, names: Sequence[str]) -> list[str]:
    lines = [f"  {what}: {name}" for name in names[:MAX_LISTED]]
    if len(names) > MAX_LISTED:
        lines.append(f"  {what}: ... and {len(names) - MAX_LISTED} more, all in {REPORT_FILE}")
    return lines
