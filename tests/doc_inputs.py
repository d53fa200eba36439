"""Small stand-ins for what the pages say a reader has: videos, downloads, runs, weights."""

import csv
import dataclasses
import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import anonymize_samples
import pytest
import tensorflow_datasets as tfds
from doc_commands import code_blocks
from doc_runs import Runner
from doc_tables import SMALL
from published_samples import write_hmdb51, write_ucf101, write_vispr
from video_samples import write_people, write_video

from input_pipeline.datasets.moving_figures.moving_figures_dataset_builder import MovingFigures

_FOLDERS = tempfile.TemporaryDirectory(prefix="doc_inputs_")
_HOME_DATA = "tensorflow_datasets"  # in the home folder: where configs look without data_dir
_BUILD = ("python", "-m", "input_pipeline.build")

Input = Callable[[Runner], None]


def titled_files(runner: Runner, page: Path) -> None:
    """The files that the page has as blocks."""
    for block in code_blocks(page):
        if block.title:
            (runner.folder / block.title).write_text(block.text, encoding="utf-8")


def video(runner: Runner, name: str = "video.mp4") -> None:
    write_video(runner.folder / name, anonymize_samples.pictures(12, 96, 128))


def people(runner: Runner) -> None:
    video(runner, "people.mp4")


def folder(runner: Runner) -> None:
    for name in ("one.mp4", "two.mp4"):
        video(runner, f"folder/{name}")


def run_mine(runner: Runner) -> None:
    """`runs/mine`: what a run leaves, with a tiny f_A of random weights."""
    shutil.copytree(anonymize_samples.workdir(), runner.folder / "runs" / "mine")


def run_demo(runner: Runner) -> None:
    """`runs/demo`: a finished run."""
    main = ("python", "-m", "anon_jax.main", "--config=configs/demo.py", "--workdir=runs/demo")
    figures(runner)
    runner.run([*main, *SMALL["-m anon_jax.main --config"]])


def labelled(runner: Runner, name: str) -> None:
    """Videos of two actions by eight people, with every column that a page names."""
    rows = []
    for person in range(8):
        split = "train" if person < 4 else "validation" if person < 6 else "test"
        for number, action in enumerate(("walk", "wave")):
            bits = {
                column: (person + number * (i % 2)) // (1 + i % 2) % 2
                for i, column in enumerate(("gender", "face", "skin_color", "nudity"))
            }
            file = f"{action}_{person}.mp4"
            frames = anonymize_samples.pictures(16, seed=2 * person + number)
            write_video(runner.folder / name / file, frames)
            rows.append({"file": file, "action": action, "split": split, **bits,
                         "relationship": person % 2, "person": f"p{person}", "film": f"f{person}",
                         "source": f"s{person}", "subject": f"s{person % 2}",
                         "trial": f"T{1 + person // 4}"})  # fmt: skip
    with (runner.folder / name / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def clips_of_people(runner: Runner) -> None:
    # By their hashes some of them train, some validate and some test.
    write_people(runner.folder / "clips", "emil", "kim_glasses", "hana_glasses", "anna",
                 "ben", "cleo_glasses", "gus", "ida_glasses")  # fmt: skip


@functools.cache
def _figures() -> Path:
    tfds.disable_progress_bar()
    data = Path(_FOLDERS.name) / "figures"
    counts = {"train": 16, "validation": 8, "test": 8}
    people = {split: count // 2 for split, count in counts.items()}  # each one twice: to be found
    few = [
        dataclasses.replace(config, clips=counts, subjects=people)
        for config in MovingFigures.BUILDER_CONFIGS
    ]
    with mock.patch.object(MovingFigures, "BUILDER_CONFIGS", few):
        for config in few:
            builder = MovingFigures(config=config, data_dir=data, file_format="array_record")
            builder.download_and_prepare()
    return data


def figures(runner: Runner) -> None:
    """The embedded dataset with a few people, where configs look for it."""
    shutil.copytree(_figures(), runner.folder / _HOME_DATA, dirs_exist_ok=True)


def whole_figures(runner: Runner) -> None:
    """The embedded dataset as it is, in `data`: the boxes of fewer people are not known."""
    runner.run([*_BUILD, "moving_figures", "--data_dir=data"])


def dataset_mine(runner: Runner) -> None:
    """`video_folder/mine` in `data`."""
    labelled(runner, "labelled")
    runner.run([*_BUILD, "video_folder", "--name=mine", "--source=labelled",
                "--attributes=face,gender", "--data_dir=data"])  # fmt: skip


def ucf101_and_vispr(runner: Runner) -> None:
    """Both datasets of `configs/ucf101.py`, where it looks for them."""
    ucf101(runner)
    vispr(runner)
    few = ("--allow_missing", "--clip_frames=1", f"--data_dir={_HOME_DATA}")
    runner.run([*_BUILD, "ucf101/split1", "--source=UCF-101", "--annotations=ucfTrainTestlist",
                *few])  # fmt: skip
    runner.run([*_BUILD, "vispr/vispr1", "--source=images", "--annotations=annotations", *few])


def ucf101(runner: Runner) -> None:
    write_ucf101(runner.folder)


def hmdb51(runner: Runner) -> None:
    write_hmdb51(runner.folder)


def vispr(runner: Runner) -> None:
    write_vispr(runner.folder)


def weights(runner: Runner) -> None:
    """Files of PyTorch with the layouts of the published ones, and random weights."""
    torch = pytest.importorskip("torch")
    import foreign_networks as foreign

    i3d = foreign.ResNet((3, 4, 6, 3), True, 400, marks=foreign.I3D_MARKS)
    for name, network in (("i3d_r50_kinetics.pth", i3d), ("fa.pth", foreign.UnetPlusPlus())):
        torch.save(foreign.randomize(network).state_dict(), runner.folder / name)


# Page -> what a reader of it has, made in this order.
INPUTS: dict[str, tuple[Input, ...]] = {
    "README.md": (
        figures,
        functools.partial(labelled, name="labelled"),
        video,
        folder,
    ),
    "anon_jax/pretrained/small/MODEL_CARD.md": (video, figures),
    "docs/anonymize.md": (video, folder, run_mine),
    "docs/app.md": (run_mine,),
    "docs/datasets.md": (figures, lambda runner: write_ucf101(runner.folder / "ucf")),
    "docs/distributed.md": (figures, ucf101_and_vispr),
    "docs/export.md": (video, run_mine),
    "docs/index.md": (figures,),
    "docs/method.md": (dataset_mine, whole_figures),
    "docs/new_dataset.md": (clips_of_people,),
    "docs/new_method.md": (figures,),
    "docs/performance.md": (ucf101_and_vispr,),
    "docs/reliability.md": (run_demo, folder),
    "docs/results.md": (
        figures,
        whole_figures,
        functools.partial(labelled, name="real"),
        lambda runner: write_hmdb51(runner.folder / "real"),
    ),
    "docs/weights.md": (weights, ucf101_and_vispr, people),
    "input_pipeline/datasets/hmdb51/README.md": (hmdb51,),
    "input_pipeline/datasets/pa_hmdb51/README.md": (hmdb51,),
    "input_pipeline/datasets/ucf101/README.md": (ucf101,),
    "input_pipeline/datasets/video_folder/README.md": (functools.partial(labelled, name="clips"),),
    "input_pipeline/datasets/vispr/README.md": (vispr,),
    "input_pipeline/datasets/vphmdb/README.md": (hmdb51,),
    "input_pipeline/datasets/vpucf/README.md": (ucf101,),
}
