"""Downloads of the published datasets: lists and labels in full size, and few tiny videos."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
from video_samples import halves, write_video

from input_pipeline.annotations import hmdb51, pa_hmdb51, stprivacy, ucf101, vispr

Labels = dict[str, np.ndarray]


def write_pickle(path: Path, content: Labels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def short_video(path: Path, brightness: int, frames: int = 2) -> None:
    frame = halves((brightness, 30, 40), (40, brightness, 30), 24, 32)
    write_video(path, [frame] * frames, codec="mjpeg", pix_fmt="yuvj420p")


def write_hmdb51_lists(folder: Path) -> None:
    """Split 1 and STPrivacy's labels; films 70 to 99 are the test videos of each class.

    The first training video of "wave" is of a film that the other classes are tested on, the
    second one has a name of signs.
    """
    folder.mkdir(parents=True)
    labels = {}
    for number, action in enumerate(hmdb51.ACTIONS):
        flags = "1" * 70 + "2" * 30 + "0" * (66 if number == 0 else 32)
        names = [f"film{i}_{action}_u_nm_np1_fr_goo_0.avi" for i in range(len(flags))]
        if action == "wave":
            names[0] = "film70_wave_u_nm_np1_fr_goo_1.avi"
            names[1] = "50's_#1_(a)&!_wave_u_nm_np1_fr_goo_0.avi"
        rows = "".join(f"{name} {flag} \n" for name, flag in zip(names, flags, strict=True))
        (folder / f"{action}_test_split1.txt").write_text(rows)
        for i, name in enumerate(names):
            # Of one film, neighbouring classes have both kinds.
            labels[f"{action}/{Path(name).stem}.mp4"] = np.array([[1, (i + number) % 2, 0, 1, 0]])
    assert len(labels) == stprivacy.SIZES["hmdb51"]
    write_pickle(folder / "hmdb51_privacy_attribute_label.pickle", labels)


def write_hmdb51(folder: Path) -> None:
    """`hmdb51_org` and `splits`, with the labels of PA-HMDB51; two classes have videos."""
    splits = folder / "splits"
    write_hmdb51_lists(splits)
    counts = [11] * 5 + [10] * (len(hmdb51.ACTIONS) - 5)
    assert sum(counts) == pa_hmdb51.NUM_VIDEOS
    segments = {name: [[0, 1, 1]] for name in stprivacy.ATTRIBUTES}
    for action, count in zip(hmdb51.ACTIONS, counts, strict=True):
        names = [f"film{70 + i}_{action}_u_nm_np1_fr_goo_0.avi" for i in range(count)]
        content = {name: {"review": True, **segments} for name in names}
        (splits / f"{action}.json").write_text(json.dumps(content))
    for action in ("walk", "wave"):
        for film in (*range(2, 26), *range(70, 74)):
            name = f"film{film}_{action}_u_nm_np1_fr_goo_0.avi"
            short_video(folder / "hmdb51_org" / action / name, 90 + film, frames=8)


def write_ucf101(folder: Path) -> None:
    """`UCF-101` and `ucfTrainTestlist`, with STPrivacy's labels; two classes have videos."""
    lists = folder / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    actions = [f"Action{number:03d}" for number in range(1, ucf101.NUM_ACTIONS + 1)]
    rows: dict[str, list[str]] = {"train": [], "test": []}
    labels: Labels = {}
    # Groups 1 to 7 of each class are its test videos, as in the official lists.
    groups = {"train": range(8, 26), "test": range(1, 8)}
    for (split, found), size in zip(rows.items(), ucf101.SIZES[1], strict=True):
        for number in range(size):
            index, turn = number % len(actions), number // len(actions)
            action, group = actions[index], groups[split][turn % len(groups[split])]
            clip = turn // len(groups[split]) + 1
            name = f"{action}/v_{action}_g{group:02d}_c{clip:02d}"
            found.append(f"{name}.avi" + f" {index + 1}" * (split == "train"))
            labels[f"{name}.mp4"] = np.array([[index % 2, group % 2, 1, 0, 0]])
            if index < 2 and clip == 1:
                short_video(folder / "UCF-101" / f"{name}.avi", 60 + group, frames=8)
    (lists / "classInd.txt").write_text("".join(f"{i} {a}\n" for i, a in enumerate(actions, 1)))
    for split, found in rows.items():
        (lists / f"{split}list01.txt").write_text("\n".join(found) + "\n")
    assert len(labels) == stprivacy.SIZES["ucf101"]
    write_pickle(lists / "ucf101_privacy_attribute_label.pickle", labels)


def write_vispr(folder: Path) -> None:
    """`images`, a few of each split, and `annotations`, as many files as there are of VISPR."""
    for split, count in vispr.SIZES.items():
        annotations = folder / "annotations" / f"{split}2017"
        annotations.mkdir(parents=True)
        (folder / "images" / f"{split}2017").mkdir(parents=True)
        for number in range(count):
            labels = [name for i, name in enumerate(vispr.VISPR1) if (number + i) % 2]
            name = f"2017_{split}{number}"
            (annotations / f"{name}.json").write_text(json.dumps({"labels": labels or ["a0_safe"]}))
            if number < 8:
                image = np.full((24, 32, 3), 20 * number, np.uint8)
                cv2.imwrite(str(folder / "images" / f"{split}2017" / f"{name}.jpg"), image)
