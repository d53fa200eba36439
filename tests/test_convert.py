"""Converted weights: full-size networks give what torch gives; every table fills its network."""

import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import anon_jax
from anon_jax.checkpoint import Checkpointer
from anon_jax.convert import __main__ as command
from anon_jax.convert import convert
from anon_jax.convert.files import read_source
from anon_jax.convert.matching import fill, recognise
from anon_jax.errors import WorkdirError
from anon_jax.models import build_model
from anon_jax.sharding import make_mesh, replicated
from anon_jax.state import Network

torch = pytest.importorskip("torch")
import foreign_networks as foreign  # noqa: E402  (it imports torch, which may be missing)

IMAGES, CLIPS = (2, 64, 64, 3), (2, 8, 64, 64, 3)
NORMALISED = {"input_mean": (0.485, 0.456, 0.406), "input_std": (0.229, 0.224, 0.225)}


def save(module, path, wrap=lambda state: state):
    torch.save(wrap(module.state_dict()), path)
    return path


def module_of(found, **keywords):
    return build_model(found["model"], **found["attributes"], **keywords)


def run_converted(folder, network, module, x):
    """What the stored network makes of x, loaded as the phases load it."""
    checkpointer = Checkpointer(folder)
    like = Network(module).abstract(x.shape)
    net = checkpointer.restore_net(network, like, replicated(make_mesh(1)))
    checkpointer.close()
    variables = {"params": net.params, "batch_stats": net.batch_stats}
    # Compiled to run once: without optimisation the compiler needs half the time.
    options = {"xla_backend_optimization_level": 0}
    run = jax.jit(lambda v, x: module.apply(v, x, train=False), compiler_options=options)
    output = run(variables, x)
    return np.asarray(output if network == "anonymizer" else output[0])


def run_torch(module, x):
    with torch.no_grad():
        return module(torch.tensor(np.moveaxis(x, -1, 1))).numpy()


def random_input(shape):
    return np.random.default_rng(1).uniform(size=shape).astype(np.float32)


def assert_parity(got, wanted):
    """To 1e-4 of outputs that differ among themselves by far more than that."""
    assert got.shape == wanted.shape
    assert wanted.std() > 0.01
    np.testing.assert_allclose(got, wanted, atol=1e-4 * max(1.0, np.abs(wanted).max()), rtol=0)


@pytest.mark.parametrize(
    ("model", "stages", "bottleneck"),
    [("resnet18", (2, 2, 2, 2), False), ("resnet50", (3, 4, 6, 3), True)],
)
def test_a_resnet_gives_what_torch_gives(tmp_path, model, stages, bottleneck):
    theirs = foreign.randomize(foreign.ResNet(stages, bottleneck, 37))
    found = convert(save(theirs, tmp_path / "net.pth"), "privacy", tmp_path / "net")
    assert (found["model"], found["attributes"]) == (model, {"num_classes": 37})
    assert found["normalisation"]["trained_on"] == "ImageNet"
    assert found["normalisation"]["mean"] == list(NORMALISED["input_mean"])
    x = random_input(IMAGES)
    mean, std = (np.float32(NORMALISED[name]) for name in ("input_mean", "input_std"))
    got = run_converted(tmp_path / "net", "privacy", module_of(found, **NORMALISED), x)
    assert_parity(got, run_torch(theirs, (x - mean) / std))


def test_the_kinetics_i3d_gives_what_torch_gives(tmp_path):
    theirs = foreign.randomize(foreign.ResNet((3, 4, 6, 3), True, 400, marks=foreign.I3D_MARKS))
    # The published file has no batch counters.
    path = save(
        theirs,
        tmp_path / "i3d_r50_kinetics.pth",
        lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    )
    found = convert(path, "action", tmp_path / "net")
    assert (found["model"], found["attributes"]) == ("i3d_resnet50", {"num_classes": 400})
    assert found["normalisation"] == {
        "trained_on": "Kinetics",
        "mean": [114.75 / 255] * 3,
        "std": [57.375 / 255] * 3,
    }
    assert found["ignored"] == {}
    x = random_input(CLIPS)
    got = run_converted(tmp_path / "net", "action", module_of(found), x)
    assert_parity(got, run_torch(theirs, x))


def test_a_published_anonymizer_gives_what_torch_gives(tmp_path):
    theirs = foreign.randomize(foreign.UnetPlusPlus())
    path = save(
        theirs,
        tmp_path / "fa.pth",
        lambda state: {
            "epoch": 3,
            "fa_model_state_dict": {f"module.{key}": value for key, value in state.items()},
        },
    )
    found = convert(path, "anonymizer", tmp_path / "net")
    assert (found["model"], found["part"]) == ("unetpp", "fa_model_state_dict")
    assert found["normalisation"] is None
    assert found["ignored"]["epoch"] == "beside fa_model_state_dict"
    unused = {"a stage that depth 4 does not use", "a counter that nothing reads"}
    assert unused | {"beside fa_model_state_dict"} == set(found["ignored"].values())
    x = random_input(IMAGES)
    module = build_model("unetpp", output_activation="identity")
    got = run_converted(tmp_path / "net", "anonymizer", module, x)
    wanted = np.moveaxis(run_torch(theirs, x), 1, -1)
    assert_parity(got, wanted)
    # The folder is a checkpoint to anonymize with, as it is, and exports like one.
    frames = np.round(x * 255).astype(np.uint8)
    anonymizer = anon_jax.load_anonymizer(tmp_path / "net")
    assert anonymizer.config["data"]["resolution"] == 224
    wanted = np.moveaxis(run_torch(theirs, frames.astype(np.float32) / 255), 1, -1)
    levels = np.clip(wanted, 0, 1) * 255
    # Half a level by rounding, and 1e-4 of the outputs as above.
    assert np.abs(anonymizer(frames) - levels).max() <= 0.5 + 0.0255 * max(1, np.abs(wanted).max())
    exported = anon_jax.save_anonymizer(tmp_path / "net", tmp_path / "exported")
    assert anon_jax.load_anonymizer(exported).sha256 == anonymizer.sha256


def test_other_converted_networks_are_no_anonymizers(tmp_path):
    theirs = foreign.randomize(foreign.ResNet((2, 2, 2, 2), False, 37))
    convert(save(theirs, tmp_path / "net.pth"), "privacy", tmp_path / "net")
    with pytest.raises(WorkdirError, match="with --network=anonymizer, wrote"):
        anon_jax.load_anonymizer(tmp_path / "net")


def test_a_published_privacy_network_gives_what_torch_gives(tmp_path):
    theirs = foreign.randomize(foreign.published_privacy())
    path = save(theirs, tmp_path / "fb.pth", lambda state: {"fb_model_state_dict": state})
    found = convert(path, "privacy", tmp_path / "net")
    assert found["attributes"] == {"head": "projection", "projection_dim": 128}
    assert found["normalisation"] is None  # the published code takes frames in [0, 1]
    x = random_input(IMAGES)
    got = run_converted(tmp_path / "net", "privacy", module_of(found), x)
    assert_parity(got, run_torch(theirs, x))


def filled(tmp_path, theirs, network):
    source = read_source(save(theirs, tmp_path / "net.pth"), network)
    return source, fill(recognise(source.tensors, network), source.tensors)


@pytest.mark.parametrize(
    ("model", "stages", "bottleneck"),
    [
        ("resnet34", (3, 4, 6, 3), False),
        ("resnet101", (3, 4, 23, 3), True),
        ("resnet152", (3, 8, 36, 3), True),
        ("resnet_tiny", (1, 1, 1), False),
    ],
)
def test_every_depth_is_told_by_its_blocks(tmp_path, model, stages, bottleneck):
    tiny = {"width": 16, "stem": 3} if model == "resnet_tiny" else {}
    theirs = foreign.ResNet(stages, bottleneck, 3, **tiny)
    source, net = filled(tmp_path, theirs, "privacy")
    assert (net.model, net.attributes) == (model, {"num_classes": 3})
    counters = [key for key in source.tensors if key.endswith("num_batches_tracked")]
    assert len(jax.tree.leaves(net.trees)) == len(source.tensors) - len(counters)


def test_a_published_action_classifier_is_found_in_its_wrapper(tmp_path):
    theirs = foreign.PublishedAction(102)
    _, net = filled(tmp_path, theirs, "action")
    assert (net.model, net.attributes) == ("i3d_resnet50", {"num_classes": 102})
    kernel = theirs.i3d.layer3[2].conv1.weight.detach().numpy()  # [out, in, t, 1, 1]
    ours = net.trees["params"]["stage3_block2"]["conv1"]["kernel"]  # [t, 1, 1, in, out]
    np.testing.assert_array_equal(ours[:, 0, 0], kernel[..., 0, 0].transpose(2, 1, 0))


def test_a_file_without_a_head_fills_the_trunk(tmp_path):
    theirs = foreign.ResNet((1, 1, 1), False, 0, width=16, stem=3)
    _, net = filled(tmp_path, theirs, "privacy")
    assert net.attributes == {}
    assert "head" not in net.trees["params"]


def test_frozen_batch_norms_are_read(tmp_path):
    """They call the factor `scale`."""
    theirs = foreign.randomize(foreign.ResNet((1, 1, 1), False, 3, width=16, stem=3))
    path = save(
        theirs,
        tmp_path / "net.pth",
        lambda state: {
            key.replace(".weight", ".scale") if "bn" in key else key: value
            for key, value in state.items()
        },
    )
    source = read_source(path, "privacy")
    net = fill(recognise(source.tensors, "privacy"), source.tensors)
    np.testing.assert_array_equal(
        net.trees["params"]["stem_bn"]["scale"], theirs.bn1.weight.detach().numpy()
    )


def tiny_file(tmp_path, suffix=".pth", wrap=lambda state: state):
    theirs = foreign.randomize(foreign.ResNet((1, 1, 1), False, 3, width=16, stem=3))
    path = tmp_path / f"tiny{suffix}"
    if suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(wrap(theirs.state_dict()), path)
        return path
    return save(theirs, path, wrap)


def arrays(folder):
    with ocp.CheckpointManager(folder) as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        return jax.tree.leaves(manager.restore(0, args=args)["state"]["nets"])


def test_the_kind_of_file_and_its_wrappings_change_nothing(tmp_path):
    files = {
        "plain": (tiny_file(tmp_path), ""),
        "safetensors": (tiny_file(tmp_path, ".safetensors"), ""),
        "lightning": (
            tiny_file(
                tmp_path,
                ".ckpt",
                lambda state: {
                    "optimizer_states": [],
                    "state_dict": {
                        **{f"net.{key}": value for key, value in state.items()},
                        "loss.weight": torch.ones(1),
                    },
                },
            ),
            "net",
        ),
        "parallel": (
            tiny_file(tmp_path, ".pt", lambda state: {f"module.{k}": v for k, v in state.items()}),
            "",
        ),
    }
    found = {
        name: convert(path, "privacy", tmp_path / name, prefix=prefix)
        for name, (path, prefix) in files.items()
    }
    for name in files:
        for got, wanted in zip(arrays(tmp_path / name), arrays(tmp_path / "plain"), strict=True):
            np.testing.assert_array_equal(got, wanted)
    ignored = found["lightning"]["ignored"]
    assert ignored["loss.weight"] == "outside --prefix=net"
    assert ignored["optimizer_states"] == "beside state_dict"


def test_half_precision_becomes_float32(tmp_path):
    path = tiny_file(tmp_path, wrap=lambda s: {k: v.to(torch.bfloat16) for k, v in s.items()})
    convert(path, "privacy", tmp_path / "net")
    assert {leaf.dtype for leaf in arrays(tmp_path / "net")} == {np.dtype(np.float32)}


def test_the_command_says_how_to_use_what_it_wrote(tmp_path, capsys):
    path, folder = tiny_file(tmp_path), tmp_path / "weights" / "net"
    arguments = [str(path), "--network=privacy", f"--output={folder}"]
    command.main(arguments)
    said = capsys.readouterr().out
    assert f"--config.init_from.privacy={folder} --config.networks.privacy=resnet_tiny" in said
    assert '--config.networks.privacy_mean="(0.485, 0.456, 0.406)"' in said
    source = json.loads((folder / "source.json").read_text())
    assert source["file"] == "tiny.pth"
    assert len(source["sha256"]) == 64
    assert source["tensors"] == len(arrays(folder))
    with pytest.raises(SystemExit, match="is there already"):
        command.main(arguments)
    command.main([*arguments, "--overwrite"])
    assert json.loads((folder / "source.json").read_text()) == source
