"""The build command: atomic, repeatable, counting what it cannot read, and clear about refusals."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from video_samples import ROOT, halves, write_video

from input_pipeline import catalog, encoding, estimate, media_builder, shards
from input_pipeline.build import build_dataset, ensure_dataset, main
from input_pipeline.build_report import BuildReport
from input_pipeline.errors import DataError, WorkerKilledError
from input_pipeline.publish import staging
from input_pipeline.records import RecordSource
from input_pipeline.specs import image_features, load_spec, spec_metadata

NAME = "video_folder/clips"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Eight training and four validation videos of one or two frames, two actions."""
    folder = tmp_path / "clips"
    rows = ["file,action,split"]
    for index in range(12):
        frame = halves((20 * index, 30, 40), (40, 20 * index, 30), 24, 32)
        write_video(folder / f"{index:02d}.avi", [frame] * (1 + index % 2), codec="mjpeg",
                    pix_fmt="yuvj420p")  # fmt: skip
        split = "train" if index < 8 else "validation"
        rows.append(f"{index:02d}.avi,{'run' if index % 2 else 'wave'},{split}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def leftovers(data: Path) -> list[str]:
    """Everything below the dataset's folder that is neither a version nor the lock."""
    return sorted(p.name for p in (data / NAME).iterdir() if p.name not in ("1.0.0", ".lock"))


def assert_not_there(data: Path) -> None:
    assert leftovers(data) == []
    with pytest.raises(DataError, match=r"is not \(completely\) below"):
        load_spec(NAME, data)


def test_command_line_builds_once(source, data, capsys):
    arguments = ["video_folder", f"--source={source}", f"--data_dir={data}", "--workers=2"]
    assert main(arguments) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert "12 of 12 files read (train 8, validation 4), 18 frames; 0 missing" in output.err
    assert load_spec(NAME, data).split_sizes == {"train": 8, "validation": 4}
    before = contents(data / NAME / "1.0.0")
    assert main(arguments) == 0
    assert "already; nothing to do" in capsys.readouterr().err
    assert contents(data / NAME / "1.0.0") == before


def test_two_processes_write_the_same_bytes(source, data, tmp_path):
    build_dataset("video_folder", data, source=source, workers=1)
    other = tmp_path / "other"
    command = [sys.executable, "-m", "input_pipeline.build", "video_folder", f"--source={source}"]
    subprocess.run(
        [*command, f"--data_dir={other}", "--workers=2"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        check=True,
        capture_output=True,
    )
    assert contents(other / NAME / "1.0.0") == contents(data / NAME / "1.0.0")


def test_order_mixes_classes_and_shards_keep_every_video(source, data, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_ENTRIES", 3)
    (spec,) = build_dataset("video_folder", data, source=source)
    assert len(list(spec.path.glob("*train.array_record*"))) == 3
    records = RecordSource(spec, "train")
    ids = [records[index].id for index in range(len(records))]
    assert sorted(ids) == [f"{index:02d}.avi" for index in range(8)]
    assert ids != sorted(ids)
    assert all(len(records[i].frames) == 1 + int(name[:2]) % 2 for i, name in enumerate(ids))


def test_large_files_get_shards_of_their_own(source, data, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_SOURCE_BYTES", 1)
    (source / "03.avi").write_text("no video")  # a shard without records is left out
    (spec,) = build_dataset("video_folder", data, source=source, max_bad_share=0.1)
    assert len(list(spec.path.glob("*train.array_record*"))) == 7
    records = RecordSource(spec, "train")
    assert len({records[index].id for index in range(7)}) == 7
    assert len(records) == 7


def test_other_options_are_refused_until_overwrite(source, data, capsys):
    arguments = ["video_folder", f"--source={source}", f"--data_dir={data}"]
    assert main(arguments) == 0
    assert main([*arguments, "--quality=50", "--workers=1"]) == 2
    message = capsys.readouterr().err
    assert "quality: there 95, asked for 50" in message
    assert "workers" not in message
    assert "--overwrite" in message
    assert main([*arguments, "--quality=50", "--overwrite"]) == 0
    assert BuildReport.load(data / NAME / "1.0.0").options["quality"] == 50
    labels = source / "labels.csv"
    labels.write_text(labels.read_text().replace("00.avi,wave", "00.avi,run"))
    assert main([*arguments, "--quality=50"]) == 2
    assert "labels_sha256" in capsys.readouterr().err
    assert leftovers(data) == []


def test_unreadable_videos_are_named_counted_and_limited(source, data, capsys):
    (source / "02.avi").write_text("no video")
    whole = (source / "05.avi").read_bytes()
    second = whole.rindex(b"00dc", 0, whole.rindex(b"idx1"))
    (source / "05.avi").write_bytes(whole[:second])  # one of two frames is left
    arguments = ["video_folder", f"--source={source}", f"--data_dir={data}", "--clip_frames=1"]
    assert main(arguments) == 2  # 1 of 12 is more than 1 %
    message = capsys.readouterr().err
    assert "1 of 12 files cannot be read, more than the share of 0.01" in message
    assert f"{source / '02.avi'}: no video that can be opened" in message
    assert "Traceback" not in message
    assert_not_there(data)
    assert main([*arguments, "--max_bad_share=0.1"]) == 0
    report = BuildReport.load(data / NAME / "1.0.0")
    assert (report.listed, report.read) == (12, {"train": 7, "validation": 4})
    assert list(report.unreadable) == ["02.avi"]
    assert report.damaged_frames == {"05.avi": 1}
    assert report.frames == 18 - 1 - 1
    spec = load_spec(NAME, data)
    assert spec.split_sizes == {"train": 7, "validation": 4}
    assert spec.shortest == {"train": 1, "validation": 1}
    records = [RecordSource(spec, "train")[index] for index in range(7)]
    damaged = {record.id: record.metadata["damaged_frames"] for record in records}
    assert damaged["05.avi"] == 1
    assert sum(damaged.values()) == 1
    # With fewer frames left than a clip has, a damaged video is unreadable; a whole one is not.
    assert main([*arguments[:3], "--clip_frames=2", "--max_bad_share=0.2", "--overwrite"]) == 0
    report = BuildReport.load(data / NAME / "1.0.0")
    assert sorted(report.unreadable) == ["02.avi", "05.avi"]
    assert "1 frames decode, fewer than the 2 of a clip" in report.unreadable["05.avi"]


def test_a_file_that_vanishes_while_building_is_missing(source, data, monkeypatch):
    encode = shards.encode_video

    def vanishing(path: Path, **options):
        if path.name == "03.avi":
            path.unlink()
        return encode(path, **options)

    monkeypatch.setattr(shards, "encode_video", vanishing)
    build_dataset("video_folder", data, source=source, max_bad_share=0.1)
    report = BuildReport.load(data / NAME / "1.0.0")
    assert (report.missing, report.unreadable) == (["03.avi"], {})


def test_a_class_or_split_without_readable_videos_fails(source, data):
    for index in range(0, 8, 2):
        (source / f"{index:02d}.avi").write_text("no video")
    with pytest.raises(DataError, match="no training video of the action 'wave' can be read"):
        build_dataset("video_folder", data, source=source, max_bad_share=1.0)
    assert_not_there(data)
    for index in range(12):
        (source / f"{index:02d}.avi").write_text("no video")
    with pytest.raises(DataError, match="nothing of the split 'validation' can be read"):
        build_dataset("video_folder", data, source=source, max_bad_share=1.0)
    assert_not_there(data)


@pytest.mark.parametrize(("error", "kept"), [(WorkerKilledError, True), (DataError, False)])
def test_shards_outlive_a_killed_worker_but_no_bad_data(tmp_path, error, kept):
    def build():
        with staging(tmp_path, "1.0.0", keep="jobs") as path:
            (path / "jobs").mkdir()
            raise error("ended")

    with pytest.raises(error):
        build()
    assert (tmp_path / "incomplete.build" / "jobs").is_dir() == kept


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("no space left")])
def test_a_stopped_build_is_continued(source, data, monkeypatch, capsys, error):
    monkeypatch.setattr(shards, "SHARD_ENTRIES", 3)
    encode, encoded = shards.encode_video, []
    monkeypatch.setattr(estimate, "MAX_FILES", 1)
    failing_file = ["09.avi"]

    def failing(path: Path, **options):
        encoded.append(path.name)
        if path.name in failing_file:
            raise error
        return encode(path, **options)

    arguments = ["video_folder", f"--source={source}", f"--data_dir={data}"]
    monkeypatch.setattr(shards, "encode_video", failing)
    assert main(arguments) == (130 if error is KeyboardInterrupt else 2)
    message = capsys.readouterr().err
    assert "the same command continues" in message
    assert "Traceback" not in message
    assert leftovers(data) == ["incomplete.build"]
    with pytest.raises(DataError, match=r"is not \(completely\) below"):
        load_spec(NAME, data)
    # One file of the complete shards is changed: it is stored as it is now, the others are kept.
    (source / "02.avi").write_bytes((source / "04.avi").read_bytes())
    encoded.clear()
    failing_file.clear()
    assert main(arguments) == 0
    assert "continuing: " in capsys.readouterr().err
    assert len(set(encoded)) < 12
    assert "02.avi" in encoded
    assert leftovers(data) == []
    built = contents(data / NAME / "1.0.0")
    assert main([*arguments, "--overwrite"]) == 0
    assert contents(data / NAME / "1.0.0") == built
    # A stopped replacement leaves what was there.
    failing_file.append("09.avi")
    assert main([*arguments, "--overwrite", "--quality=50"]) != 0
    assert contents(data / NAME / "1.0.0") == built


def test_a_full_disk_is_a_sentence_and_the_build_continues(source, data, monkeypatch, capsys):
    class Full(shards.ArrayRecordWriter):
        def write(self, record):
            raise RuntimeError("write() failed: No space left on device")

    arguments = ["video_folder", f"--source={source}", f"--data_dir={data}"]
    with monkeypatch.context() as patch:
        patch.setattr(shards, "ArrayRecordWriter", Full)
        assert main(arguments) == 2
    message = capsys.readouterr().err
    assert "No space left on device; the same command continues" in message
    assert "Traceback" not in message
    assert main(arguments) == 0
    assert leftovers(data) == []


def test_many_processes_write_the_same_and_stop_together(source, data, monkeypatch, tmp_path):
    monkeypatch.setattr(shards, "SHARD_ENTRIES", 2)
    build_dataset("video_folder", data, source=source, workers=1)
    monkeypatch.setattr(media_builder, "SOURCE_BYTES_A_PROCESS", 1)
    other = tmp_path / "other"
    build_dataset("video_folder", other, source=source, workers=2)
    assert contents(other / NAME / "1.0.0") == contents(data / NAME / "1.0.0")
    assert multiprocessing.active_children() == []


def test_what_a_killed_build_left_is_removed_or_put_back(source, data):
    folder = data / NAME
    for name in ("incomplete.build", "incomplete.A1B2C3_1.0.0"):
        (folder / name).mkdir(parents=True)
        (folder / name / "video_folder-train.array_record-00000-of-00001").touch()
    with pytest.raises(DataError, match="is not"):
        load_spec(NAME, data)
    build_dataset("video_folder", data, source=source)
    assert leftovers(data) == []
    before = contents(folder / "1.0.0")
    # Killed between the two renames of a replacement: the old dataset lies aside.
    (folder / "1.0.0").rename(folder / "incomplete.replaced")
    (source / "00.avi").write_text("no video")
    with pytest.raises(DataError, match="cannot be read"):
        build_dataset("video_folder", data, source=source, overwrite=True)
    assert contents(folder / "1.0.0") == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["ucf102"],
            "no dataset 'ucf102' to build; known are: moving_figures, video_folder, ucf101",
        ),
        (["video_folder"], "needs the folder of the files: --source=DIR"),
        (["video_folder", "--source=/nowhere"], "/nowhere: the source folder is not there"),
        (["video_folder", "--source={source}", "--name=a/b"], "name: 'a/b' must start with"),
        (["video_folder", "--source={source}", "--name=1.0.0"], "name: '1.0.0' must start with"),
        (["video_folder", "--source={source}", "--quality=0"], "quality must lie between 1 and"),
        (["video_folder", "--source={source}", "--short_side=0"], "short_side must be at least 1"),
        (["video_folder", "--source={source}", "--max_bad_share=2"], "must lie between 0 and 1"),
        (["video_folder", "--source={source}", "--workers=-1"], "workers must be 0"),
        (["video_folder", "--source={source}", "--attributes=a,a"], "names a column twice: a, a"),
        (
            ["video_folder", "--source={source}", "--attributes=a"],
            "there is no column 'a'; the col",
        ),
        (
            ["video_folder", "--source={source}", "--labels=/no.csv"],
            "/no.csv: there is no such tab",
        ),
        (["video_folder", "--source={source}", "--split_values=a:b"], "there is no split b; the"),
        (["moving_figures", "--source={source}"], "is generated and takes no option source"),
        (["moving_figures/films"], "no dataset 'moving_figures/films'; its configs are: videos, "),
    ],
)
def test_unusable_arguments(source, data, capsys, arguments, expected):
    arguments = [argument.format(source=source) for argument in arguments]
    assert main([*arguments, f"--data_dir={data}"]) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message


def test_arguments_that_cannot_be_parsed(capsys):
    for arguments in (["video_folder"], ["video_folder", "--data_dir=x", "--split_values=T1"]):
        with pytest.raises(SystemExit) as error:
            main(arguments)
        assert error.value.code == 2
    assert "'T1' is not of the form VALUE:SPLIT,VALUE:SPLIT" in capsys.readouterr().err


def test_names_are_made_safe(source, data):
    folder = source.rename(source.parent / "12 my clips.v2")
    (spec,) = build_dataset("video_folder", data, source=folder)
    assert spec.name == "video_folder/videos_12_my_clips_v2"
    (spec,) = build_dataset("video_folder/other", data, source=folder)
    assert spec.name == "video_folder/other"


class GeneratedFigures(tfds.core.GeneratorBasedBuilder):
    """Stands for the generated dataset, which takes a minute to build."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="images"),)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self, features=image_features(["a"]), metadata=spec_metadata(["a"])
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        jpeg = encoding.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
        example = {"image": jpeg, "attributes": np.ones(1, np.int32), "id": "0", "group": ""}
        example |= {"source_height": 8, "source_width": 8}
        yield 0, {**example, "metadata": "{}"}


def test_ensure_dataset_generates_the_embedded_one_only(data, monkeypatch, capsys):
    builds = []

    def jobs(config, options):
        def make(folder):
            builds.append(config)
            return GeneratedFigures(config=config, data_dir=folder)

        return [catalog.Job(f"moving_figures/{config}", "1.0.0", {}, make)]

    monkeypatch.setitem(catalog.BUILDERS, "moving_figures", jobs)
    # The folder of a TFDS dataset carries the builder's name.
    monkeypatch.setattr(GeneratedFigures, "name", "moving_figures")
    spec = ensure_dataset("moving_figures/images", data)
    assert (spec.name, spec.kind, spec.split_sizes) == (
        "moving_figures/images",
        "image",
        {"train": 1},
    )
    assert ensure_dataset("moving_figures/images", data) == spec
    assert ensure_dataset("moving_figures/images:1.0.0", data).path == spec.path
    assert builds == ["images"]
    with pytest.raises(DataError, match=r"input_pipeline.build video_folder --source=DIR --name=x"):
        ensure_dataset("video_folder/x", data)
