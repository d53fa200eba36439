"""The table of labels and the video_folder builder: what is accepted, stored, and refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from video_samples import data_folder, halves, write_video

from input_pipeline.build import build_dataset
from input_pipeline.errors import DataError
from input_pipeline.labels import read_labels
from input_pipeline.records import RecordSource
from input_pipeline.specs import UNKNOWN, load_spec
from input_pipeline.video import decode_frames

RED, BLUE = (220, 30, 40), (40, 50, 210)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with four empty files that stand for videos: labels are checked before decoding."""
    folder = tmp_path / "clips"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.mp4", "b.mp4", "sub/c.mp4", "sub/d.mp4"):
        (folder / name).touch()
    return folder


def read(source: Path, text: str, **options):
    labels = source / "labels.csv"
    labels.write_text(text, encoding="utf-8")
    return read_labels(labels, source, **options)


GOOD = """\
file,action,split,face,person,film,note
a.mp4,wave,train,1,P1,f1,"one, two"
b.mp4,run,train,0,P2,f1,
./sub/c.mp4,wave,validation,,P1,f2,x
sub/d.mp4,run,test,1.0,,,y
"""


def test_every_column_goes_where_it_belongs(source):
    labels = read(source, GOOD, attributes=("face", "person"), group="film")
    assert labels.actions == ("run", "wave")
    assert labels.attributes == ("face", "person=P1", "person=P2")
    assert [video.file for video in labels.videos] == ["a.mp4", "b.mp4", "sub/c.mp4", "sub/d.mp4"]
    assert [video.attributes for video in labels.videos] == [
        (1, 1, 0),
        (0, 0, 1),
        (UNKNOWN, 1, 0),
        (1, UNKNOWN, UNKNOWN),
    ]
    assert [video.group for video in labels.videos] == ["f1", "f1", "f2", ""]
    assert [video.split for video in labels.videos] == ["train", "train", "validation", "test"]
    assert labels.videos[0].metadata == {"note": "one, two"}
    assert [video.line for video in labels.videos] == [2, 3, 4, 5]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_byte_order_mark_blank_lines_and_crlf(source, separator):
    plain = GOOD.replace('"one, two"', "one").replace("\n", "\r\n\r\n").replace(",", separator)
    labels = read(source, "\ufeff" + plain, attributes=("face",))
    assert [video.action for video in labels.videos] == ["wave", "run", "wave", "run"]
    assert labels.attributes == ("face",)
    assert labels.videos[3].line == 9


def test_a_split_can_come_from_another_column(source):
    text = "file,action,trial\na.mp4,x,T1\nb.mp4,y,T1\nsub/c.mp4,x,T2\nsub/d.mp4,y,test\n"
    labels = read(source, text, split="trial", split_values={"T1": "train", "T2": "validation"})
    assert [video.split for video in labels.videos] == ["train", "train", "validation", "test"]
    with pytest.raises(DataError, match=r"no column 'split'; the columns are: file, action, trial"):
        read(source, text)
    with pytest.raises(DataError, match=r"line 2, column 'trial': 'T1' is none of: T3, train, "):
        read(source, text, split="trial", split_values={"T3": "train"})


def problem(source: Path, text: str, **options) -> str:
    with pytest.raises(DataError) as error:
        read(source, text, **options)
    message = str(error.value)
    assert message.startswith(str(source / "labels.csv"))
    return message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a.mp4,wave", "z.mp4,wave", "line 2, column 'file': there is no file 'z.mp4'"),
        ("a.mp4,wave", "sub,wave", "line 2, column 'file': there is no file 'sub'"),
        ("a.mp4,wave", ",wave", "line 2, column 'file': is empty"),
        ("a.mp4,wave", "../clips/a.mp4,wave", "line 2, column 'file': '../clips/a.mp4' must be a"),
        ("a.mp4,wave", "/etc/passwd,wave", "line 2, column 'file': '/etc/passwd' must be a path"),
        ("b.mp4,run", "sub/../a.mp4,run", "line 3, column 'file': 'sub/../a.mp4' must be a path"),
        ("b.mp4,run", "./a.mp4,run", "line 3, column 'file': './a.mp4' stands in line 2 already"),
        ("sub/c", "sub\\c", "write '/' instead of '\\'"),
        ("b.mp4,run", "b.mp4, ", "line 3, column 'action': is empty"),
        ("b.mp4,run", "b.mp4,sit", "line 5, column 'action': 'run' has no video in the split 'tra"),
        ("run,train", "run,training", "line 3, column 'split': 'training' is none of: train, vali"),
        ("validation", "test", "column 'split': no video is in the split 'validation'"),
        ("train,0", "train,2", "line 3, column 'face': '2' is neither 0 nor 1 nor empty"),
        ("train,0", "train,0,9", "line 3: 8 cells, but the header has 7"),
        ("c.mp4,wave,validation", "c.mp4", "line 4: 5 cells, but the header has 7"),
        ("P1,f2", "P1,f1", "group 'f1' stands in train (lines 2, 3) and validation (line 4)"),
        ("film,note", "film,film", "line 1: two columns have the same name: film"),
        ("file,action", "path,action", "line 1: there is no column 'file'; the columns are: path"),
        ("face,person", "person,x", "line 1: there is no column 'face'"),
        ("film,note", "movie,note", "line 1: there is no column 'film'"),
        ('"one, two"', '"one, two', "is no CSV"),
        ('"one, two"', '"one" two', "line 2: is no CSV"),
        ("wave", "run", "column 'action': all videos show the same"),
    ],
)
def test_a_problem_names_line_and_column(source, old, new, expected):
    assert old in GOOD
    message = problem(source, GOOD.replace(old, new), attributes=("face",), group="film")
    assert expected in message


def test_links_may_not_lead_out_nor_double_a_file(source, tmp_path):
    (tmp_path / "secret.mp4").touch()
    (source / "b.mp4").unlink()
    (source / "b.mp4").symlink_to(tmp_path / "secret.mp4")
    assert "line 3, column 'file': 'b.mp4' is a link that leads out" in problem(source, GOOD)
    (source / "b.mp4").unlink()
    (source / "b.mp4").symlink_to("a.mp4")
    assert "line 3, column 'file': 'b.mp4' stands in line 2 already" in problem(source, GOOD)
    linked = tmp_path / "linked"
    linked.symlink_to(source)  # the folder itself may be a link
    (source / "b.mp4").unlink()
    (source / "b.mp4").touch()
    assert len(read(linked, GOOD).videos) == 4


def test_ten_problems_are_shown_and_the_rest_is_counted(source):
    rows = "".join(f"no{index}.mp4,wave,train\n" for index in range(12))
    good = "a.mp4,wave,train\nb.mp4,run,train\nsub/c.mp4,run,validation\n"
    message = problem(source, "file,action,split\n" + good + rows)
    assert "12 problems" in message
    assert message.count("there is no file") == 10
    assert message.endswith("... and 2 more")


def test_unusable_tables(source, tmp_path):
    with pytest.raises(
        DataError, match=r"there is no such table of labels.*file, action and split"
    ):
        read_labels(source / "labels.csv", source)
    assert "holds no rows" in problem(source, "file,action,split\n")
    assert "there is no column 'file', 'action', 'split'" in problem(source, "name\na.mp4\n")
    for text in ("", "\nfile,action,split\n"):
        assert "line 1: is empty; the names of the columns belong there" in problem(source, text)
    (source / "labels.csv").write_bytes("file,action,split\nä,ö,ü\n".encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_labels(source / "labels.csv", source)


def test_attribute_columns_without_use_are_refused(source):
    text = GOOD.replace(",1,P1", ",,P1").replace(",0,P2", ",,P2").replace("1.0", "")
    assert "column 'face': every cell is empty" in problem(source, text, attributes=("face",))
    for index in range(101):
        (source / f"{index}.mp4").touch()
    rows = "".join(f"{index}.mp4,x{index % 2},train,age{index}\n" for index in range(101))
    text = f"file,action,split,age\n{rows}a.mp4,x0,validation,age1\n"
    expected = "column 'age': 101 different values"
    assert expected in problem(source, text, attributes=("age",))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A data folder with `video_folder/clips`, built from videos that are gone afterwards."""
    root = tmp_path_factory.mktemp("video_folder")
    source = root / "clips"
    sizes = {"a.mp4": 3, "b.mp4": 1, "sub/c.mp4": 2, "sub/d.mp4": 4}
    for name, count in sizes.items():
        write_video(source / name, [halves(RED, BLUE)] * count, fps=10)
    (source / "labels.csv").write_text(GOOD)
    build_dataset(
        "video_folder", root / "data", source=source, attributes=("face", "person"), group="film"
    )
    shutil.rmtree(source)
    return root / "data"


def test_records_hold_what_the_table_and_the_videos_say(built):
    spec = load_spec("video_folder/clips", built)
    assert spec.kind == "video"
    assert spec.actions == ("run", "wave")
    assert spec.attributes == ("face", "person=P1", "person=P2")
    assert spec.split_sizes == {"train": 2, "validation": 1, "test": 1}
    train = RecordSource(spec, "train")
    first, second = sorted((train[0], train[1]), key=lambda record: record.id)
    assert (first.id, first.action, first.group, first.fps) == ("a.mp4", 1, "f1", 10.0)
    assert first.metadata == {"note": "one, two", "damaged_frames": 0}
    assert (len(first.frames), len(second.frames)) == (3, 1)
    np.testing.assert_array_equal(second.attributes, [0, 0, 1])
    test = RecordSource(spec, "test")[0]
    assert (test.id, test.group) == ("sub/d.mp4", "")
    np.testing.assert_array_equal(test.attributes, [1, UNKNOWN, UNKNOWN])
    bgr = cv2.imdecode(np.frombuffer(first.frames[0], np.uint8), cv2.IMREAD_COLOR)
    assert bgr.shape == (48, 64, 3)
    left, right = bgr[:, 4:28, ::-1].mean((0, 1)), bgr[:, 36:60, ::-1].mean((0, 1))
    # The colours pass through 8-bit YUV twice, in H.264 and in JPEG.
    np.testing.assert_allclose(left, RED, atol=5)
    np.testing.assert_allclose(right, BLUE, atol=5)


def test_tfds_alone_reads_it(built, tmp_path):
    script = (
        "import sys, json, tensorflow_datasets as tfds\n"
        "data = tfds.builder_from_directory(sys.argv[1]).as_data_source('test')\n"
        "record = data[0]\n"
        "loaded = [name for name in ('tensorflow', 'input_pipeline') if name in sys.modules]\n"
        "print(json.dumps([len(data), len(record['frames']), list(record['frames'][0].shape),\n"
        "    record['id'].decode(), int(record['source_height']), loaded]))\n"
    )
    path = load_spec("video_folder/clips", built).path
    output = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert json.loads(output) == [1, 4, [48, 64, 3], "sub/d.mp4", 48, []]


def test_the_package_folder_describes_the_dataset(built):
    folder = Path(sys.modules["input_pipeline"].__file__).parent / "datasets" / "video_folder"
    metadata = tfds.core.dataset_metadata.load(folder)
    assert set(metadata.tags) <= set(tfds.core.dataset_metadata.valid_tags())
    assert metadata.citation
    info = tfds.builder_from_directory(load_spec("video_folder/clips", built).path).info
    assert info.description == metadata.description.strip()


def test_no_attributes_no_group(tmp_path):
    rows = ["file,action,split"]
    for index, split in enumerate(["train", "train", "validation"]):
        write_video(tmp_path / f"{index}.mp4", [halves(RED, BLUE)])
        rows.append(f"{index}.mp4,{'run' if index else 'wave'},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    (spec,) = build_dataset(
        "video_folder", tmp_path / "d", source=tmp_path, name="x", short_side=24
    )
    assert spec.attributes == ()
    assert spec.test_split == "validation"
    record = RecordSource(spec, "validation")[0]
    assert record.attributes.shape == (0,)
    assert record.group == ""
    frame = cv2.imdecode(np.frombuffer(record.frames[0], np.uint8), cv2.IMREAD_COLOR)
    assert frame.shape == (24, 32, 3)


def test_real_folder(tmp_path):
    source = data_folder("gatech_mhi_112")
    (spec,) = build_dataset(
        "video_folder",
        tmp_path,
        source=source,
        attributes=("subject",),
        split="trial",
        split_values={"T1": "train", "T2": "validation"},
    )
    assert spec.name == "video_folder/gatech_mhi_112"
    assert spec.attributes == ("subject=P1", "subject=P2", "subject=P3")
    assert spec.split_sizes == {"train": 9, "validation": 9}
    record = RecordSource(spec, "validation")[4]
    assert len(record.frames) == int(record.metadata["frames"])
    expected = decode_frames(source / record.id)[0][0].astype(float)
    stored = cv2.imdecode(np.frombuffer(record.frames[0], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    psnr = 10 * np.log10(255**2 / np.mean((stored - expected) ** 2))
    assert psnr > 40  # 42.4 measured at quality 95; quality 75 gives about 37
