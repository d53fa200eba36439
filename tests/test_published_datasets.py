"""The builders of published datasets, on small generated downloads and on the real annotations."""

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from published_samples import short_video, write_hmdb51_lists, write_pickle

from input_pipeline.annotations import hmdb51, pa_hmdb51, stprivacy, ucf101, vispr
from input_pipeline.annotations.splits import leaks
from input_pipeline.build import build_dataset, main
from input_pipeline.build_report import BuildReport
from input_pipeline.catalog import PUBLISHED
from input_pipeline.datasets.hmdb51 import hmdb51_dataset_builder as hmdb51_builder
from input_pipeline.datasets.pa_hmdb51 import pa_hmdb51_dataset_builder as pa_hmdb51_builder
from input_pipeline.datasets.ucf101 import ucf101_dataset_builder as ucf101_builder
from input_pipeline.index import read_index
from input_pipeline.records import RecordSource
from input_pipeline.specs import UNKNOWN, load_spec

SPLIT_OF_GROUP = {1: "test", 2: "test", 3: "train", 4: "train", 5: "train", 6: "train"}


@pytest.fixture
def ucf(tmp_path, monkeypatch) -> Path:
    """Two classes of six groups of one video, with VPUCF's labels; all of it below one folder."""
    folder = tmp_path / "ucf"
    actions = ("Archery", "HandstandPushups")
    lists: dict[str, list[str]] = {"train": [], "test": []}
    labels = {}
    for number, action in enumerate(actions, 1):
        written = action.replace("Handstand", "HandStand")
        for group, split in SPLIT_OF_GROUP.items():
            name = f"v_{written}_g{group:02d}_c01"
            short_video(folder / "UCF-101" / action / f"{name}.avi", 20 * group)
            lists[split].append(f"{action}/{name}.avi" + f" {number}" * (split == "train"))
            labels[f"{action}/{name}.mp4"] = np.array([[number - 1, group % 2, 1, 0, 0]])
    monkeypatch.setattr(ucf101, "NUM_ACTIONS", 2)
    monkeypatch.setitem(ucf101.SIZES, 1, (len(lists["train"]), len(lists["test"])))
    monkeypatch.setitem(stprivacy.SIZES, "ucf101", len(labels))
    (folder / "classInd.txt").write_text("".join(f"{i} {a}\n" for i, a in enumerate(actions, 1)))
    for split, rows in lists.items():
        (folder / f"{split}list01.txt").write_text("\n".join(rows) + "\n")
    write_pickle(folder / "ucf101_privacy_attribute_label.pickle", labels)
    return folder


@pytest.fixture
def hmdb(tmp_path) -> Path:
    """Official lists of HMDB51 in full size; the few films of "wave" and "walk" have videos."""
    folder = tmp_path / "hmdb"
    write_hmdb51_lists(folder)
    for name in ("50's_@1_(a)&!_wave", "film5_wave", "film9_wave", "film73_wave"):
        short_video(folder / "wave" / f"{name}_u_nm_np1_fr_goo_0.avi", 90)
    short_video(folder / "wave" / "film70_wave_u_nm_np1_fr_goo_1.avi", 90)
    short_video(folder / "walk" / "film70_walk_u_nm_np1_fr_goo_0.mp4", 90)
    return folder


def records(spec, split):
    return {record.id: record for record in RecordSource(spec, split)}


def test_ucf101_with_attributes(ucf, tmp_path, capsys):
    data = tmp_path / "data"
    assert main(["vpucf", f"--source={ucf}", f"--data_dir={data}", "--clip_frames=1"]) == 0
    assert "12 of 12 files read (train 4, validation 4, test 4)" in capsys.readouterr().err
    spec = load_spec("vpucf/split1", data)
    assert spec.actions == ("Archery", "HandstandPushups")  # in label order, 0-based
    assert spec.attributes == stprivacy.ATTRIBUTES
    test = records(spec, "test")
    name = "HandstandPushups/v_HandStandPushups_g01_c01.avi"
    assert test[name].action == 1
    assert test[name].group == "v_HandStandPushups_g01"
    assert test[name].attributes.tolist() == [1, 1, 1, 0, 0]
    rows = {split: list(read_index(spec, split)) for split in spec.split_sizes}
    assert leaks({split: [row.group for row in found] for split, found in rows.items()}) == []
    assert {(split, row.action) for split, found in rows.items() for row in found} == {
        (split, action) for split in ("train", "validation", "test") for action in spec.actions
    }
    # What TFDS itself makes of it.
    builder = tfds.builder_from_directory(spec.path)
    assert builder.info.description.startswith("VPUCF")
    assert "li2023stprivacy" in builder.info.citation
    example = builder.as_data_source("test")[0]
    assert [frame.shape for frame in example["frames"]] == [(24, 32, 3)] * 2
    assert example["num_frames"] == 2


def test_hmdb51_without_a_film_on_two_sides(hmdb, tmp_path, capsys):
    arguments = [f"--source={hmdb}", f"--data_dir={tmp_path}", "--clip_frames=1"]
    assert main(["hmdb51", *arguments]) == 2
    message = capsys.readouterr().err
    assert "files that the annotations name are missing; --allow_missing builds" in message
    assert "brush_hair/film0_brush_hair_u_nm_np1_fr_goo_0.avi" in message
    assert main(["hmdb51", *arguments, "--allow_missing"]) == 0
    assert main(["hmdb51/split1_official", *arguments, "--allow_missing"]) == 0
    leaking = "wave/film70_wave_u_nm_np1_fr_goo_1.avi"
    trap = "wave/50's_#1_(a)&!_wave_u_nm_np1_fr_goo_0.avi"
    spec, official = (load_spec(f"hmdb51/{n}", tmp_path) for n in ("split1", "split1_official"))
    ids = {split: set(records(spec, split)) for split in spec.split_sizes}
    assert ids["test"] == {f"w{n}_u_nm_np1_fr_goo_0.avi" for n in ("ave/film73_wave",
                                                                  "alk/film70_walk")}  # fmt: skip
    assert leaking not in ids["train"] | ids.get("validation", set())
    assert trap in ids["train"] | ids.get("validation", set())
    assert leaking in set(records(official, "train")) | set(
        records(official, "validation") if "validation" in official.split_sizes else ()
    )
    report = BuildReport.load(spec.path)
    assert report.excluded[leaking] == hmdb51_builder.SAME_FILM
    assert list(report.excluded.values()).count(hmdb51_builder.UNUSED) == 1666
    assert len(report.missing) == report.listed - sum(report.read.values())


def test_pa_hmdb51_keeps_segments_and_its_films_out_of_training(hmdb, tmp_path, monkeypatch):
    published = {name: [[0, 1, 0]] for name in stprivacy.ATTRIBUTES}
    published |= {"gender": [[0, 0, [1, 2]], [3, 4, 0]], "face": [[0, 1, 0], [1, 1, 2]]}
    video = "film70_walk_u_nm_np1_fr_goo_0.avi"
    for action in hmdb51.ACTIONS:
        content = {video: {"review": True, **published}} if action == "walk" else {}
        (hmdb / f"{action}.json").write_text(json.dumps(content))
    monkeypatch.setattr(pa_hmdb51, "NUM_VIDEOS", 1)
    options = {"source": hmdb, "allow_missing": True, "clip_frames": 1}
    (spec,) = build_dataset("pa_hmdb51", tmp_path, **options)
    (alone,) = build_dataset("pa_hmdb51/test_only", tmp_path, **options)
    assert alone.split_sizes == {"test": 1}
    (record,) = RecordSource(spec, "test")
    assert record.metadata["segments"] == published
    assert record.attributes.tolist() == [0, 1, 1, 0, 0]
    training = dict(
        item for s in set(spec.split_sizes) - {"test"} for item in records(spec, s).items()
    )
    assert len(training) == 4  # all but the two videos of film70
    assert "wave/film70_wave_u_nm_np1_fr_goo_1.avi" not in training
    assert all((record.attributes == UNKNOWN).all() for record in training.values())


@pytest.fixture
def photographs(tmp_path, monkeypatch) -> Path:
    """Sixty training, one validation and three test images; the last one is on its side."""
    for split, count in (("train", 60), ("val", 1), ("test", 3)):
        monkeypatch.setitem(vispr.SIZES, split, count)
        for i in range(count):
            path = tmp_path / "images" / f"{split}2017" / f"2017_{split}{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((20, 30, 3), 3 * i, np.uint8))
    data = path.read_bytes()
    # An EXIF block that says: turn by a quarter.
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    exif = b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff
    path.write_bytes(data[:2] + exif + data[2:])
    return tmp_path


def test_vispr_from_json(photographs, tmp_path):
    for split, count in vispr.SIZES.items():
        folder = photographs / "annotations" / f"{split}2017"
        folder.mkdir(parents=True)
        for i in range(count):
            labels = ["a4_gender", "a10_face_partial"] if i % 2 else ["a0_safe"]
            (folder / f"2017_{split}{i}.json").write_text(json.dumps({"labels": labels}))
    options = {"source": photographs / "images", "annotations": photographs / "annotations"}
    (spec,) = build_dataset("vispr", tmp_path, short_side=10, **options)
    assert (spec.name, spec.kind, spec.actions) == ("vispr/vispr1", "image", ())
    assert spec.attributes == vispr.VISPR1
    assert spec.split_sizes == {"train": 60, "validation": 1, "test": 3}
    test = records(spec, "test")
    assert test["2017_test1"].attributes.tolist() == [0, 1, 0, 1, 0, 0, 0]
    sizes = {}
    for record in tfds.builder_from_directory(spec.path).as_data_source("test"):
        source = (record["source_height"], record["source_width"])
        sizes[record["id"].decode()] = (record["image"].shape[:2], source)
    assert sizes == {
        "2017_test0": ((10, 15), (20, 30)),
        "2017_test1": ((10, 15), (20, 30)),
        "2017_test2": ((15, 10), (30, 20)),
    }
    (pa,) = build_dataset("vispr/pa", tmp_path, **options)
    assert pa.attributes == stprivacy.ATTRIBUTES
    assert records(pa, "test")["2017_test1"].attributes.tolist() == [0, 1, 1, 0, 0]
    (every,) = build_dataset("vispr/all", tmp_path, **options)
    assert records(every, "test")["2017_test0"].attributes.sum() == 1


def test_vispr_from_pickles(photographs, tmp_path, capsys):
    for split in ("train", "test"):
        rows = {f"2017_{split}{i}": np.eye(7)[i % 7] for i in range(vispr.SIZES[split])}
        write_pickle(photographs / "labels" / f"{split}_labels.pkl", rows)
    (photographs / "images" / "test2017" / "2017_test1.jpg").write_text("no image")
    arguments = [f"--source={photographs}", f"--data_dir={tmp_path}", "--max_bad_share=0.1"]
    assert main(["vispr/vispr1", *arguments]) == 0
    assert "2017_test1.jpg: cannot be read as an image" in capsys.readouterr().err
    spec = load_spec("vispr/vispr1", tmp_path)
    assert spec.split_sizes["train"] + spec.split_sizes["validation"] == 60
    assert 1 <= spec.split_sizes["validation"] <= 20
    assert spec.split_sizes["test"] == 2
    assert main(["vispr/pa", *arguments]) == 0
    pa = load_spec("vispr/pa", tmp_path)
    assert records(pa, "test")["2017_test2"].attributes.tolist() == [0, 1, 0, 0, 0]
    assert main(["vispr/all", *arguments]) == 2
    assert "needs the folders train2017, val2017 and test2017" in capsys.readouterr().err


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_each_builder_refuses(name, tmp_path, capsys):
    assert main([name, f"--data_dir={tmp_path}"]) == 2
    assert f"{name} needs the folder of the files: --source=DIR" in capsys.readouterr().err
    assert main([f"{name}/x", f"--source={tmp_path}", f"--data_dir={tmp_path}"]) == 2
    assert f"no dataset '{name}/x'; its configs are: " in capsys.readouterr().err
    source = tmp_path / "empty"
    source.mkdir()
    assert main([name, f"--source={source}", f"--data_dir={tmp_path}"]) == 2
    assert "below this folder. " in capsys.readouterr().err
    assert main([name, f"--source={source}", "--annotations=/no", f"--data_dir={tmp_path}"]) == 2
    assert "/no: the annotations folder is not there" in capsys.readouterr().err
    assert main([name, f"--source={source}", "--labels=x.csv", f"--data_dir={tmp_path}"]) == 2
    assert f"{name} takes no option labels" in capsys.readouterr().err


# The real annotations, in full


@pytest.fixture(scope="module")
def annotations(real_data) -> Path:
    if not (real_data / "annotations").is_dir():
        pytest.skip(f"no published annotations in {real_data}")
    return real_data / "annotations"


def groups_of(assignment):
    return {s: [video.group for video in v] for s, v in assignment.splits.items()}


@pytest.mark.parametrize("split", [1, 2, 3])
def test_no_group_stands_in_two_real_splits(annotations, split):
    listing = ucf101.read_ucf101(annotations, split)
    assignment = ucf101_builder.assign(listing)
    assert leaks(groups_of(assignment)) == []
    assert assignment.excluded == {}
    sizes = {split: len(videos) for split, videos in assignment.splits.items()}
    train, test = ucf101.SIZES[split]
    assert sizes["test"] == test
    assert sizes["train"] + sizes["validation"] == train
    assert len({v.group for v in assignment.splits["validation"]}) == 2 * 101

    listing = hmdb51.read_hmdb51(annotations, split)
    assignment = hmdb51_builder.assign(listing, disjoint=True)
    assert leaks(groups_of(assignment)) == []
    sizes = {split: len(videos) for split, videos in assignment.splits.items()}
    dropped = {1: 806, 2: 869, 3: 809}[split]
    assert sizes["test"] == 1530
    assert sizes["train"] + sizes["validation"] == 3570 - dropped
    assert 0.1 < sizes["validation"] / (3570 - dropped) < 0.13
    per_class = [
        Counter(video.action for video in assignment.splits[name])
        for name in ("train", "validation")
    ]
    for action in hmdb51.ACTIONS:
        kept, held = (count[action] for count in per_class)
        assert held <= 0.15 * (kept + held)
        assert held > 0 or kept + held < 7  # of six videos, one is more than 15 %
    assert len(assignment.excluded) == 1666 + dropped
    assert {video.action for video in assignment.splits["train"]} == set(hmdb51.ACTIONS)
    official = hmdb51_builder.assign(listing, disjoint=False)
    assert len(official.splits["train"]) + len(official.splits["validation"]) == 3570
    assert leaks({k: v for k, v in groups_of(official).items() if k != "test"}) == []


def test_no_annotated_video_and_no_film_of_one_is_trained_on(annotations):
    listing = hmdb51.read_hmdb51(annotations, 1)
    annotated = pa_hmdb51.read_pa_hmdb51(annotations)
    assignment = pa_hmdb51_builder.assign(listing, annotated, test_only=False)
    assert leaks(groups_of(assignment)) == []
    assert {video.file for video in assignment.splits["test"]} == set(annotated)
    assert len(assignment.splits["test"]) == 515
    assert {video.action for video in assignment.splits["validation"]} == set(hmdb51.ACTIONS)


def test_the_real_videos_build(annotations, real_data, tmp_path):
    source, options = real_data / "ucf101_subset", {"allow_missing": True, "short_side": 32}
    if not source.is_dir():
        pytest.skip(f"no UCF101 videos in {source}")
    for name, split in (("ucf101/split1", "test"), ("vpucf/split2", "train")):
        (spec,) = build_dataset(name, tmp_path, source=source, annotations=annotations, **options)
        found = records(spec, split)
        assert len(found) == 6
        assert min(len(record.frames) for record in found.values()) > 90
