"""Reconstruction: the decoder, the inversion of a known f_A, pre-trained attackers, the phase."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import test_main
from small_networks import SIDE, batch, initial_state, networks
from test_transforms import record

from anon_jax import image_metrics, main
from anon_jax.errors import ConfigError
from anon_jax.inversion import invert
from anon_jax.models import build_model
from anon_jax.phases import datasets, modules, pretrained, setup
from anon_jax.phases.decoder import PSNR_CEILING, nearness
from anon_jax.state import Network, new_state
from anon_jax.steps import anonymize, make_decoder_step, to_float
from input_pipeline.boxes import Boxes
from input_pipeline.obfuscation import RAW, Obfuscation, Obfuscator
from input_pipeline.transforms import Augmentation, EvaluationImage, TrainImage

one_stage_networks = test_main.one_stage_networks  # a fixture of this file too


# The decoder


def decoder() -> Network:
    module = build_model("unetpp_tiny", stage_sizes=(1,), width=4, decoder_channels=(4, 4))
    return Network(module, optax.with_extra_args_support(optax.adam(3e-2)))


def decoder_state(**others):
    net = decoder().init(jax.random.key(3, impl="rbg"), (1, SIDE, SIDE, 3))
    return new_state({**others, "decoder": net})


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def pair() -> dict[str, np.ndarray]:
    """Darkened images and the raw ones."""
    raw = batch()["image"]["image"]
    return {"image": raw // 4, "raw": raw}


def test_a_decoder_learns_to_draw_the_raw_frame():
    step = jax.jit(make_decoder_step({"decoder": decoder()}, seed=0))
    state, raw = decoder_state(), to_float(pair()["raw"])

    def psnr(state):
        drawn = anonymize({"decoder": decoder()}, state.nets, to_float(pair()["image"]))
        return float(image_metrics.psnr(np.asarray(drawn), np.asarray(raw)).mean())

    before = psnr(state)
    for _ in range(80):
        state, _ = step(state, pair())
    # 6 dB halves the error of what an untrained network draws; memorising two images takes less.
    assert psnr(state) > before + 6


def test_the_networks_before_the_decoder_stay_bit_for_bit():
    every = {**networks(), "decoder": decoder()}
    before = decoder_state(**initial_state().nets)
    after, metrics = jax.jit(make_decoder_step(every, seed=0))(before, pair())
    for name in ("anonymizer", "action", "privacy"):
        assert same(before.nets[name], after.nets[name]), name
    assert not same(before.nets["decoder"].params, after.nets["decoder"].params)
    seen = anonymize(networks(), initial_state().nets, to_float(pair()["image"]))
    drawn, _ = decoder().apply(before.nets["decoder"], seen, train=True)
    expected = jnp.abs(drawn - to_float(pair()["raw"])).mean()
    # rtol: float32, fused otherwise inside the step.
    np.testing.assert_allclose(metrics["decoder/loss"], expected, rtol=1e-4)


def test_attackers_see_what_the_decoder_draws_frame_by_frame():
    every = {**networks(), "decoder": decoder()}
    nets = {**initial_state().nets, "decoder": decoder_state().nets["decoder"]}
    clips = to_float(batch()["clip"]["frames"])  # [B, T, H, W, 3]
    drawn = anonymize(every, nets, clips)
    seen = anonymize(networks(), initial_state().nets, clips[1])
    expected, _ = decoder().apply(nets["decoder"], seen)
    np.testing.assert_allclose(drawn[1], expected, atol=1e-5)  # float32, other batch size


def test_an_equal_frame_is_as_near_as_rounding():
    frame = np.full((1, 16, 16, 3), 0.5, np.float32)
    found = nearness(frame, frame)
    assert found["psnr"] == pytest.approx(PSNR_CEILING)
    # A uniform rounding error of one level of 255 has the variance 1 / 12 levels.
    assert pytest.approx(-10 * np.log10(1 / 12 / 255**2)) == PSNR_CEILING
    assert found["ssim"] == pytest.approx(1.0)


# The raw view


@pytest.mark.parametrize("train", [True, False])
def test_the_raw_view_is_what_is_seen_without_an_obfuscator(train):
    rng = np.random.default_rng(0)
    clip = record([rng.integers(0, 256, (24, 32, 3)).astype(np.uint8) for _ in range(4)])
    whole_frames = np.tile(np.array([0, 0, 24, 32], np.int32), (4, 1))
    everywhere = Boxes(
        {"a clip": 0}, np.array([(24, 32)]), np.array([0, 4]), np.arange(5), whole_frames
    )
    both = Obfuscation(lambda frame, boxes: 255 - frame, lambda frame: frame // 2)
    strong = Augmentation((0.6, 1.0), jitter=0.3, hue=0.1, grey=0.2, flip=0.5, erase=0.4)

    def see(seed, obfuscator, raw):
        if train:
            transform = TrainImage(16, strong, obfuscator=obfuscator, raw=raw)
            return transform.random_map(clip, np.random.default_rng(seed))
        return EvaluationImage(16, 0.8, obfuscator, raw).map((clip, seed / 5, 0.5))

    for seed in range(5):
        plain, hidden = see(seed, RAW, False), see(seed, Obfuscator(both, everywhere), True)
        assert np.array_equal(hidden["raw"], plain["image"])
        assert not np.array_equal(hidden["image"], plain["image"])
        assert "raw" not in plain
        # Asking for the raw view does not change what the method sees.
        alone = see(seed, Obfuscator(both, everywhere), False)
        assert np.array_equal(hidden["image"], alone["image"])


# The inversion


def images(count: int = 3) -> jax.Array:
    values = np.random.default_rng(1).uniform(0.1, 0.9, (count, 8, 8, 3))
    return jnp.asarray(values, jnp.float32)


def blur(x: jax.Array) -> jax.Array:
    """0.6 of a pixel and 0.1 of each neighbour: the frequencies are scaled by 0.2 to 1."""
    around = sum(jnp.roll(x, shift, axis) for axis in (1, 2) for shift in (-1, 1))
    return 0.6 * x + 0.1 * around


@pytest.mark.parametrize("anonymizer", [lambda x: 1 - x, blur], ids=["negative", "blur"])
def test_an_invertible_anonymizer_is_inverted(anonymizer):
    raw, start = images(), jnp.full((3, 8, 8, 3), 0.5)
    found = invert(anonymizer, anonymizer(raw), start, steps=500, rate=0.02)
    # The start is up to 0.4 away; what is left is Adam's swing about the minimum at this rate.
    assert float(jnp.abs(found - raw).max()) < 0.02


def test_a_constant_anonymizer_gives_nothing_away():
    start = images()
    found = invert(lambda x: jnp.full_like(x, 0.3), start * 0, start, steps=5, rate=0.1)
    assert np.array_equal(found, start)


def test_the_descent_stays_in_the_range_and_frames_do_not_act_on_each_other():
    seen = images() * 4 - 1.5  # what no frame in [0, 1] leads to, in part
    start = jnp.full_like(seen, 0.5)
    found = invert(blur, seen, start, steps=60, rate=0.05)
    assert float(found.min()) == 0.0
    assert float(found.max()) == 1.0
    alone = invert(blur, seen[1:2], start[1:2], steps=60, rate=0.05)
    np.testing.assert_allclose(found[1:2], alone, atol=1e-4)  # float32, over 60 updates


# Pre-trained attackers, and the phase in a run


def config(data_dir, **fields):
    small = test_main.tiny_config(data_dir, **fields)
    for phase in ("reconstruct", "pretrain_privacy", "evaluate_privacy", "evaluate_reconstruction"):
        small[phase].epochs = 1.0
        small[phase].batch_size = 16
        small[phase].optimizer.warmup_epochs = 0.0
        if "validate_every" in small[phase]:
            small[phase].validate_every = 1.0
    small.minimax.epochs = 0.5
    small.minimax.warmup_epochs = 0.0
    small.evaluate_privacy.test_frames = 2
    small.evaluate_reconstruction.inversion_steps = 3
    small.evaluate_reconstruction.inversion_frames = 2
    return small


@pytest.fixture(scope="module")
def attacked(tiny_data_dir, tmp_path_factory):
    """A run with an f_A and the phase."""
    workdir = tmp_path_factory.mktemp("runs") / "attacked"
    phases = ("reconstruct", "pretrain_privacy", "minimax", "evaluate_reconstruction")
    main.execute(config(tiny_data_dir, phases=phases), workdir)
    return workdir


def reconstruction(workdir, method="penalty"):
    return json.loads((workdir / "results" / method / "reconstruction.json").read_text())


def test_the_phase_leaves_its_figures_and_a_picture(attacked):
    found = reconstruction(attacked)
    assert set(found) == {
        *("decoder", "steps", "best_step", "split", "frames", "psnr", "ssim"),
        *("anonymized_psnr", "anonymized_ssim", "privacy", "white_box"),
    }
    assert (found["decoder"], found["split"]) == ("unetpp_tiny", "test")
    assert found["frames"] == 24 * 2  # videos, frames of each
    assert found["privacy"]["attacker"] == "resnet_tiny-seed0"
    assert {"cmap", "cmap_interval", "auroc", "attackers", "steps", "best_step", "split"} <= set(
        found["privacy"]
    )
    white_box = found["white_box"]
    assert set(white_box) == {
        *("steps", "frames", "psnr", "ssim", "decoder_psnr", "decoder_ssim"),
        *("mismatch", "mismatch_before", "cmap", "auroc", "attacker"),
    }
    assert white_box["frames"] == 24 * 2
    assert white_box["attacker"] == "resnet_tiny-seed0"
    assert white_box["mismatch"] < white_box["mismatch_before"]  # three steps downhill
    assert (attacked / "samples" / "reconstruction-penalty.png").exists()
    assert (attacked / "checkpoints" / "evaluate_reconstruction" / "penalty").is_dir()
    assert not (attacked / "results" / "raw").exists()  # nothing was hidden


def test_what_is_kept_of_each_part_is_not_measured_again(attacked, tiny_data_dir, tmp_path):
    workdir = tmp_path / "resumed"
    shutil.copytree(attacked, workdir)
    before = reconstruction(workdir)
    results = workdir / "results" / "penalty"
    (results / "reconstruction.json").unlink()
    (results / "reconstruction" / "white_box.json").unlink()
    kept = results / "reconstruction" / "decoder.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "psnr": 77.0}))
    main.execute(config(tiny_data_dir, phases=("evaluate_reconstruction",)), workdir)
    # The white box is measured anew, by the decoder and the attacker of the checkpoints.
    assert reconstruction(workdir) == {**before, "psnr": 77.0}


def test_an_obfuscation_attacked_by_clips_has_no_white_box(tiny_data_dir, tmp_path):
    fields = config(tiny_data_dir, method="downsample4", phases=("evaluate_reconstruction",))
    fields.evaluate_reconstruction.networks = ("i3d_tiny",)
    fields.evaluate_privacy.source = "images"
    with pytest.raises(ConfigError, match=r"evaluate_reconstruction\.networks has i3d_tiny, which"):
        main.execute(fields, tmp_path / "run")
    fields.evaluate_privacy.source = "videos"
    main.execute(fields, tmp_path / "run")
    found = reconstruction(tmp_path / "run", "downsample4")
    assert found["white_box"] is None
    assert found["privacy"]["attacker"] == "i3d_tiny-seed0"
    # The raw view was the reference: the obfuscated one is not as near as rounding.
    assert 10 < found["anonymized_psnr"] < PSNR_CEILING - 10


def stored(folder, name):
    with ocp.CheckpointManager(folder) as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        return manager.restore(manager.latest_step(), args=args)["state"]["nets"][name]


def test_a_pretrained_attacker_has_the_stored_trunk_and_a_new_head(
    attacked, tiny_data_dir, tmp_path
):
    fields = config(tiny_data_dir, method="raw", phases=("evaluate_privacy",))
    fields.evaluate_privacy.init_from = str(attacked / "checkpoints" / "pretrain_privacy")
    run = setup.open_run(fields, tmp_path / "run", datasets.ensure_datasets(fields))
    network = Network(modules.attributes(fields, "resnet_tiny", 5))
    fresh = setup.fresh_net(run, "evaluate_privacy", "privacy", network)
    started = pretrained.with_trunk(fields, "privacy", network, fresh, run.mesh)
    theirs = stored(fields.evaluate_privacy.init_from, "privacy")
    for name, part in started.params.items():
        assert same(part, fresh.params[name] if name == "head" else theirs["params"][name]), name
    assert not same(started.params["stem_conv"], fresh.params["stem_conv"])
    assert same(started.batch_stats, theirs["batch_stats"])
    main.execute(fields, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "results" / "raw" / "privacy.json").read_text())
    assert set(found["attackers"]) == {"resnet_tiny-seed0", "resnet_tiny-pretrained"}
    cmaps = {figures["cmap"] for figures in found["attackers"].values()}
    assert len(cmaps) == 2  # the trunk makes it another network


def test_a_pretrained_attacker_of_clips_has_the_trunk_of_f_t(attacked, tiny_data_dir, tmp_path):
    fields = config(tiny_data_dir, method="raw", phases=("evaluate_privacy",))
    fields.evaluate_privacy.init_from_action = str(attacked / "checkpoints" / "minimax")
    run = setup.open_run(fields, tmp_path / "run", datasets.ensure_datasets(fields))
    network = Network(modules.attributes(fields, fields.networks.action, 5))
    fresh = setup.fresh_net(run, "evaluate_privacy", "privacy", network, clips=True)
    started = pretrained.with_trunk(fields, "action", network, fresh, run.mesh)
    theirs = stored(fields.evaluate_privacy.init_from_action, "action")
    for name, part in started.params.items():
        assert same(part, fresh.params[name] if name == "head" else theirs["params"][name]), name
    assert same(started.batch_stats, theirs["batch_stats"])
    main.execute(fields, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "results" / "raw" / "privacy.json").read_text())
    assert set(found["attackers"]) == {"resnet_tiny-seed0", "i3d_tiny-pretrained"}
    fields.evaluate_privacy.source = "images"
    with pytest.raises(ConfigError, match=r"init_from_action has i3d_tiny, which sees clips"):
        main.execute(fields, tmp_path / "still")


def test_a_folder_that_does_not_fit_is_refused_before_anything_is_trained(
    attacked, tiny_data_dir, tmp_path
):
    fields = config(tiny_data_dir, method="raw", phases=("evaluate_privacy",))
    checkpoints = attacked / "checkpoints"
    fields.evaluate_privacy.init_from = str(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="nowhere, which holds no checkpoint; name the folder"):
        main.execute(fields, tmp_path / "run")
    assert not (tmp_path / "nowhere").exists()
    fields.evaluate_privacy.init_from = str(checkpoints / "reconstruct")
    with pytest.raises(ConfigError, match="no network 'privacy' but anonymizer"):
        main.execute(fields, tmp_path / "run")
    fields.evaluate_privacy.init_from = str(checkpoints / "pretrain_privacy")
    fields.networks.privacy = "resnet18"
    with pytest.raises(ConfigError) as caught:
        main.execute(fields, tmp_path / "run")
    message = str(caught.value)
    assert "params/stage1_block0/bn1/bias is of shape [4] there and of shape [64]" in message
    assert "config.networks.privacy, 'resnet18'" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("network", "resnet18", "reconstruction.network has 'resnet18'; known: '', unetpp"),
        ("networks", ("unetpp",), "evaluate_reconstruction.networks has 'unetpp'"),
        ("inversion_rate", 0.0, "has to be > 0"),
        ("inversion_frames", 0, "has to be > 0"),
    ],
)
def test_fields_of_the_phase_are_checked(tiny_data_dir, tmp_path, field, value, message):
    fields = config(tiny_data_dir)
    fields.evaluate_reconstruction[field] = value
    with pytest.raises(ConfigError) as caught:
        main.execute(fields, tmp_path / "run")
    assert message in str(caught.value)
