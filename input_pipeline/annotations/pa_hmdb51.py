"""Reads PA-HMDB51: frame by frame, which of five privacy attributes 515 HMDB51 videos show."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from input_pipeline.annotations.files import find_files
from input_pipeline.annotations.hmdb51 import ACTIONS
from input_pipeline.annotations.stprivacy import ATTRIBUTES
from input_pipeline.errors import DataError
from input_pipeline.specs import UNKNOWN
from input_pipeline.tables import problem_list

NUM_VIDEOS = 515
VALUES = {  # what the values mean, in order from 0
    "skin_color": ("unidentifiable", "white", "yellow", "black"),
    "face": ("invisible", "partially visible", "completely visible"),
    "gender": ("unidentifiable", "male", "female"),
    "nudity": ("none", "partial", "semi"),
    "relationship": ("unidentifiable", "identifiable"),
}
HINT = (
    "They are the folder PrivacyAttributes of PA-HMDB51 (Wu et al., arXiv 1906.05675), at "
    "https://github.com/VITA-Group/PA-HMDB51"
)


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stretch of frames and what one attribute is on them.

    Attributes:
      start: first frame, from 0.
      end: last frame, included.
      values: indices into VALUES; several where people of different values are seen, e.g. (1, 2)
        for gender.
    """

    start: int
    end: int
    values: tuple[int, ...]

    @property
    def present(self) -> bool:
        """Whether the attribute can be told of anybody: VITA's binary label, value != 0."""
        return any(value != 0 for value in self.values)


@dataclasses.dataclass(frozen=True)
class PrivacySegments:
    """The annotation of one video, as published: segments may overlap and leave gaps.

    Attributes:
      action: HMDB51 class.
      review: whether the annotators reviewed it.
      note: their remark; "" where there is none.
      segments: for each of the five attributes, its segments in published order.
    """

    action: str
    review: bool
    note: str
    segments: Mapping[str, tuple[Segment, ...]]


def read_pa_hmdb51(folder: Path) -> dict[str, PrivacySegments]:
    """The annotations by the name of the video, such as "prelinger_wave_f_cm_np1_ba_med_0.avi".

    Args:
      folder: the 51 files CLASS.json are anywhere below it.

    Raises:
      DataError: files or videos are missing, or an annotation is not of the published form.
    """
    paths = find_files(folder, [f"{action}.json" for action in ACTIONS], HINT)
    videos: dict[str, PrivacySegments] = {}
    for action in ACTIONS:
        path = paths[f"{action}.json"]
        problems: list[str] = []
        for name, content in _read_json(path).items():
            if name in videos:
                problems.append(f"'{name}': stands in {videos[name].action}.json already")
            else:
                found = len(problems)
                _check(name, content, problems)
                if len(problems) == found:
                    videos[name] = _segments(action, content)
        if problems:
            raise DataError(problem_list(path, problems))
    if len(videos) != NUM_VIDEOS:
        raise DataError(f"{folder}: the files hold {len(videos)} videos, not {NUM_VIDEOS}. {HINT}")
    return videos


def attributes_at(video: PrivacySegments, frame: int) -> tuple[int, ...]:
    """Each attribute on one frame: 1 present, 0 absent, UNKNOWN outside of its segments.

    An attribute is present when any segment over this frame says so.
    """
    return tuple(
        _any_present([part for part in video.segments[name] if part.start <= frame <= part.end])
        for name in ATTRIBUTES
    )


def video_attributes(video: PrivacySegments) -> tuple[int, ...]:
    """Each attribute of the whole video: 1 where at least one labelled frame has it, else 0.

    UNKNOWN where no frame is labelled.
    """
    return tuple(_any_present(video.segments[name]) for name in ATTRIBUTES)


def _any_present(segments: Sequence[Segment]) -> int:
    if not segments:
        return UNKNOWN
    return int(any(segment.present for segment in segments))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, or no JSON
        raise DataError(f"{path}: is no JSON: {error}. {HINT}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: should hold an object with an entry for each video. {HINT}")
    return content


def _check(name: str, content: Any, problems: list[str]) -> None:
    """Adds what is wrong with one video to the problems."""
    known = {"review", "note", *ATTRIBUTES}
    if not isinstance(content, dict) or not {"review", *ATTRIBUTES} <= set(content) <= known:
        problems.append(
            f"'{name}': needs the entries review, {', '.join(ATTRIBUTES)}; may have note"
        )
        return
    if not isinstance(content["review"], bool) or not isinstance(content.get("note", ""), str):
        problems.append(f"'{name}': review must be true or false, and note a text")
    for attribute in ATTRIBUTES:
        segments = content[attribute]
        if not isinstance(segments, list):
            problems.append(f"'{name}', {attribute}: is no list of segments")
            continue
        problems += [
            f"'{name}', {attribute}: {json.dumps(segment)[:100]} is not [start, end, value] with "
            f"0 <= start <= end and values from 0 to {len(VALUES[attribute]) - 1}"
            for segment in segments
            if not _is_segment(segment, len(VALUES[attribute]))
        ]


def _is_segment(segment: Any, num_values: int) -> bool:
    if not isinstance(segment, list) or len(segment) != 3:
        return False
    start, end, value = segment
    values = value if isinstance(value, list) else [value]
    if not values or not all(type(number) is int for number in (start, end, *values)):
        return False
    return 0 <= start <= end and all(0 <= number < num_values for number in values)


def _segments(action: str, content: dict[str, Any]) -> PrivacySegments:
    segments = {
        name: tuple(
            Segment(start, end, tuple(value) if isinstance(value, list) else (value,))
            for start, end, value in content[name]
        )
        for name in ATTRIBUTES
    }
    return PrivacySegments(action, content["review"], content.get("note", ""), segments)
