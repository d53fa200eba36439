"""Re-identification: people told apart by their colour, what a crash changes, what is refused."""

import csv
import dataclasses
import functools
import json

import cv2
import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from small_networks import BATCH, SIDE, SMALL, SMALL_3D, batch, initial_state, networks

from anon_jax import loop, main
from anon_jax.errors import ConfigError
from anon_jax.models import MODELS, build_model
from anon_jax.phases.datasets import Datasets, check_datasets
from anon_jax.state import Network
from anon_jax.steps import anonymize, make_identity_step, to_float
from configs import demo
from input_pipeline.datasets import moving_figures
from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig
from input_pipeline.datasets.moving_figures.moving_figures_dataset_builder import MovingFigures
from input_pipeline.specs import load_spec

TEST_PEOPLE = 8
PACKAGE = epath.Path(moving_figures.__path__[0])  # where the builder's description is


def flat(colour):
    """A JPEG of one colour; its channels' order does not matter here."""
    return cv2.imencode(".jpg", np.full((24, 24, 3), colour, np.uint8))[1].tobytes()


class Coloured(MovingFigures):
    """Flat frames: each person has a colour, and there is nothing else to see."""

    pkg_dir_path = PACKAGE

    def _generate_examples(self, split):
        people = {}
        for key, example in super()._generate_examples(split):
            number = people.setdefault(example["group"], len(people))
            # 27 colours, three levels a channel; those of the test people are spread over all.
            code = number * 3 if split == "test" else number
            levels = np.array([code // 9 % 3, code // 3 % 3, code % 3])
            example["frames"] = [flat(20 + 100 * levels)] * 4
            yield key, example


class Constant(MovingFigures):
    """All frames are the same grey."""

    pkg_dir_path = PACKAGE

    def _generate_examples(self, split):
        for key, example in super()._generate_examples(split):
            example["frames"] = [flat(120)] * 4
            yield key, example


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """coloured/toy and constant/toy: two videos of each person."""
    tfds.disable_progress_bar()
    directory = tmp_path_factory.mktemp("people")
    people = {"train": 27, "validation": 8, "test": TEST_PEOPLE}
    for builder in (Coloured, Constant):
        config = MovingFiguresConfig(
            name="toy",
            description="For tests.",
            frames=4,
            clips={split: 2 * number for split, number in people.items()},
            subjects=people,
        )
        builder(
            config=config, data_dir=directory, file_format="array_record"
        ).download_and_prepare()
    return directory


@pytest.fixture(scope="module", autouse=True)
def one_stage_networks():
    """Compiling takes most of a run's time."""
    small = {
        "unetpp_tiny": {**SMALL, "decoder_channels": (4, 4)},
        "i3d_tiny": SMALL_3D,
        "resnet_tiny": {**SMALL, "width": 16},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, numbers in small.items():
            patch.setitem(MODELS, name, functools.partial(MODELS[name], **numbers))
        yield


def config_of(data_dir, dataset, **fields):
    config = demo.get_config()
    config.data.data_dir = str(data_dir)
    config.data.videos = dataset
    config.data.images = ""
    config.data.num_frames = 4
    config.data.resolution = 16
    for change in ("jitter", "hue"):
        config.data.image_augmentation[change] = 0.0
    config.devices = 1
    config.method = "raw"
    config.phases = ("evaluate_identity",)
    config.evaluate_identity.epochs = 24.0
    config.evaluate_identity.batch_size = 18
    config.evaluate_identity.validate_every = 8.0
    config.evaluate_identity.test_frames = 2
    config.evaluate_identity.optimizer.learning_rate = 1e-2
    config.evaluate_identity.optimizer.warmup_epochs = 0.0
    config.update(fields)
    return config


def identity(workdir, method="raw"):
    return json.loads((workdir / "results" / method / "identity.json").read_text())


@pytest.fixture(scope="module")
def found(data_dir, tmp_path_factory):
    """The results of runs by dataset; each is made once."""

    @functools.cache
    def found(dataset):
        workdir = tmp_path_factory.mktemp(dataset.partition("/")[0])
        main.execute(config_of(data_dir, dataset), workdir)
        return identity(workdir)

    return found


def test_people_are_found_by_their_colour(found):
    result = found("coloured/toy")
    assert result["rank1"] == result["map"] == 1.0
    # One of the other fifteen videos shows the person: 1/15, and H_15 / 15 of a random order.
    assert result["chance_rank1"] == pytest.approx(1 / 15)
    assert result["chance_map"] == pytest.approx(sum(1 / n for n in range(1, 16)) / 15)
    facts = {key: result[key] for key in ("num_queries", "num_people", "network", "split", "steps")}
    assert facts == {
        "num_queries": 2 * TEST_PEOPLE,
        "num_people": TEST_PEOPLE,
        "network": "resnet_tiny",
        "split": "test",
        "steps": 24 * 3,
    }
    assert 0 < result["best_step"] <= result["steps"]
    assert len(result) == 10  # no other keys


def test_nobody_is_found_in_constant_frames(found):
    result = found("constant/toy")
    # Sixteen queries with a chance of 1/15 each: five hits have a probability of 0.003.
    assert result["rank1"] <= 4 / 16
    assert result["map"] == pytest.approx(result["chance_map"], abs=0.15)


def test_a_crash_changes_nothing(found, data_dir, tmp_path, monkeypatch):
    real, left = loop.shard_batch, 40  # after the first checkpoint, which is that of step 24

    class Crash(Exception):
        pass

    def dying(batch, mesh):
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash
        return real(batch, mesh)

    monkeypatch.setattr(loop, "shard_batch", dying)
    config = config_of(data_dir, "coloured/toy")
    with pytest.raises(Crash):
        main.execute(config, tmp_path)
    monkeypatch.setattr(loop, "shard_batch", real)
    main.execute(config, tmp_path)
    assert identity(tmp_path) == found("coloured/toy")
    lines = (tmp_path / "metrics" / "evaluate_identity" / "raw.jsonl").read_text().splitlines()
    assert max(json.loads(line)["step"] for line in lines) == 72


def test_methods_have_the_same_budget_and_the_frozen_anonymizer(data_dir, tmp_path):
    config = config_of(data_dir, "coloured/toy", method="spact")
    config.phases = ("reconstruct", "pretrain_privacy", "minimax", "evaluate_identity")
    for phase in ("reconstruct", "pretrain_privacy", "minimax"):
        config[phase].epochs = 0.0  # f_A stays as it was initialised
    config.evaluate_identity.epochs = 2.0
    config.evaluate_identity.validate_every = 2.0
    main.execute(config, tmp_path)
    raw, spact = (identity(tmp_path, method) for method in ("raw", "spact"))
    assert raw["steps"] == spact["steps"] == 6
    losses = [
        json.loads((tmp_path / f"metrics/evaluate_identity/{m}.jsonl").read_text().splitlines()[0])
        for m in ("raw", "spact")
    ]
    assert losses[0]["privacy/loss"] != losses[1]["privacy/loss"]


def test_the_step_learns_the_people_of_the_batch():
    people = np.array([4, 3, 0, 2, 1], np.int32)
    module = build_model("resnet_tiny", num_classes=5)
    nets = {**networks(), "privacy": Network(module, networks()["privacy"].tx)}
    privacy = nets["privacy"].init(jax.random.key(1, impl="rbg"), (1, SIDE, SIDE, 3))
    state = initial_state().replace(nets={**initial_state().nets, "privacy": privacy})
    images = batch()["image"]["image"]
    assert len(images) == BATCH == 2
    step = jax.jit(make_identity_step(nets, people, seed=0))
    after, metrics = step(state, {"image": images, "index": np.array([3, 0], np.int32)})
    # Written out: cross entropy of the logits on anonymized frames; people 2 and 4.
    seen = anonymize(nets, state.nets, to_float(images))
    (logits, _), _ = nets["privacy"].apply(privacy, seen, train=True)
    expected = -np.mean(np.asarray(jax.nn.log_softmax(logits))[[0, 1], [2, 4]])
    # float32 sums in another order
    assert float(metrics["privacy/loss"]) == pytest.approx(expected, rel=1e-5)
    same = jax.tree.map(np.array_equal, after.nets["anonymizer"], state.nets["anonymizer"])
    assert all(jax.tree.leaves(same))
    kernel = [net.nets["privacy"].params["stem_conv"] for net in (state, after)]
    assert not all(map(np.array_equal, *map(jax.tree.leaves, kernel)))


@pytest.mark.parametrize(
    ("people", "message"),
    [
        (
            {"validation": ["c", "", "c", ""]},
            r"2 of the 4 videos in the split 'validation' .*--gro",
        ),
        ({"train": [""] * 4}, r"4 of the 4 videos in the split 'train' of 'coloured/toy' have no"),
        ({"test": ["e", "a", "e", "a"]}, r"1 people in the split 'test' .* 'train' too.* 'a'"),
        ({"validation": ["b", "c", "c"]}, r"1 people in the split 'validation' .* 'b'"),
        ({"test": ["e", "f", "g"]}, r"No person has two videos in the split 'test'"),
        (
            {"validation": ["c"]},
            r"two videos in the split 'validation'.*leave the phase 'evaluate_i",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(people, message, data_dir, tmp_path):
    splits = {"train": ["a", "a", "b", "b"], "validation": ["c", "c"], "test": ["e", "e", "f"]}
    with (tmp_path / "records.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["split", "id", "action", "group", "num_frames"])
        for split, groups in {**splits, **people}.items():
            table.writerows([[split, f"{split}{i}", "x", g, 4] for i, g in enumerate(groups)])
    spec = dataclasses.replace(load_spec("coloured/toy", data_dir), path=tmp_path)
    config = config_of(data_dir, spec.name)
    with pytest.raises(ConfigError, match=message):
        check_datasets(config, Datasets(spec, spec, spec, spec))
    config.phases = ("report",)
    check_datasets(config, Datasets(spec, spec, spec, spec))
