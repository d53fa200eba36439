"""Reads the official lists of UCF101: classInd.txt, trainlist0N.txt and testlist0N.txt."""

import re
from pathlib import Path

from input_pipeline.annotations.files import find_files, numbered_lines
from input_pipeline.annotations.listed import ListedVideo, VideoList
from input_pipeline.errors import DataError
from input_pipeline.tables import problem_list

NUM_ACTIONS = 101
SIZES = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}  # split: training, test videos
HINT = (
    "The lists of UCF101 are in UCF101TrainTestSplits-RecognitionTask.zip, "
    "at https://www.crcv.ucf.edu/data/UCF101.php"
)
_FILE = re.compile(r"(?P<group>v_(?P<action>\w+)_g\d\d)_c\d\d\.avi")


def read_ucf101(folder: Path, split: int) -> VideoList:
    """The 101 classes and the 13,320 videos of one official split.

    The lists number the classes from 1; here `actions[0]` has label 0. The group of a video is
    its name up to the clip's number, such as "v_Archery_g08": a group is one person's recording.

    Args:
      folder: the lists are anywhere below it.
      split: 1, 2 or 3.

    Raises:
      DataError: a list is missing or cut off, or a row is wrong; it is named with its line.
    """
    if split not in SIZES:
        raise DataError(f"UCF101 has no split {split}; the splits are 1, 2 and 3")
    lists = {"train": f"trainlist0{split}.txt", "test": f"testlist0{split}.txt"}
    paths = find_files(folder, ["classInd.txt", *lists.values()], HINT)
    actions = _read_actions(paths["classInd.txt"])
    videos: list[ListedVideo] = []
    seen: dict[str, str] = {}  # file name -> where it was first
    for (name, list_name), size in zip(lists.items(), SIZES[split], strict=True):
        rows = _read_list(paths[list_name], name, actions, seen)
        if len(rows) != size:
            raise DataError(
                f"{paths[list_name]}: has {len(rows)} videos, but the official list has {size}; "
                f"it is cut off or edited. {HINT}"
            )
        videos += rows
    return VideoList(actions, tuple(videos))


def _read_actions(path: Path) -> tuple[str, ...]:
    actions: list[str] = []
    problems = []
    for line, text in numbered_lines(path):
        number, _, action = text.partition(" ")
        if number != str(len(actions) + 1) or not action or action in actions:
            problems.append(
                f"line {line}: {text!r} should be '{len(actions) + 1} NAME', with a new name"
            )
        actions.append(action)
    if len(actions) != NUM_ACTIONS:
        problems.append(f"there are {len(actions)} classes instead of {NUM_ACTIONS}")
    if problems:
        raise DataError(problem_list(path, problems))
    return tuple(actions)


def _read_list(
    path: Path, split: str, actions: tuple[str, ...], seen: dict[str, str]
) -> list[ListedVideo]:
    labels = {action: str(number) for number, action in enumerate(actions, 1)}
    rows = []
    problems = []
    for line, text in numbered_lines(path):
        name, *label = text.split()
        action, _, file = name.partition("/")
        match = _FILE.fullmatch(file)
        expected = [labels[action]] if action in labels and split == "train" else []
        if action not in labels:
            problems.append(f"line {line}: '{action}' is no class of classInd.txt")
        # Upper and lower case differ: the class HandstandPushups has files v_HandStandPushups_*.
        elif match is None or match["action"].lower() != action.lower():
            problems.append(f"line {line}: '{file}' is not like v_{action}_g01_c01.avi")
        elif label != expected:
            wanted = f"the label {expected[0]}" if expected else "no label"
            problems.append(f"line {line}: '{text}' should have {wanted} behind the file")
        elif file in seen:
            problems.append(f"line {line}: '{file}' stands in {seen[file]} already")
        else:
            seen[file] = f"{path.name}, line {line},"
            rows.append(ListedVideo(action, file, match["group"], split))
    if problems:
        raise DataError(problem_list(path, problems))
    return rows
