"""Flicker, distance and cost of anonymized frames: by hand, and of runs on a tiny dataset."""

import functools
import json

import jax
import numpy as np
import pytest
from small_networks import SMALL, SMALL_3D

from anon_jax import main
from anon_jax.errors import ConfigError
from anon_jax.models import MODELS
from anon_jax.phases import modules, setup
from anon_jax.phases.datasets import check_datasets, ensure_datasets
from anon_jax.phases.evaluate_frames import Clip, summarise
from anon_jax.state import Network
from configs import demo
from input_pipeline.obfuscation import downsample
from input_pipeline.records import RecordSource
from input_pipeline.specs import load_spec
from input_pipeline.transforms import EvaluationClip

KEYS = {
    *("videos", "frames", "split", "flicker", "raw_flicker", "distance", "psnr", "ssim", "cost"),
}
COST = {"parameters", "gflops_per_frame", "ms_per_frame", "frames_per_call", "backend"}


def still(num_frames=4, level=0.5):
    return np.full((num_frames, 16, 16, 3), level, np.float32)


def flickering(clip, by):
    """Lighter and darker in turn, by `by`."""
    signs = np.where(np.arange(len(clip)) % 2, -1, 1).astype(np.float32)
    return clip + by * signs[:, None, None, None]


def test_a_flickering_anonymizer_by_hand():
    raw = still()
    found = summarise(iter([Clip(raw, flickering(raw, 0.1), 4)]))
    # From +0.1 to -0.1 in each step; 20 log10(1 / 0.1) = 20 dB. Tolerances: float32 of 0.5 +- 0.1.
    assert found.pop("ssim") < 1
    assert found == pytest.approx(
        {
            "videos": 1,
            "frames": 4,
            "flicker": 0.2,
            "raw_flicker": 0.0,
            "distance": 0.1,
            "psnr": 20.0,
        },
        rel=1e-5,
    )


def test_raw_frames_are_at_no_distance():
    raw = flickering(still(), 0.004)  # changes of 2 / 255, which count as standing still
    found = summarise(iter([Clip(raw, raw, 4)]))
    assert found["psnr"] is None
    assert found["distance"] == 0.0
    assert found["ssim"] == pytest.approx(1.0, abs=1e-12)
    assert found["flicker"] == found["raw_flicker"] == pytest.approx(0.008, rel=1e-5)
    json.dumps(found, allow_nan=False)


def test_clips_without_stillness_and_frames_without_change_are_left_out():
    raw, moving = still(), flickering(still(), 0.2)
    half = raw.copy()
    half[:2] += 0.01  # two of four frames change, by 40 dB
    clips = [Clip(raw, flickering(raw, 0.1), 4), Clip(moving, moving, 4), Clip(raw, half, 4)]
    found = summarise(iter(clips))
    assert (found["videos"], found["frames"]) == (3, 12)
    # 0.2, nothing, and 0.01 in one step of three
    assert found["flicker"] == pytest.approx((0.2 + 0.01 / 3) / 2, rel=1e-4)
    assert found["distance"] == pytest.approx((0.1 + 0 + 0.01 / 2**0.5) / 3, rel=1e-4)
    assert found["psnr"] == pytest.approx((4 * 20 + 2 * 40) / 6, rel=1e-4)
    nothing = summarise(iter([Clip(moving, moving, 4)]))
    assert nothing["flicker"] is nothing["raw_flicker"] is None


def test_repeated_frames_of_short_videos_do_not_count_as_stillness():
    raw = still()
    changed = flickering(raw, 0.1)
    changed[2:] = changed[1]  # the video has two frames; the clip repeats the last one
    assert summarise(iter([Clip(raw, changed, 2)]))["flicker"] == pytest.approx(0.2, rel=1e-5)
    assert summarise(iter([Clip(raw, changed, 1)]))["flicker"] is None


@pytest.fixture(scope="module", autouse=True)
def one_stage_networks():
    """Compiling takes most of a run's time."""
    small = {
        "unetpp_tiny": {**SMALL, "decoder_channels": (4, 4)},
        "i3d_tiny": SMALL_3D,
        "resnet_tiny": SMALL,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, numbers in small.items():
            patch.setitem(MODELS, name, functools.partial(MODELS[name], **numbers))
        yield


def config_of(data_dir, **fields):
    config = demo.get_config()
    config.data.data_dir = str(data_dir)
    config.data.videos = "moving_figures/tiny_videos"
    config.data.images = "moving_figures/tiny_images"
    config.data.num_frames = 4
    config.data.resolution = 16
    config.devices = 2
    config.phases = ("evaluate_frames",)
    config.evaluate_frames.videos = 3
    config.update(fields)
    return config


def results(workdir):
    return {
        path.parent.name: json.loads(path.read_text())
        for path in (workdir / "results").glob("*/frames.json")
    }


def middle_clips(data_dir, records=(4, 12, 20)):
    """The middles of three thirds of the 24 test videos, in [0, 255]."""
    source = RecordSource(load_spec("moving_figures/tiny_videos", data_dir), "test")
    transform = EvaluationClip(4, 2, 16, 1.0)
    return [transform.map((source[i], 0.5, 0.5))["frames"] for i in records]


def test_raw_and_an_obfuscation(tiny_data_dir, tmp_path):
    main.execute(config_of(tiny_data_dir, method="downsample4"), tmp_path)
    found = results(tmp_path)
    raw, reduced = found["raw"], found["downsample4"]
    assert set(raw) == set(reduced) == KEYS
    assert set(raw["cost"]) == set(reduced["cost"]) == COST
    assert (raw["videos"], raw["frames"], raw["split"]) == (3, 12, "test")
    assert (raw["distance"], raw["psnr"]) == (0.0, None)
    assert raw["ssim"] == pytest.approx(1.0)
    assert raw["flicker"] == raw["raw_flicker"] == reduced["raw_flicker"]
    assert [raw["cost"][key] for key in ("parameters", "gflops_per_frame", "ms_per_frame")] == [
        0
    ] * 3
    clips = middle_clips(tiny_data_dir)
    expected = [
        np.sqrt(np.mean((np.stack([downsample(f, 4) for f in clip]) / 255 - clip / 255) ** 2))
        for clip in clips
    ]
    # float32 frames
    assert reduced["distance"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert 0 < reduced["ssim"] < 1
    assert reduced["cost"]["gflops_per_frame"] is None
    assert reduced["cost"]["ms_per_frame"] > 0
    assert reduced["cost"]["parameters"] == 0


def test_a_learned_anonymizer_and_its_cost(tiny_data_dir, tmp_path):
    phases = ("reconstruct", "pretrain_privacy", "minimax", "evaluate_frames")
    config = config_of(tiny_data_dir, method="spact", evaluate_raw=False, phases=phases)
    for phase in phases[:-1]:
        config[phase].epochs = 0.0  # f_A stays as it was initialised
    main.execute(config, tmp_path)
    found = results(tmp_path)["spact"]
    assert set(found) == KEYS
    run = setup.open_run(config, tmp_path, ensure_datasets(config))
    network = Network(modules.anonymizer(config))
    net = setup.load_net(run, "minimax", "anonymizer", network)
    distances = []
    for clip in middle_clips(tiny_data_dir):
        changed, _ = network.apply(net, clip.astype(np.float32) / 255)
        distances.append(np.sqrt(np.mean((np.asarray(changed) - clip / 255) ** 2)))
    # compiled and not compiled, in float32
    assert found["distance"] == pytest.approx(np.mean(distances), rel=1e-4)
    cost = found["cost"]
    assert set(cost) == COST
    assert cost["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(net.params))
    assert (cost["frames_per_call"], cost["backend"]) == (4, jax.default_backend())
    # At 16 x 16 most parameters are used less than 256 times a frame, a multiply-add is two FLOPs.
    assert 0 < cost["gflops_per_frame"] * 1e9 < 4 * 256 * cost["parameters"]
    assert cost["ms_per_frame"] > 0
    # What was measured is not measured again.
    before = (tmp_path / "results" / "spact" / "frames.json").read_text()
    main.execute(config, tmp_path)
    assert (tmp_path / "results" / "spact" / "frames.json").read_text() == before


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_frames", 1, r"data\.num_frames is 1; .*'evaluate_frames' needs at least 2"),
        ("resolution", 8, r"data\.resolution is 8; .*'evaluate_frames' needs at least 11"),
        ("num_frames", 12, r"12, but videos in the split 'test' .* have fewer frames"),
    ],
)
def test_frames_that_cannot_be_measured_are_refused(field, value, message, tiny_data_dir):
    config = config_of(tiny_data_dir)
    config.data[field] = value
    with pytest.raises(ConfigError, match=message):
        check_datasets(config, ensure_datasets(config))


def test_no_videos_to_measure_is_refused(tiny_data_dir, tmp_path):
    config = config_of(tiny_data_dir)
    config.evaluate_frames.videos = 0
    with pytest.raises(ConfigError, match=r"evaluate_frames\.videos is 0; it has to be > 0"):
        main.execute(config, tmp_path / "run")
