"""Configs: each loads, each field is read, and what is wrong with one is said by name."""

import importlib
import json
import pkgutil
import re
from pathlib import Path

import jax
import pytest

import configs
from anon_jax import settings
from anon_jax.errors import ConfigError, WorkdirError
from anon_jax.models import build_model
from configs import base, demo

NAMES = [module.name for module in pkgutil.iter_modules(configs.__path__)]


@pytest.mark.parametrize("name", NAMES)
def test_every_config_passes_the_check(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    settings.check_config(config)


def changed(**fields):
    config = demo.get_config()
    with config.unlocked():
        for path, value in fields.items():
            node = config
            *sections, leaf = path.split("__")
            for section in sections:
                node = node[section]
            with node.ignore_type():
                node[leaf] = value
    return config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "magic"}, r"config\.method has 'magic'; known: raw, .*penalty"),
        ({"budget": 0.5}, r"config\.budget is no field .*known there.*minimax"),
        ({"minimax__penalty__buget": 0.5}, r"Did you mean config\.minimax\.penalty\.budget"),
        ({"minimax__penalty__budget": "low"}, r"penalty\.budget is 'low' \(str\).*float"),
        ({"minimax__penalty__mode": "soft"}, r"penalty\.mode has 'soft'; known: hinge, lagr"),
        ({"networks__action": "resnet50"}, r"networks\.action .*known: i3d_resnet50, i3d_tiny"),
        ({"evaluate_action__optimizer__schedule": "step"}, r"schedule has 'step'.*plateau"),
        ({"data__test_crops": 2}, r"data\.test_crops has '2'; known: 1, 3"),
        ({"data__num_workers": -1}, r"data\.num_workers is -1; it has to be >= 0"),
        ({"minimax__batch_clips": 0}, r"batch_clips is 0; it has to be > 0"),
        ({"reconstruct__epochs": -1.0}, r"reconstruct\.epochs is -1"),
        ({"phases": ("minimax", "train")}, r"phases has 'train'; known: reconstruct, "),
        ({"seed": True}, r"config\.seed is True \(bool\).*int"),
        ({"data__clip_augmentation__crop_scale": 0.5}, r"crop_scale is 0\.5 \(float\).*tuple"),
    ],
)
def test_a_wrong_field_is_named(fields, message):
    with pytest.raises(ConfigError, match=re.compile(message, re.IGNORECASE)):
        settings.check_config(changed(**fields))


def test_a_missing_field_is_named():
    config = demo.get_config()
    with config.unlocked():
        del config.minimax.penalty.budget
    with pytest.raises(ConfigError, match=r"config\.minimax\.penalty\.budget is missing"):
        settings.check_config(config)


def test_a_workdir_belongs_to_one_config(tmp_path):
    settings.claim_workdir(tmp_path / "run", demo.get_config())
    settings.claim_workdir(tmp_path / "run", demo.get_config())
    settings.claim_workdir(tmp_path / "run", changed(phases=("report",)))  # chosen per start
    other = changed(seed=1, minimax__penalty__budget=0.7, data__num_workers=2)
    with pytest.raises(WorkdirError) as caught:
        settings.claim_workdir(tmp_path / "run", other)
    assert "config.seed: 0 there, 1 now" in str(caught.value)
    assert "config.minimax.penalty.budget" in str(caught.value)
    assert "config.data.num_workers: 0 there, 2 now" in str(caught.value)
    assert "epochs" not in str(caught.value)
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["seed"] == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(WorkdirError, match="neither empty nor a workdir"):
        settings.claim_workdir(tmp_path / "mine", demo.get_config())
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_workdir_from_before_a_field_goes_on_with_its_default(tmp_path):
    settings.claim_workdir(tmp_path, demo.get_config())
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["minimax"]["privacy_steps"], stored["compat"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    settings.claim_workdir(tmp_path, demo.get_config())
    with pytest.raises(WorkdirError, match=r"minimax\.privacy_steps: 0 there, 2 now"):
        settings.claim_workdir(tmp_path, changed(minimax__privacy_steps=2))


def test_every_field_is_read_somewhere():
    """A field counts as read where code names it, or where its whole section is unpacked."""
    package = Path(settings.__file__).parent
    code = "\n".join(path.read_text() for path in sorted(package.rglob("*.py")))
    unread = []
    for field in settings.flatten(base.get_config().to_dict()):
        sections, _, leaf = field.rpartition(".")
        section = sections.rpartition(".")[2]
        unpacked = {"optimizer": r"make_optimizer\(\s*\*\*section"}.get(
            "optimizer" if section.endswith("optimizer") else section,
            rf"\*\*\w+(\.\w+)*\.{section}\b",
        )
        if not re.search(rf"\.{leaf}\b", code) and not (section and re.search(unpacked, code)):
            unread.append(field)
    assert unread == []


def test_the_full_size_networks_of_ucf101_have_the_published_sizes():
    networks = importlib.import_module("configs.ucf101").get_config().networks
    shapes = {"anonymizer": (1, 32, 32, 3), "action": (1, 16, 32, 32, 3), "privacy": (1, 32, 32, 3)}
    heads = {"action": {"num_classes": 101}, "privacy": {"head": "projection"}}
    # UNet++ with a ResNet-18 encoder, I3D-R50, ResNet-50 + MLP.
    expected = {"anonymizer": 5_505_059, "action": 27_430_821, "privacy": 27_966_656}
    for name, shape in shapes.items():
        module = build_model(networks[name], **heads.get(name, {}))
        variables = jax.eval_shape(
            lambda module=module, shape=shape: module.init(
                jax.random.key(0), jax.numpy.zeros(shape), train=False
            )
        )
        count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        assert count == expected[name], name
