"""Builds on Apache Beam: the bytes of a local build, its errors, and no Beam without the flag."""

import importlib.util
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from test_published_datasets import hmdb, ucf  # noqa: F401 (fixtures)
from video_samples import ROOT, halves, write_video

from input_pipeline import encoding, shards
from input_pipeline.build import build_dataset, main
from input_pipeline.build_report import BuildReport
from input_pipeline.datasets.moving_figures import examples
from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig
from input_pipeline.datasets.moving_figures.moving_figures_dataset_builder import MovingFigures
from input_pipeline.errors import DataError

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="Apache Beam is not installed"
)

NAME = "video_folder/clips"
IN_MEMORY = "--runner=FnApiRunner"
THREADS = "--direct_num_workers=2"
PROCESSES = "--direct_num_workers=2 --direct_running_mode=multi_processing"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve videos, of which 03 is no video and 05 is damaged."""
    folder = tmp_path / "clips"
    rows = ["file,action,split,face"]
    for index in range(12):
        frame = halves((20 * index, 30, 40), (40, 20 * index, 30), 24, 32)
        write_video(folder / f"{index:02d}.avi", [frame] * (2 + index % 3), codec="mjpeg",
                    pix_fmt="yuvj420p")  # fmt: skip
        split = "train" if index < 8 else "validation"
        rows.append(f"{index:02d}.avi,{'run' if index % 2 else 'wave'},{split},{index % 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "03.avi").write_text("no video")
    whole = (folder / "05.avi").read_bytes()
    (folder / "05.avi").write_bytes(whole[: whole.rindex(b"00dc", 0, whole.rindex(b"idx1"))])
    return folder


@pytest.fixture
def small_shards(monkeypatch) -> None:
    monkeypatch.setattr(shards, "SHARD_ENTRIES", 2)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def leftovers(data: Path) -> list[str]:
    return sorted(p.name for p in (data / NAME).iterdir() if p.name not in ("1.0.0", ".lock"))


def options_of(data: Path) -> list[str]:
    return [f"--data_dir={data}", "--attributes=face", "--max_bad_share=0.2", "--clip_frames=1"]


LOCAL_ONLY = """
import sys
sys.modules["apache_beam"] = None  # whoever imports it fails
from input_pipeline.build import main
assert main(sys.argv[1:]) == 0
assert main([*sys.argv[1:], "--overwrite", "--beam"]) == 2
assert "tensorflow" not in sys.modules
"""


def test_without_the_flag_nothing_imports_beam(source, tmp_path):
    arguments = ["video_folder", f"--source={source}", *options_of(tmp_path / "data")]
    found = subprocess.run(
        [sys.executable, "-c", LOCAL_ONLY, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert "--beam needs Apache Beam (no module apache_beam): pip install 'anon" in found.stderr


def test_options_need_the_flag(capsys):
    with pytest.raises(SystemExit) as error:
        main(["ucf101", "--data_dir=x", "--beam_options=--runner=FlinkRunner"])
    assert error.value.code == 2
    assert "--beam_options is for builds with --beam" in capsys.readouterr().err


@needs_beam
@pytest.mark.parametrize("beam_options", [IN_MEMORY, THREADS, PROCESSES])
def test_beam_writes_the_bytes_of_a_local_build(
    source, tmp_path, monkeypatch, small_shards, beam_options
):
    monkeypatch.chdir(tmp_path)  # the folders are named relative to where the command is given
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for data, more in (("local", []), ("beam", ["--beam", f"--beam_options={beam_options}"])):
        arguments = ["video_folder", "--source=clips", *options_of(Path(data))]
        assert main([*arguments, *more]) == 0
    built = contents(Path("beam") / NAME / "1.0.0")
    assert {"records.csv", "build_report.json", "dataset_info.json", "features.json"} <= set(built)
    assert sum(".array_record" in name for name in built) == 6
    assert built == contents(Path("local") / NAME / "1.0.0")
    report = BuildReport.load(Path("beam") / NAME / "1.0.0")
    assert list(report.unreadable) == ["03.avi"]
    assert list(report.damaged_frames) == ["05.avi"]
    assert leftovers(Path("beam")) == []


@needs_beam
@pytest.mark.parametrize(("name", "lost"), [("ucf101", "UCF-101/Archery/*g04*"), ("vphmdb", "")])
def test_published_datasets_are_the_same_too(request, tmp_path, monkeypatch, name, lost):
    """Also where files are missing, and with labels and reasons why files are left out."""
    monkeypatch.setattr(shards, "SHARD_ENTRIES", 2)
    source = request.getfixturevalue("ucf" if name == "ucf101" else "hmdb")
    for path in source.glob(lost) if lost else ():
        path.unlink()
    for folder, beam_options in (("local", None), ("beam", IN_MEMORY)):
        build_dataset(name, tmp_path / folder, source=source, clip_frames=1, allow_missing=True,
                      beam_options=beam_options)  # fmt: skip
    built = contents(tmp_path / "beam" / name / "split1" / "1.0.0")
    assert built == contents(tmp_path / "local" / name / "split1" / "1.0.0")
    assert BuildReport.load(tmp_path / "beam" / name / "split1" / "1.0.0").missing


@needs_beam
def test_several_threads_share_the_work(source, tmp_path, monkeypatch, small_shards):
    encode, together = encoding.encode_video, threading.Barrier(2)
    waiting = [True, True]

    def meeting(path: Path, **options):
        if threading.current_thread() is not threading.main_thread() and waiting:
            waiting.pop()
            together.wait(timeout=20)  # broken, and the build fails, unless another thread comes
        return encode(path, **options)

    monkeypatch.setattr(shards, "encode_video", meeting)
    limits = {"clip_frames": 1, "max_bad_share": 0.2}
    build_dataset("video_folder", tmp_path, source=source, beam_options=THREADS, **limits)
    assert waiting == []


@needs_beam
@pytest.mark.parametrize("still", [False, True])
def test_generated_datasets_are_the_same_too(tmp_path, monkeypatch, still):
    from input_pipeline.beam import parse_options

    monkeypatch.setattr(examples, "RANGE_CLIPS", 4)
    config = MovingFiguresConfig(
        name="few",
        description="For tests.",
        still=still,
        frames=1 if still else 3,
        clips={"train": 10, "test": 4},  # three parts and one
        subjects={"train": 5, "test": 2},
    )
    for folder, options in (("local", None), ("beam", parse_options(IN_MEMORY))):
        builder = MovingFigures(config=config, data_dir=tmp_path / folder)
        builder.download_and_prepare(
            file_format="array_record",
            download_config=tfds.download.DownloadConfig(beam_options=options),
        )
    assert "tensorflow" not in sys.modules
    built = [contents(tmp_path / name / "moving_figures/few/1.0.0") for name in ("local", "beam")]
    assert built[0] == built[1]
    assert list((tmp_path / "beam").glob("beam-*")) == []


@needs_beam
@pytest.mark.parametrize(
    ("error", "expected", "stays"),
    [
        (ValueError("odd"), "{source}/06.avi: ValueError: odd", []),
        (DataError("it is broken"), None, []),
        (OSError("no space left"), "{source}/06.avi: no space left; the same command continues",
         ["incomplete.build"]),
    ],
)  # fmt: skip
def test_errors_of_workers_name_the_file(
    source, tmp_path, monkeypatch, capsys, small_shards, error, expected, stays
):
    encode = encoding.encode_video
    failing = ["06.avi"]

    def encode_or_fail(path: Path, **options):
        if path.name in failing:
            raise error
        return encode(path, **options)

    monkeypatch.setattr(shards, "encode_video", encode_or_fail)
    monkeypatch.setattr("input_pipeline.media_builder.estimate", no_estimate)
    data = tmp_path / "data"
    arguments = ["video_folder", f"--source={source}", *options_of(data), "--beam",
                 f"--beam_options={IN_MEMORY}"]  # fmt: skip
    assert main(arguments) == (2 if expected else 0)
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert leftovers(data) == stays
    if expected is None:  # what only one video cannot is counted, as in a local build
        assert BuildReport.load(data / NAME / "1.0.0").unreadable["06.avi"] == "it is broken"
        return
    assert expected.format(source=source) in message
    complete = list(data.rglob("shards/*.json"))
    failing.clear()
    assert main(arguments) == 0
    assert ("continuing: " in capsys.readouterr().err) == bool(complete)
    assert main(["video_folder", f"--source={source}", *options_of(tmp_path / "local")]) == 0
    assert contents(data / NAME / "1.0.0") == contents(tmp_path / "local" / NAME / "1.0.0")


def no_estimate(paths, encode):
    from input_pipeline.estimate import Estimate

    return Estimate(len(paths), 0, 0, 0, 0)


class Numbered:
    """A job of two items."""

    def __init__(self, number: int):
        self.number = number

    def item_name(self, index: int) -> str:
        return f"item {index} of {self.number}"


BEGUN: list[int] = []


def fail_at_two(job: Numbered, tick) -> int:
    BEGUN.append(job.number)
    tick()
    if job.number == 2:
        raise ValueError("two")
    return 10 * job.number


def remove_folder(job: Numbered, tick) -> None:
    (folder,) = Path(FOLDER[0]).glob("beam-*")
    folder.rmdir()


FOLDER: list[Path] = []


@needs_beam
def test_results_are_in_order_and_the_first_failure_ends_it(tmp_path):
    from input_pipeline.beam import parse_options, run_jobs

    settings = {"options": parse_options(IN_MEMORY), "folder": tmp_path, "unit": "jobs"}
    jobs = [Numbered(number) for number in (5, 1, 4)]
    assert run_jobs(fail_at_two, jobs, **settings) == [50, 10, 40]
    BEGUN.clear()
    with pytest.raises(DataError, match=r"^item 1 of 2: ValueError: two\n") as error:
        run_jobs(fail_at_two, [Numbered(number) for number in range(2, 50)], **settings)
    assert BEGUN.index(2) == len(BEGUN) - 1  # one worker: nothing was begun after it
    assert "in fail_at_two" in error.value.__notes__[0]
    assert list(tmp_path.iterdir()) == []


@needs_beam
def test_a_folder_that_workers_do_not_see_is_a_sentence(tmp_path):
    from input_pipeline.beam import parse_options, run_jobs

    FOLDER[:] = [tmp_path]
    with pytest.raises(OSError, match=r"Apache Beam's pipeline failed: .*beam-"):
        run_jobs(
            remove_folder,
            [Numbered(0), Numbered(1)],
            options=parse_options(IN_MEMORY),
            folder=tmp_path,
            unit="jobs",
        )


@needs_beam
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--direct_num_workers=two", "argument --direct_num_workers: invalid int value: 'two'"),
        ("--direct_nun_workers=2", "FnApiRunner has no option --direct_nun_workers=2"),
        ("--runner=Flunk", "Unexpected pipeline runner: Flunk. Valid values are "),
        ("--runner=no_module.Runner", "No module named 'no_module'"),
        ("runner=FlinkRunner", "'runner=FlinkRunner' must begin with --, as in --runner=NAME"),
        ("--runner='Flink", "cannot be split: No closing quotation"),
    ],
)
def test_bad_options_are_refused(source, tmp_path, capsys, options, expected):
    arguments = ["video_folder", f"--source={source}", f"--data_dir={tmp_path / 'data'}"]
    assert main([*arguments, "--beam", f"--beam_options={options}"]) == 2
    message = capsys.readouterr().err
    assert "--beam_options: " in message
    assert expected in message
    assert "usage:" not in message
    assert not (tmp_path / "data").exists()


@needs_beam
def test_options_of_cluster_runners_are_theirs_to_check():
    from apache_beam.options.pipeline_options import StandardOptions

    from input_pipeline.beam import parse_options

    options = parse_options("--runner=FlinkRunner --flink_master=host:8081 --parallelism 4")
    assert options.view_as(StandardOptions).runner == "FlinkRunner"


def test_the_number_of_workers_is_among_the_options(source, tmp_path, capsys):
    arguments = ["video_folder", f"--source={source}", f"--data_dir={tmp_path / 'data'}"]
    assert main([*arguments, "--beam", "--workers=2"]) == 2
    assert "--workers is for builds without --beam" in capsys.readouterr().err


def test_generated_records_are_the_same_in_every_process(tmp_path):
    """The maps in them are sorted: TFDS alone writes them in an order that a process draws."""
    config = MovingFiguresConfig(
        name="one", description="For tests.", frames=1, clips={"train": 6}, subjects={"train": 2}
    )
    builder = MovingFigures(config=config, data_dir=tmp_path)
    builder.download_and_prepare(file_format="array_record")
    (path,) = Path(builder.data_dir).glob("*.array_record*")
    stored = ArrayRecordDataSource([str(path)])
    found = [stored[index] for index in range(6)]
    assert found == [shards.with_sorted_maps(data) for data in found]
