"""Detectors of people and faces in frames: OpenCV's own, a face network as ONNX file, a table.

A detector is called with (frame, id of its record, position of the frame in it) and returns boxes.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from input_pipeline.boxes import clip_boxes
from input_pipeline.errors import DataError
from input_pipeline.face_network import FaceNetwork
from input_pipeline.tables import problem_list, read_table

Frame = UInt8[np.ndarray, "height width 3"]
FrameBoxes = Int[np.ndarray, "boxes 4"]  # int32 (top, left, height, width), inside the frame
Detector = Callable[[Frame, str, int], FrameBoxes]

# Frames are enlarged or reduced to this short side first. The people detector's window has 64x128
# pixels, so at 480 it sees people of a quarter of the frame's height and more. Faces are sought in
# a smaller picture, for that search takes several times as long.
PEOPLE_SIDE, FACES_SIDE = 480, 320
_MOST_ENLARGED = 4.0  # beyond this there is no detail left, and blobs are taken for people
_WINDOW = (128, 64)  # height and width of the people detector's
_LEAST_FACE = 24  # pixels at FACES_SIDE: the cascades were trained on 24 (frontal) and 20 (profile)

TABLE_COLUMNS = ("id", "frame", "top", "left", "height", "width")


class OpenCV:
    """People by histograms of oriented gradients, faces by Haar cascades (frontal and profile).

    They need no file and no network, and miss many: see docs/method.md.

    Args:
      people: look for people too, not for faces alone.
    """

    def __init__(self, people: bool = True) -> None:
        self._with_people = people
        self._people = cv2.HOGDescriptor()
        weights = cv2.HOGDescriptor.getDefaultPeopleDetector()
        self._people.setSVMDetector(np.asarray(weights, np.float32))
        folder = cv2.data.haarcascades  # type: ignore[attr-defined]
        self._frontal, self._profile = (
            cv2.CascadeClassifier(f"{folder}haarcascade_{name}.xml")
            for name in ("frontalface_default", "profileface")
        )

    def __call__(self, frame: Frame, record_id: str, position: int) -> FrameBoxes:
        """Boxes of people and of faces, which may overlap."""
        found = self._find_faces(frame)
        if self._with_people:
            found = np.concatenate([self._find_people(frame), found])
        return clip_boxes(found, *frame.shape[:2])

    def _find_people(self, frame: Frame) -> Float[np.ndarray, "people 4"]:
        picture, scale = _with_short_side(frame, PEOPLE_SIDE)
        height, width = picture.shape[:2]
        if height < _WINDOW[0] or width < _WINDOW[1]:  # OpenCV would crash
            return np.zeros((0, 4))
        people, _ = self._people.detectMultiScale(picture, winStride=(8, 8), padding=(16, 16))
        return _to_rows(people) / scale

    def _find_faces(self, frame: Frame) -> Float[np.ndarray, "faces 4"]:
        picture, scale = _with_short_side(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), FACES_SIDE)
        options: dict = {"scaleFactor": 1.2, "minNeighbors": 4, "minSize": (_LEAST_FACE,) * 2}
        frontal = _to_rows(self._frontal.detectMultiScale(picture, **options))
        profile = _to_rows(self._profile.detectMultiScale(picture, **options))
        # The profile cascade knows one side only.
        mirrored = np.ascontiguousarray(picture[:, ::-1])
        other = _to_rows(self._profile.detectMultiScale(mirrored, **options))
        other[:, 1] = picture.shape[1] - other[:, 1] - other[:, 3]
        return np.concatenate([frontal, profile, other]) / scale


class BoxTable:
    """The boxes of a CSV file with the columns id, frame (from 0), top, left, height, width.

    Args:
      path: the table; boxes are in pixels of the stored frames.
      num_frames: of each record of the dataset, by id.

    Raises:
      DataError: a column is missing, or cells are unusable; names lines and columns.
    """

    def __init__(self, path: Path, num_frames: Mapping[str, int] | None = None):
        rows, columns = read_table(path)
        missing = [name for name in TABLE_COLUMNS if name not in columns]
        if missing:
            raise DataError(
                f"{path}: line 1: lacks the column {', '.join(missing)}; needed are "
                f"{', '.join(TABLE_COLUMNS)}"
            )
        problems: list[str] = []
        self._boxes: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
        for row in rows:
            problem = _cell_problem(row.cells, num_frames)
            if problem:
                problems.append(f"line {row.line}: {problem}")
            else:
                key = (row.cells["id"], int(row.cells["frame"]))
                self._boxes[key].append([float(row.cells[name]) for name in TABLE_COLUMNS[2:]])
        if problems:
            raise DataError(problem_list(path, problems))

    def __call__(self, frame: Frame, record_id: str, position: int) -> FrameBoxes:
        """The boxes of this frame, cut at its borders."""
        found = np.array(self._boxes.get((record_id, position), []), np.float64)
        return clip_boxes(found, *frame.shape[:2])


# Which file each one needs; make_detector() makes them.
DETECTORS = {"opencv": None, "onnx": "model", "file": "boxes"}


def make_detector(
    name: str, file: Path | None = None, num_frames: Mapping[str, int] | None = None
) -> Detector:
    """The detector `name` of DETECTORS, with the ONNX model or the table that it needs.

    Raises:
      DataError: an unknown name, no file where one is needed, or an unusable one.
    """
    if name not in DETECTORS:
        raise DataError(f"There is no detector '{name}'; known: {', '.join(DETECTORS)}")
    needed = DETECTORS[name]
    if bool(needed) != bool(file):
        does = f"needs --{needed}=FILE" if needed else "needs neither --model nor --boxes"
        raise DataError(f"The detector '{name}' {does}")
    if file is None:
        return OpenCV()
    if not file.is_file():
        raise DataError(f"--{needed}: there is no file {file}")
    return FaceNetwork(file) if name == "onnx" else BoxTable(file, num_frames)


def _cell_problem(cells: Mapping[str, str], num_frames: Mapping[str, int] | None) -> str:
    """What is wrong with a row of the table, or ""."""
    for name in TABLE_COLUMNS[1:]:
        least = 1 if name in ("height", "width") else None if name in ("top", "left") else 0
        try:
            value = int(cells[name])
        except ValueError:
            return f"column '{name}': '{cells[name]}' is no whole number"
        if least is not None and value < least:
            return f"column '{name}': {value} is less than {least}"
    if num_frames is not None and cells["id"] not in num_frames:
        return f"column 'id': the dataset has no record '{cells['id']}'"
    if num_frames is not None and int(cells["frame"]) >= num_frames[cells["id"]]:
        last = num_frames[cells["id"]] - 1
        return f"column 'frame': the last one of '{cells['id']}' is {last}, not {cells['frame']}"
    return ""


def _with_short_side(image: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """The image with this short side if that is possible, and the factor of its scaling."""
    scale = min(_MOST_ENLARGED, side / min(image.shape[:2]))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=interpolation), scale


def _to_rows(rectangles: Sequence) -> Float[np.ndarray, "boxes 4"]:
    """OpenCV's rectangles (left, top, width, height) -> (top, left, height, width)."""
    found = np.asarray(rectangles, np.float64).reshape(-1, 4)  # none: () -> [0, 4]
    return found[:, [1, 0, 3, 2]]
