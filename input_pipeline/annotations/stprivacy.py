"""Reads VPHMDB and VPUCF: STPrivacy's five privacy attributes of every HMDB51 and UCF101 video."""

from pathlib import Path, PurePosixPath

import numpy as np

from input_pipeline.annotations.files import find_file
from input_pipeline.annotations.pickles import load_arrays
from input_pipeline.errors import DataError
from input_pipeline.tables import problem_list

# The order of the columns is not published. It was inferred from their correlation with
# PA-HMDB51 over the 515 videos that both label. A 1 means that it can be told, not what it is.
ATTRIBUTES = ("skin_color", "face", "gender", "nudity", "relationship")
SIZES = {"hmdb51": 6766, "ucf101": 13320}
HINT = (
    "It is one of the annotations of STPrivacy (Li et al., ICCV 2023), at "
    "https://github.com/ming1993li/stprivacy"
)


def read_stprivacy(folder: Path, dataset: str) -> dict[str, tuple[int, ...]]:
    """The attributes of each video, 0 or 1 in the order of ATTRIBUTES.

    Args:
      folder: the pickle `<dataset>_privacy_attribute_label.pickle` is anywhere below it.
      dataset: "hmdb51" (VPHMDB) or "ucf101" (VPUCF).

    Returns:
      A dict from "class/stem": the name of the video without its suffix, for the pickle says .mp4
      where the videos are .avi.

    Raises:
      DataError: the file is missing, cut off, or holds something else.
    """
    if dataset not in SIZES:
        raise DataError(f"STPrivacy labels no '{dataset}', only: {', '.join(SIZES)}")
    path = find_file(folder, f"{dataset}_privacy_attribute_label.pickle", HINT)
    attributes: dict[str, tuple[int, ...]] = {}
    problems = []
    for name, array in load_arrays(path).items():
        video = PurePosixPath(name)
        key = str(video.with_suffix("")) if video.suffix == ".mp4" else ""
        if len(video.parts) != 2 or not key:
            problems.append(f"{name!r} is not like 'class/name.mp4'")
        elif array.shape != (1, len(ATTRIBUTES)) or not np.isin(array, (0, 1)).all():
            problems.append(
                f"{name!r} has an array of shape {array.shape}, values {array.ravel()[:8]}, "
                f"instead of (1, {len(ATTRIBUTES)}) with zeros and ones"
            )
        else:
            attributes[key] = tuple(int(value) for value in array[0])
    if problems:
        raise DataError(problem_list(path, problems))
    if len(attributes) != SIZES[dataset]:
        raise DataError(f"{path}: has {len(attributes)} videos instead of {SIZES[dataset]}. {HINT}")
    return attributes
