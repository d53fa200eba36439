"""What became of each listed video in a build: read, missing, unreadable, damaged."""

import dataclasses
import json
from pathlib import Path
from typing import Any

REPORT_FILE = "build_report.json"
MAX_LISTED = 20  # videos named in a message; the rest is counted


@dataclasses.dataclass
class BuildReport:
    """What became of the listed videos; stored as `build_report.json` in the dataset's folder.

    Attributes:
      options: `VideoBuilderConfig.options` of the build.
      listed: number of videos that the labels name.
      read: number of videos stored, by split.
      frames: number of frames stored.
      missing: ids of videos whose file was not there.
      unreadable: id to reason.
      damaged_frames: id to number of frames lost or covered up, of videos that were stored.
    """

    options: dict[str, Any]
    listed: int = 0
    read: dict[str, int] = dataclasses.field(default_factory=dict)
    frames: int = 0
    missing: list[str] = dataclasses.field(default_factory=list)
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)
    damaged_frames: dict[str, int] = dataclasses.field(default_factory=dict)

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
            f"{sum(self.read.values())} of {self.listed} videos read ({read}), "
            f"{self.frames} frames; {len(self.missing)} missing, {len(self.unreadable)} "
            f"unreadable, {len(self.damaged_frames)} with damaged frames"
        ]
        lines += [f"  missing: {name}" for name in self.missing[:MAX_LISTED]]
        lines += [f"  unreadable: {why}" for why in list(self.unreadable.values())[:MAX_LISTED]]
        lines += [
            f"  damaged: {name}: {count} frames lost or covered up"
            for name, count in list(self.damaged_frames.items())[:MAX_LISTED]
        ]
        return "\n".join(lines)
