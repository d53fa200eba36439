"""Another f_B in the game than the attackers' network: one that contrasts whole clips."""

import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import test_main

from anon_jax import main
from anon_jax.errors import ConfigError
from anon_jax.settings import check_config
from input_pipeline.records import RecordSource
from input_pipeline.specs import load_spec
from input_pipeline.transforms import Augmentation, TrainClip, TrainClipPair

one_stage_networks = test_main.one_stage_networks  # a fixture of this file too


def test_two_clips_of_a_video_have_places_and_views_of_their_own(tiny_data_dir):
    source = RecordSource(load_spec("moving_figures/tiny_videos", tiny_data_dir), "train")
    record = source[0]
    clip = TrainClip(4, 1, 16, Augmentation())
    pair = TrainClipPair(clip).random_map(record, np.random.default_rng(3))
    assert pair["image"].shape == pair["view_b"].shape == (4, 16, 16, 3)
    rng = np.random.default_rng(3)
    expected = [clip.random_map(record, rng)["frames"] for _ in range(2)]
    np.testing.assert_array_equal(np.stack([pair["image"], pair["view_b"]]), np.stack(expected))
    assert not np.array_equal(*expected)  # without augmentation they differ by their place alone
    np.testing.assert_array_equal(pair["attributes"], record.attributes)


def test_a_run_with_an_f_b_that_sees_clips(tiny_data_dir, tmp_path):
    config = test_main.tiny_config(
        tiny_data_dir,
        evaluate_raw=False,
        phases=("reconstruct", "pretrain_privacy", "minimax", "evaluate_privacy", "report"),
    )
    config.networks.game_privacy = "i3d_tiny"
    main.execute(config, tmp_path / "run")
    before, after = (_privacy_net(tmp_path / "run", p) for p in ("pretrain_privacy", "minimax"))
    # A convolution over time, and a projection instead of logits.
    assert before["params"]["stem_conv"]["kernel"].ndim == 5
    assert set(before["params"]["head"]) == {"linear1", "linear2"}
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), before["params"], after["params"])
    assert all(jax.tree.leaves(moved))
    # The attackers are networks.privacy, as ever.
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["methods"]["penalty"]["privacy"]["attacker"].startswith("resnet_tiny")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "vita"}, "learns from labels, by config.networks.privacy"),
        ({"init_from.privacy": "folder"}, "leave one of them empty"),
        ({"networks.game_privacy": "unetpp"}, "game_privacy has 'unetpp'; known: '', i3d"),
    ],
)
def test_what_it_does_not_go_with(changes, sentence):
    config = test_main.tiny_config("data")
    config.update_from_flattened_dict({"networks.game_privacy": "i3d_tiny", **changes})
    with pytest.raises(ConfigError, match=sentence):
        check_config(config)


def _privacy_net(workdir, phase):
    with ocp.CheckpointManager(workdir / "checkpoints" / phase) as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        return manager.restore(manager.latest_step(), args=args)["state"]["nets"]["privacy"]
