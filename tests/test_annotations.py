"""Lists of videos, the videos on disk and splits, on small generated files with every trap."""

import dataclasses

import pytest

from input_pipeline.annotations import hmdb51, splits, ucf101
from input_pipeline.annotations.files import VideoIndex, find_file, find_files
from input_pipeline.annotations.listed import ListedVideo
from input_pipeline.errors import DataError


def _write(path, content=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)
    return path


# Annotation files


def test_a_file_is_found_at_any_depth_and_copies_are_one(tmp_path):
    first = _write(tmp_path / "a" / "b" / "classInd.txt", "1 Archery")
    _write(tmp_path / "copy" / "classInd.txt", "1 Archery")
    assert find_file(tmp_path, "classInd.txt", "") == first


def test_missing_files_are_named_with_the_hint(tmp_path):
    _write(tmp_path / "one.txt")
    with pytest.raises(DataError, match=r"no two\.txt, three\.txt below this folder\. Get them"):
        find_files(tmp_path, ["one.txt", "two.txt", "three.txt"], "Get them at URL")
    with pytest.raises(DataError, match="no such folder of annotations"):
        find_file(tmp_path / "absent", "one.txt", "")


def test_different_files_of_one_name_are_named(tmp_path):
    _write(tmp_path / "a" / "list.txt", "1")
    _write(tmp_path / "b" / "list.txt", "2")  # of the same size
    with pytest.raises(DataError, match=r"a/list\.txt and .*b/list\.txt"):
        find_file(tmp_path, "list.txt", "")


# Videos on disk


@pytest.mark.parametrize(
    ("on_disk", "action", "name"),
    [
        ("clap/One_clap_f.avi", "clap", "One_clap_f.mp4"),
        ("clap/One_clap_f.MP4", "clap", "One_clap_f.avi"),
        ("clap/One_clap_f.webm", "clap", "One_clap_f"),
        ("shake/Jay_@_David_0.avi", "shake", "Jay_#_David_0.avi"),
        ("shake/Jay_#_David_0.avi", "shake", "Jay_@_David_0.avi"),
        (
            "HandstandPushups/v_HandStandPushups_g01.avi",
            "HandStandPushups",
            "v_handstandpushups_g01",
        ),
        ("clap/50's!(a)&b;[c]+~_clap_0.avi", "clap", "50's!(a)&b;[c]+~_clap_0.avi"),
        ("One_clap_f.avi", "clap", "One_clap_f.avi"),
        ("train/x/clap/One.v2_clap_f.avi", "clap", "One.v2_clap_f"),
        ("clap/ge\u0301n\u0303_clap.avi", "clap", "g\u00e9\u00f1_clap.avi"),
    ],
)
def test_a_video_is_found_however_it_is_written(tmp_path, on_disk, action, name):
    path = _write(tmp_path / on_disk)
    index = VideoIndex(tmp_path)
    assert index.find(action, name) == path
    assert index.find(action, "Other_clap_f.avi") is None


def test_the_video_below_its_class_wins(tmp_path):
    right = _write(tmp_path / "Clap" / "a.avi")
    _write(tmp_path / "backup" / "a.avi")
    assert VideoIndex(tmp_path).find("clap", "a.avi") == right


@pytest.mark.parametrize(
    "files",
    [("clap/a.avi", "clap/a.mp4"), ("clap/a.avi", "clap/A.avi"), ("x/a.avi", "y/a.avi")],
)
def test_an_ambiguous_video_is_refused_naming_both(tmp_path, files):
    for file in files:
        _write(tmp_path / file)
    with pytest.raises(DataError) as error:
        VideoIndex(tmp_path).find("clap", "a.avi")
    assert all(str(tmp_path / file) in str(error.value) for file in files)


def test_a_folder_without_videos_is_an_error(tmp_path):
    _write(tmp_path / "._hidden.avi")
    _write(tmp_path / "hmdb51.rar")
    with pytest.raises(DataError, match="no video below"):
        VideoIndex(tmp_path)


# UCF101


@pytest.fixture
def ucf(tmp_path, monkeypatch):
    """Two classes, two training videos and one test video, as split 1."""
    monkeypatch.setattr(ucf101, "NUM_ACTIONS", 2)
    monkeypatch.setitem(ucf101.SIZES, 1, (2, 1))
    files = {
        "classInd.txt": "1 Archery\r\n2 HandstandPushups\r\n",
        "trainlist01.txt": "Archery/v_Archery_g08_c01.avi 1\r\n"
        "HandstandPushups/v_HandStandPushups_g08_c02.avi 2\r\n",
        "testlist01.txt": "Archery/v_Archery_g01_c01.avi\r\n",
    }
    for name, content in files.items():
        _write(tmp_path / name, content.encode())
    return tmp_path


def test_ucf101(ucf):
    found = ucf101.read_ucf101(ucf, 1)
    assert found.actions == ("Archery", "HandstandPushups")
    assert found.videos == (
        ListedVideo("Archery", "v_Archery_g08_c01.avi", "v_Archery_g08", "train"),
        ListedVideo(
            "HandstandPushups", "v_HandStandPushups_g08_c02.avi", "v_HandStandPushups_g08", "train"
        ),
        ListedVideo("Archery", "v_Archery_g01_c01.avi", "v_Archery_g01", "test"),
    )


@pytest.mark.parametrize(
    ("file", "before", "after", "message"),
    [
        ("trainlist01.txt", "c01.avi 1", "c01.avi 0", "line 1: .* should have the label 1"),
        ("trainlist01.txt", "c01.avi 1", "c01.avi", "line 1: .* should have the label 1"),
        ("testlist01.txt", "c01.avi", "c01.avi 1", "line 1: .* should have no label"),
        ("trainlist01.txt", "HandstandPushups/", "Handstand/", "line 2: 'Handstand' is no class"),
        ("trainlist01.txt", "v_HandStand", "v_Foot", "line 2: .* is not like"),
        ("trainlist01.txt", "g08_c01", "g8_c01", "line 1: .* is not like"),
        ("testlist01.txt", "g01", "g08", r"line 1: .* in trainlist01\.txt, line 1, already"),
        ("testlist01.txt", "Archery/v_Archery_g01_c01.avi", "", "0 videos, but .* has 1"),
        ("classInd.txt", "2 ", "3 ", "line 2: .* should be '2 NAME'"),
        ("classInd.txt", "HandstandPushups", "Archery", "line 2: .* a new name"),
        ("classInd.txt", "2 HandstandPushups", "", "1 classes instead of 2"),
        ("classInd.txt", "Archery", "\xff", "classInd.txt: is not UTF-8"),
    ],
)
def test_errors_of_ucf101(ucf, file, before, after, message):
    content = (ucf / file).read_bytes()
    assert before.encode() in content
    _write(ucf / file, content.replace(before.encode(), after.encode("latin1")))
    with pytest.raises(DataError, match=message) as error:
        ucf101.read_ucf101(ucf, 1)
    assert file in str(error.value)


def test_ucf101_has_three_splits(tmp_path):
    with pytest.raises(DataError, match="no split 4"):
        ucf101.read_ucf101(tmp_path, 4)
    with pytest.raises(DataError, match=r"classInd\.txt, trainlist02\.txt.*crcv\.ucf\.edu"):
        ucf101.read_ucf101(tmp_path, 2)


# HMDB51


@pytest.fixture
def hmdb(tmp_path):
    """Split 1: 70 training and 30 test videos of each class, and 1,666 unused ones."""
    for number, action in enumerate(hmdb51.ACTIONS):
        unused = 66 if number == 0 else 32  # 66 + 50 * 32 = 1666
        flags = "1" * 70 + "2" * 30 + "0" * unused
        rows = [f"A_{action}_B!_{action}_f_{i}.avi {flag} \n" for i, flag in enumerate(flags)]
        _write(tmp_path / "splits" / f"{action}_test_split1.txt", "".join(rows))
    return tmp_path


def test_hmdb51(hmdb):
    found = hmdb51.read_hmdb51(hmdb, 1)
    assert found.actions == tuple(sorted(hmdb51.ACTIONS))
    assert len(found.videos) == 6766
    # The film's own name may hold the class: the last one ends it.
    assert found.videos[0] == ListedVideo(
        "brush_hair", "A_brush_hair_B!_brush_hair_f_0.avi", "A_brush_hair_B!", "train"
    )
    assert found.videos[70].split == "test"
    assert found.videos[100].split == "unused"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("_f_3.avi 1", "_f_3.avi 3", "line 4: .* should end in 0, 1 or 2"),
        ("_f_3.avi 1", "_f_3.avi", "line 4: .* should end in 0, 1 or 2"),
        ("A_clap_B!_clap_f_3", "A_claps_3", "line 4: .* has no '_clap_' in its name"),
        ("_f_3.avi", "_f_2.avi", "line 4: .* stands in line 3 already"),
        ("A_clap_B!_clap_f_3.avi 1 ", "", "69 train videos instead of 70; it is cut off"),
    ],
)
def test_errors_of_hmdb51(hmdb, before, after, message):
    path = hmdb / "splits" / "clap_test_split1.txt"
    lines = path.read_text().splitlines(keepends=True)
    assert before in lines[3]
    lines[3] = lines[3].replace(before, after)
    path.write_text("".join(lines))
    with pytest.raises(DataError, match=message) as error:
        hmdb51.read_hmdb51(hmdb, 1)
    assert "clap_test_split1.txt" in str(error.value)


def test_missing_parts_of_hmdb51(hmdb):
    path = hmdb / "splits" / "clap_test_split1.txt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match=r"1665 unused \(not 1666\)"):
        hmdb51.read_hmdb51(hmdb, 1)
    path.unlink()
    with pytest.raises(DataError, match=r"no clap_test_split1\.txt below.*serre-lab"):
        hmdb51.read_hmdb51(hmdb, 1)
    with pytest.raises(DataError, match="no split 0"):
        hmdb51.read_hmdb51(hmdb, 0)


# Splits


def test_hold_out_depends_on_the_name_alone():
    groups = [f"film {i}" for i in range(2000)]
    held = splits.hold_out(groups, 0.15)
    # 2000 draws of 0.15: 300 with a standard deviation of 16.
    assert 240 < len(held) < 360
    assert splits.hold_out(groups[1::2], 0.15) == held & set(groups[1::2])
    assert held < splits.hold_out(groups, 0.3)
    # As sha256sum has it, the hash of "film 1" begins with fa64c158: 0.9781 of the range.
    assert "film 1" not in splits.hold_out(groups, 0.978)
    assert "film 1" in splits.hold_out(groups, 0.979)
    with pytest.raises(ValueError, match="between 0 and 1"):
        splits.hold_out(groups, 15)


def test_hold_out_balanced():
    def videos(action, film, count):
        return [
            ListedVideo(action, f"{film}_{action}_{i}.avi", film, "train") for i in range(count)
        ]

    # One film gives half of the class "run"; forty others give two videos to each class.
    listed = videos("run", "big", 80)
    for film in range(40):
        listed += videos("run", f"film {film}", 2) + videos("walk", f"film {film}", 2)
    chosen = splits.hold_out_balanced(listed, 0.1)
    assert "big" not in chosen
    held = [video for video in listed if video.group in chosen]
    # Six films of two: "walk" has 12 of its 80 then, one and a half tenths, and "run" 12 of 160.
    assert (len(chosen), len(held)) == (6, 24)
    assert chosen == splits.hold_out_balanced(listed[::-1], 0.1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        splits.hold_out_balanced(listed, 1.0)


def test_hold_out_per_class():
    groups = {name: [f"v_{name}_g{i:02}" for i in range(8, 26)] for name in ("Archery", "Diving")}
    held = splits.hold_out_per_class(groups, 2)
    assert held == splits.hold_out_per_class({k: v[::-1] * 3 for k, v in groups.items()}, 2)
    for members in groups.values():
        assert len(held & set(members)) == 2
    with pytest.raises(DataError, match=r"hold out 18 groups .*: Archery, Diving; hold out fewer"):
        splits.hold_out_per_class(groups, 18)
    with pytest.raises(ValueError, match="at least 1"):
        splits.hold_out_per_class(groups, 0)


def test_leaks_and_their_removal():
    row = ListedVideo("kick", "A_kick_0.avi", "A", "train")
    other = dataclasses.replace(row, file="B_kick_0.avi", group="B")
    groups = {"train": ["A", "B", "B"], "validation": ["C"], "test": {"A", "D"}}
    assert splits.leaks(groups) == ["A"]
    assert splits.drop_leaking([row, other], groups["test"]) == ([other], [row])
    assert splits.leaks({"train": [other.group], "test": ["A", "D"]}) == []
