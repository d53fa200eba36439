"""Reads the official splits of HMDB51: CLASS_test_splitN.txt for each of its 51 classes."""

from collections import Counter
from pathlib import Path

from input_pipeline.annotations.files import find_files, numbered_lines
from input_pipeline.annotations.listed import ListedVideo, VideoList
from input_pipeline.errors import DataError
from input_pipeline.tables import problem_list

_NAMES = """
brush_hair cartwheel catch chew clap climb climb_stairs dive draw_sword dribble drink eat
fall_floor fencing flic_flac golf handstand hit hug jump kick kick_ball kiss laugh pick pour
pullup punch push pushup ride_bike ride_horse run shake_hands shoot_ball shoot_bow shoot_gun sit
situp smile smoke somersault stand swing_baseball sword sword_exercise talk throw turn walk wave
"""
ACTIONS = tuple(_NAMES.split())
SPLITS = (1, 2, 3)
SIZES = {"train": 3570, "test": 1530, "unused": 1666}  # the same for each split
_PER_CLASS = {"train": 70, "test": 30}
HINT = (
    "The splits of HMDB51 are in test_train_splits.rar, at "
    "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database"
)
_FLAGS = {"0": "unused", "1": "train", "2": "test"}


def read_hmdb51(folder: Path, split: int) -> VideoList:
    """The 51 classes, sorted, and the 6,766 videos of one official split.

    The group of a video is the film that it was cut from: its name up to the last "_CLASS_". One
    film can give training videos of one class and test videos of another: `splits.drop_leaking`
    removes these.

    Args:
      folder: the 51 files are anywhere below it.
      split: 1, 2 or 3.

    Raises:
      DataError: files are missing or cut off, or a row is wrong; it is named with its line.
    """
    if split not in SPLITS:
        raise DataError(f"HMDB51 has no split {split}; the splits are 1, 2 and 3")
    names = {action: f"{action}_test_split{split}.txt" for action in ACTIONS}
    paths = find_files(folder, names.values(), HINT)
    videos = [video for action in ACTIONS for video in _read_class(paths[names[action]], action)]
    sizes = Counter(video.split for video in videos)
    if sizes != SIZES:
        shown = ", ".join(f"{sizes[name]} {name} (not {size})" for name, size in SIZES.items())
        raise DataError(
            f"{folder}: the {len(ACTIONS)} files of split {split} have {shown} videos; "
            f"some are cut off or edited. {HINT}"
        )
    return VideoList(ACTIONS, tuple(videos))


def _read_class(path: Path, action: str) -> list[ListedVideo]:
    videos = []
    seen: dict[str, int] = {}  # file name -> line
    problems = []
    for line, text in numbered_lines(path):
        file, _, flag = text.rpartition(" ")
        file = file.strip()
        film, mark, _ = file.rpartition(f"_{action}_")
        if flag not in _FLAGS:
            problems.append(f"line {line}: '{text}' should end in 0, 1 or 2")
        elif not mark:
            problems.append(f"line {line}: '{file}' has no '_{action}_' in its name")
        elif file in seen:
            problems.append(f"line {line}: '{file}' stands in line {seen[file]} already")
        else:
            seen[file] = line
            videos.append(ListedVideo(action, file, film, _FLAGS[flag]))
    sizes = Counter(video.split for video in videos)
    problems += [
        f"has {sizes[split]} {split} videos instead of {size}; it is cut off or edited"
        for split, size in _PER_CLASS.items()
        if sizes[split] != size and not problems
    ]
    if problems:
        raise DataError(problem_list(path, problems))
    return videos
