"""The whole run on a tiny dataset: its files, its figures, and that a crash changes nothing."""

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from small_networks import SMALL, SMALL_3D
from video_samples import ROOT

from anon_jax import loop, main, metrics, settings
from anon_jax.errors import ConfigError, WorkdirError
from anon_jax.models import MODELS
from anon_jax.phases import attribute_attack, evaluate_privacy, setup
from anon_jax.phases.datasets import attacked_attributes, ensure_datasets
from configs import demo
from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig
from input_pipeline.datasets.moving_figures.moving_figures_dataset_builder import MovingFigures
from input_pipeline.index import read_index
from input_pipeline.specs import load_spec

REPOSITORY = Path(main.__file__).parents[1]
PHASES = demo.get_config().phases[:-1]  # those before the report


def tiny_config(data_dir, **fields):
    """The demo with one or two epochs of everything, on the dataset of `tiny_data_dir`."""
    config = demo.get_config()
    config.data.data_dir = str(data_dir)
    config.data.videos = "moving_figures/tiny_videos"
    config.data.images = "moving_figures/tiny_images"
    config.data.num_frames = 4
    config.data.resolution = 16
    config.log_every = 2
    config.sample_every = 4
    config.checkpoint_every = 3
    attacks = ("evaluate_action", "evaluate_privacy", "evaluate_reconstruction")
    for phase in ("reconstruct", "pretrain_privacy", *attacks):
        config[phase].epochs = 2.0
        config[phase].batch_size = 16
        config[phase].optimizer.warmup_epochs = 0.0
    config.evaluate_action.validate_every = 1.0
    config.evaluate_privacy.validate_every = 1.0
    config.evaluate_reconstruction.validate_every = 1.0
    config.evaluate_reconstruction.inversion_steps = 2
    config.evaluate_frames.videos = 3
    config.minimax.epochs = 1.5
    config.minimax.warmup_epochs = 0.3
    config.minimax.batch_clips = 8
    config.minimax.batch_images = 8
    config.devices = 2
    config.update(fields)
    return config


@pytest.fixture(scope="module", autouse=True)
def one_stage_networks():
    """The tiny networks with a single stage: compiling them takes most of a run's time."""
    small = {
        "unetpp_tiny": {**SMALL, "decoder_channels": (4, 4)},
        "i3d_tiny": SMALL_3D,
        "resnet_tiny": SMALL,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, numbers in small.items():
            patch.setitem(MODELS, name, functools.partial(MODELS[name], **numbers))
        yield


@pytest.fixture(scope="module")
def finished(tiny_data_dir, tmp_path_factory):
    """A whole run that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    main.execute(tiny_config(tiny_data_dir), workdir)
    return workdir


def results(workdir, phases=PHASES):
    """results.json without what two equal runs differ in: seconds, and a checkout that goes on."""
    found = json.loads((workdir / "results.json").read_text())
    assert set(found["seconds"]) >= set(phases)
    for method in found["methods"].values():
        method.get("frames", {"cost": {}})["cost"].pop("ms_per_frame", None)
    return {key: value for key, value in found.items() if key not in ("seconds", "commit")}


def parameters(workdir, phase):
    """Everything in the newest checkpoint of a phase, as arrays."""
    with ocp.CheckpointManager(workdir / "checkpoints" / phase) as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        return jax.tree.leaves(manager.restore(manager.latest_step(), args=args)["state"])


def test_a_run_leaves_what_the_readme_says(finished):
    found = results(finished)
    assert set(found["methods"]) == {"raw", "penalty"}
    for method in found["methods"].values():
        assert 0 <= method["action"]["top1"] <= 1
        assert method["action"]["chance"] == 1 / 8
        assert method["action"]["num_videos"] == 24
        for part, figure in (("action", "top1"), ("privacy", "cmap")):
            low, high = method[part][f"{figure}_interval"]
            assert 0 <= low < high <= 1
        assert method["frames"]["videos"] == 3
        assert {"cmap", "f1", "auroc", "chance_cmap"} <= set(method["privacy"])
        assert method["privacy"]["split"] == "test"
    assert 0 < found["minimax"]["penalty/distance"] < 1
    for phase in ("reconstruct", "minimax", "evaluate_action/raw", "evaluate_privacy/penalty"):
        lines = (finished / "metrics" / f"{phase}.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        assert steps == sorted(steps)
        assert list((finished / "metrics" / "tensorboard" / phase).glob("events*"))
    names = {path.name for path in (finished / "samples").iterdir()}
    assert {"000004.png", "frames-raw.png", "frames-penalty.png"} <= names
    for name in ("report.html", "report.md", "report.json"):
        assert (finished / "report" / name).stat().st_size > 500


def test_crashes_in_every_phase_change_nothing(finished, tiny_data_dir, tmp_path, monkeypatch):
    """Each start dies at its tenth batch, wherever that is, until one comes through."""
    real, starts, budget = loop.shard_batch, 0, 9

    class Crash(Exception):
        pass

    left = budget

    def dying(batch, mesh):
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash
        return real(batch, mesh)

    monkeypatch.setattr(loop, "shard_batch", dying)
    done = False
    while not done:
        starts, left = starts + 1, budget
        assert starts < 30, "no progress"
        try:
            main.execute(tiny_config(tiny_data_dir), tmp_path / "crashed")
            done = True
        except Crash:
            pass
    assert starts > 4
    assert results(tmp_path / "crashed") == results(finished)
    for phase in ("reconstruct", "pretrain_privacy", "minimax", "evaluate_action/penalty"):
        pairs = zip(*(parameters(w, phase) for w in (finished, tmp_path / "crashed")), strict=True)
        assert all(np.array_equal(ours, theirs) for ours, theirs in pairs), phase


def test_pretraining_can_be_shared(finished, tiny_data_dir, tmp_path):
    phases = ("reconstruct", "pretrain_privacy", "minimax")
    config = tiny_config(tiny_data_dir, phases=phases, pretrained=str(finished))
    main.execute(config, tmp_path / "sharing")
    pairs = zip(*(parameters(w, "minimax") for w in (finished, tmp_path / "sharing")), strict=True)
    assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)
    assert {p.name for p in (tmp_path / "sharing" / "checkpoints").iterdir()} == {"minimax"}
    config.networks.privacy = "resnet18"
    with pytest.raises(ConfigError, match=r"config\.networks\.privacy: 'resnet_tiny' there, 'resn"):
        main.execute(config, tmp_path / "other")
    config.pretrained = str(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="nowhere, which is no workdir of a run"):
        main.execute(config, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_strongest_of_several_attackers_counts(tiny_data_dir, tmp_path):
    config = tiny_config(tiny_data_dir, method="raw", phases=("evaluate_privacy", "report"))
    config.evaluate_privacy.source = "images"
    config.evaluate_privacy.networks = ("resnet_tiny", "i3d_tiny")
    config.evaluate_privacy.seeds = 2
    with pytest.raises(
        ConfigError, match="i3d_tiny, which sees clips, but 'moving_figures/tiny_im"
    ):
        main.execute(config, tmp_path)
    config.evaluate_privacy.source = "videos"
    config.evaluate_privacy.epochs = 1.0
    main.execute(config, tmp_path)
    found = results(tmp_path, phases=())["methods"]["raw"]["privacy"]
    names = {f"{network}-seed{seed}" for network in ("resnet_tiny", "i3d_tiny") for seed in (0, 1)}
    assert set(found["attackers"]) == names
    cmaps = {name: figures["cmap"] for name, figures in found["attackers"].items()}
    assert len(set(cmaps.values())) == 4  # each is a network of its own
    assert found["attacker"] == max(cmaps, key=cmaps.get)
    assert found["cmap"] == max(cmaps.values())
    # What is kept of each attacker is not trained again.
    kept = tmp_path / "results" / "raw" / "attackers" / "i3d_tiny-seed1.json"
    changed = {**json.loads(kept.read_text()), "cmap": 0.99}
    kept.write_text(json.dumps(changed))
    (tmp_path / "results" / "raw" / "privacy.json").unlink()
    main.execute(config, tmp_path)
    again = results(tmp_path, phases=())["methods"]["raw"]["privacy"]
    assert (again["attacker"], again["cmap"]) == ("i3d_tiny-seed1", 0.99)


def test_worker_processes_change_nothing(finished, tiny_data_dir, tmp_path):
    config = tiny_config(tiny_data_dir, phases=("reconstruct",))
    config.data.num_workers = 2
    main.execute(config, tmp_path / "workers")
    pairs = zip(
        *(parameters(w, "reconstruct") for w in (finished, tmp_path / "workers")), strict=True
    )
    assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)
    config.data.num_workers = 1
    with pytest.raises(WorkdirError, match=r"config\.data\.num_workers: 2 there, 1 now"):
        main.execute(config, tmp_path / "workers")


@pytest.fixture
def other_videos(tiny_data_dir):
    """Clips of domain B: other actions and attributes than those of `tiny_videos`."""
    config = MovingFiguresConfig(
        name="tiny_videos_b",
        description="For tests.",
        domain="b",
        pair="direction",
        frames=10,
        clips={"train": 32, "validation": 16, "test": 16},
        subjects={"train": 16, "validation": 8, "test": 8},
    )
    builder = MovingFigures(config=config, data_dir=tiny_data_dir, file_format="array_record")
    builder.download_and_prepare()
    return load_spec("moving_figures/tiny_videos_b", tiny_data_dir)


def test_attackers_learn_another_dataset(finished, tiny_data_dir, tmp_path, other_videos):
    """The anonymizer of `finished`, attacked on other actions and attributes, with three crops.

    Clips of 12 frames need repeated ones: the videos have 10.
    """
    ours = load_spec("moving_figures/tiny_videos", tiny_data_dir)
    assert len(other_videos.actions) != len(ours.actions)
    assert len(other_videos.attributes) != len(ours.attributes)
    config = tiny_config(tiny_data_dir, evaluate_raw=False)
    config.attack.videos = other_videos.name
    config.data.test_clips = 2
    config.data.test_crops = 3
    config.data.num_frames = 12
    config.phases = ("evaluate_action", "evaluate_privacy", "report")
    workdir = tmp_path / "attacked"
    with pytest.raises(ConfigError, match=r"12, but videos in .*tiny_videos_b' have fewer frames"):
        main.execute(config, workdir)
    assert not workdir.exists()
    config.data.repeat_short_videos = True
    settings.claim_workdir(workdir, config)
    shutil.copytree(finished / "checkpoints" / "minimax", workdir / "checkpoints" / "minimax")
    shutil.copytree(finished / "metrics", workdir / "metrics")
    main.execute(config, workdir)
    found = json.loads((workdir / "results.json").read_text())
    assert found["datasets"] == {
        "videos": "moving_figures/tiny_videos",
        "images": "moving_figures/tiny_images",
        "attack_videos": "moving_figures/tiny_videos_b",
        "attack_images": "moving_figures/tiny_images",
    }
    penalty = found["methods"]["penalty"]
    assert penalty["action"]["chance"] == 1 / len(other_videos.actions)
    assert penalty["action"]["num_videos"] == 16
    measured = [*penalty["privacy"]["per_attribute"], *penalty["privacy"]["left_out"]]
    assert sorted(measured) == sorted(other_videos.attributes)
    report = (workdir / "report" / "report.md").read_text()
    assert "attacked on moving_figures/tiny_videos_b and moving_figures/tiny_images" in report


def test_attributes_are_tested_where_they_are_not_learned(finished, tiny_data_dir, tmp_path):
    """Attackers of `finished` that learn from still images and are tested on frames of videos."""
    config = tiny_config(tiny_data_dir, evaluate_raw=False)
    config.evaluate_privacy.source = "images"
    config.evaluate_privacy.networks = ()
    config.attack.tested_attributes = config.data.videos
    config.phases = ("evaluate_privacy", "evaluate_reconstruction", "report")
    workdir = tmp_path / "tested"
    settings.claim_workdir(workdir, config)
    shutil.copytree(finished / "checkpoints" / "minimax", workdir / "checkpoints" / "minimax")
    shutil.copytree(finished / "metrics", workdir / "metrics")
    main.execute(config, workdir)
    found = json.loads((workdir / "results.json").read_text())
    assert found["datasets"]["tested_attributes"] == config.data.videos
    run = setup.open_run(config, workdir, ensure_datasets(config))
    attacked = attacked_attributes(config, run.datasets)
    attack = attribute_attack.train(run, "penalty", attacked, evaluate_privacy.attackers(run)[0])
    of_images, of_videos = (
        [row.attributes for row in read_index(load_spec(name, tiny_data_dir), split)]
        for name, split in ((config.data.images, "validation"), (config.data.videos, "test"))
    )
    for tested, labels in ((attack.validate, of_images), (attack.test, of_videos)):
        np.testing.assert_array_equal(tested(attack.state)[1], labels)
    penalty = found["methods"]["penalty"]
    assert metrics.cmap(*attack.test(attack.state)) == pytest.approx(penalty["privacy"]["cmap"])
    # Several frames of a video, one of an image.
    views = config.evaluate_privacy.test_frames
    assert penalty["reconstruction"]["frames"] == views * len(of_videos)
    assert penalty["reconstruction"]["white_box"]["frames"] == len(of_videos)
    report = (workdir / "report" / "report.md").read_text()
    assert f"the attributes tested on {config.data.videos}" in report
    assert "Attributes tested on" in report


def test_another_config_is_refused(finished, tiny_data_dir):
    before = (finished / "results.json").read_text()
    with pytest.raises(WorkdirError, match=r"config\.seed: 0 there, 1 now"):
        main.execute(tiny_config(tiny_data_dir, seed=1), finished)
    assert (finished / "results.json").read_text() == before


def test_a_start_loads_nothing_that_takes_seconds_and_a_mistake_does_not_need():
    heavy = "{'matplotlib', 'pyarrow', 'scipy.stats', 'tensorboardX', 'tensorflow', 'torch'}"
    program = f"import sys, anon_jax.main; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("set()\n", 0), done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.data.videos=video_folder/mine"], "input_pipeline.build video_folder"),
        (["--config.data.videos="], "config.data.videos is empty"),
        (["--config.method=magic"], "known: raw, "),
        (["--config.minimax.penalty.bugdet=1"], "bugdet"),
        (["--config.minimax.penalty.budget=low"], "budget"),
    ],
)
def test_the_command_line_says_what_is_wrong(arguments, message, tmp_path):
    command = [sys.executable, "-m", "anon_jax.main", "--config=configs/demo.py"]
    command += [f"--workdir={tmp_path}/run", f"--config.data.data_dir={tmp_path}", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
