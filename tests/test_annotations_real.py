"""The readers of published annotations, on the published files in full, where they are there."""

import csv

import numpy as np
import pytest

from input_pipeline.annotations import hmdb51, pa_hmdb51, splits, stprivacy, ucf101, vispr
from input_pipeline.annotations.files import VideoIndex
from input_pipeline.tables import read_table


@pytest.fixture(scope="module")
def folder(real_data):
    path = real_data / "annotations"
    if not path.is_dir():
        pytest.skip(f"no published annotations in {path}")
    return path


@pytest.mark.parametrize("split", [1, 2, 3])
def test_ucf101(folder, split):
    found = ucf101.read_ucf101(folder, split)
    sides = {
        side: [video for video in found.videos if video.split == side] for side in ("train", "test")
    }
    sizes = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}[split]
    assert (len(sides["train"]), len(sides["test"])) == sizes
    assert len({video.file for video in found.videos}) == 13320
    assert (len(found.actions), found.actions[0], found.actions[100]) == (
        101,
        "ApplyEyeMakeup",
        "YoYo",
    )
    groups = {side: [video.group for video in videos] for side, videos in sides.items()}
    assert splits.leaks(groups) == []
    # Split 1 tests on the recordings 1 to 7 of each class, split 2 on 8 to 14, split 3 on 15 to 21.
    first = 7 * split - 6
    assert {int(group[-2:]) for group in groups["test"]} == set(range(first, first + 7))


@pytest.mark.parametrize(("split", "films"), [(1, 133), (2, 149), (3, 144)])
def test_hmdb51(folder, split, films):
    found = hmdb51.read_hmdb51(folder, split)
    by_split = {
        side: [video for video in found.videos if video.split == side]
        for side in ("train", "test", "unused")
    }
    assert [len(videos) for videos in by_split.values()] == [3570, 1530, 1666]
    assert len({video.file for video in found.videos}) == 6766
    assert {video.action for video in found.videos} == set(found.actions)
    in_class = {
        side: {f"{video.action}/{video.group}" for video in by_split[side]}
        for side in ("train", "test")
    }
    assert splits.leaks(in_class) == []
    test_films = {video.group for video in by_split["test"]}
    kept, dropped = splits.drop_leaking(by_split["train"], test_films)
    assert len({video.group for video in dropped}) == films
    assert len(kept) + len(dropped) == 3570
    assert splits.leaks({"train": [video.group for video in kept], "test": test_films}) == []


@pytest.mark.parametrize(
    ("dataset", "means"),
    [
        ("hmdb51", (0.903, 0.620, 0.916, 0.268, 0.211)),
        ("ucf101", (0.912, 0.600, 0.897, 0.247, 0.253)),
    ],
)
def test_stprivacy(folder, dataset, means):
    found = stprivacy.read_stprivacy(folder, dataset)
    assert len(found) == {"hmdb51": 6766, "ucf101": 13320}[dataset]
    np.testing.assert_allclose(np.mean(list(found.values()), 0), means, atol=0.0005)  # as rounded
    table = folder / "stprivacy" / f"vp_{dataset}_privacy_attribute_label.converted.csv"
    with table.open(newline="") as file:
        _, *rows = csv.reader(file)
    assert {row[0].removesuffix(".mp4"): tuple(map(int, row[1:])) for row in rows} == found
    read = {"hmdb51": hmdb51.read_hmdb51, "ucf101": ucf101.read_ucf101}[dataset](folder, 1)
    assert {f"{row.action}/{row.file.removesuffix('.avi')}" for row in read.videos} == set(found)


def test_pa_hmdb51(folder):
    found = pa_hmdb51.read_pa_hmdb51(folder)
    assert len(found) == 515
    segments = [parts for video in found.values() for parts in video.segments.values()]
    assert sum(len(part.values) > 1 for parts in segments for part in parts) == 46
    ends = [[-1, *(part.end for part in parts)] for parts in segments]
    jumps = [
        part.start != end + 1
        for parts, before in zip(segments, ends, strict=True)
        for part, end in zip(parts, before, strict=False)
    ]
    assert sum(jumps) == 73
    listed = {row.file: row.action for row in hmdb51.read_hmdb51(folder, 1).videos}
    assert all(listed[name] == video.action for name, video in found.items())
    assert sum(video.note == "" for video in found.values()) >= 10


def test_stprivacy_agrees_with_pa_hmdb51(folder):
    # Two independent labellings of 515 videos: each column agrees best with its own name.
    coarse = stprivacy.read_stprivacy(folder, "hmdb51")
    fine = pa_hmdb51.read_pa_hmdb51(folder)
    ours = np.array([pa_hmdb51.video_attributes(video) for video in fine.values()])
    theirs = np.array(
        [coarse[f"{video.action}/{name.removesuffix('.avi')}"] for name, video in fine.items()]
    )
    assert set(ours.ravel()) == {0, 1}
    correlation = np.corrcoef(ours.T, theirs.T)[:5, 5:]
    assert (correlation.argmax(1) == np.arange(5)).all()


def test_vispr(folder):
    train = vispr.read_vispr_pickle(folder / "vispr" / "train_labels.pkl", "train")
    test = vispr.read_vispr_pickle(folder / "vispr" / "test_labels.pkl", "test")
    assert len(train) + len(test) == 18000
    assert not set(train) & set(test)
    means = np.mean(list(train.values()), 0)
    # The frequencies that the order of VISPR1 was inferred from, as they were rounded.
    np.testing.assert_allclose(
        means, (0.471, 0.463, 0.348, 0.279, 0.059, 0.033, 0.069), atol=0.0015
    )
    rows, _ = read_table(folder / "vispr" / "attributes.tsv")
    assert tuple(row.cells["attribute_id"] for row in rows) == vispr.ATTRIBUTES
    listed = (folder / "vispr" / "test2017.txt").read_text().split()
    assert {path.rpartition("/")[2].removesuffix(".json") for path in listed} == set(test)


def test_listed_videos_on_disk(folder, real_data):
    # The table beside the clips was joined from the same lists by other code; the clips that are
    # on no list have empty cells there. The lists say .avi, the disk .mp4.
    root = real_data / "hmdb51_subset"
    flags = {"unused": "0", "train": "1", "test": "2"}
    expected = {}
    for row in read_table(root / "labels.csv")[0]:
        values = tuple(row.cells[name] for name in stprivacy.ATTRIBUTES)
        expected[row.cells["file"]] = (row.cells["hmdb51_split1"], values)
    index = VideoIndex(root)
    attributes = stprivacy.read_stprivacy(folder, "hmdb51")
    found = {}
    for video in hmdb51.read_hmdb51(folder, 1).videos:
        path = index.find(video.action, video.file)
        if path:
            values = attributes[f"{video.action}/{video.file.removesuffix('.avi')}"]
            name = path.relative_to(root).as_posix()
            found[name] = (flags[video.split], tuple(map(str, values)))
    unlisted = set(expected) - set(found)
    assert len(found) > 600
    assert found == {name: cells for name, cells in expected.items() if name not in unlisted}
    assert all(expected[name] == ("", ("",) * 5) for name in unlisted)


def test_ucf101_videos_on_disk(folder, real_data):
    root = real_data / "ucf101_subset"
    index = VideoIndex(root)
    videos = ucf101.read_ucf101(folder, 1).videos
    found = [path for video in videos if (path := index.find(video.action, video.file))]
    assert sorted(found) == sorted(root.rglob("*.avi")) != []
