"""Files that cannot be converted: a sentence with the key, the file and what to do; no folder."""

import os
import pickle

import pytest

from anon_jax.convert import ConvertError, convert, folder
from anon_jax.convert import __main__ as command

torch = pytest.importorskip("torch")
import foreign_networks as foreign  # noqa: E402  (it imports torch, which may be missing)


def tiny_state():
    return foreign.randomize(foreign.ResNet((1, 1, 1), False, 3, width=16, stem=3)).state_dict()


def tiny_file(tmp_path, **changes):
    """A ResNet's file with some entries replaced, added, or (None) left out."""
    state = {**tiny_state(), **{key.replace("__", "."): value for key, value in changes.items()}}
    path = tmp_path / "tiny.pth"
    torch.save({key: value for key, value in state.items() if value is not None}, path)
    return path


def refused(tmp_path, path, network="privacy", **keywords):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConvertError) as caught:
        convert(path, network, tmp_path / "net", **keywords)
    assert sorted(tmp_path.iterdir()) == before
    return str(caught.value)


def test_a_missing_key_is_named(tmp_path):
    changes = {"layer2__0__bn1__running_mean": None, "layer3__0__bn2__bias": None}
    message = refused(tmp_path, tiny_file(tmp_path, **changes))
    assert "layer2.0.bn1.running_mean is missing (and 1 more): resnet_tiny needs it" in message
    assert "looks like a ResNet of torchvision or timm" in message
    assert str(tmp_path / "tiny.pth") in message


def test_a_head_with_one_of_its_two_entries_is_no_head(tmp_path):
    assert "fc.bias is missing" in refused(tmp_path, tiny_file(tmp_path, fc__bias=None))


def test_a_key_that_is_left_over_is_named(tmp_path):
    path = tiny_file(tmp_path, layer2__0__nl__g__weight=torch.ones(2, 2))
    message = refused(tmp_path, path)
    assert "layer2.0.nl.g.weight is left over: resnet_tiny has no place for it" in message


def test_a_block_too_many_is_named(tmp_path):
    path = tiny_file(tmp_path, layer3__7__conv1__weight=torch.ones(2, 2, 3, 3))
    assert "layer3.7.conv1.weight is left over" in refused(tmp_path, path)


@pytest.mark.parametrize("shape", [(16, 16, 5, 5), (16, 16, 1, 3, 3), (16,)])
def test_a_wrong_shape_is_said_in_the_files_order(tmp_path, shape):
    path = tiny_file(tmp_path, layer1__0__conv2__weight=torch.ones(shape))
    message = refused(tmp_path, path)
    wanted = f"layer1.0.conv2.weight is of shape {list(shape)}, where resnet_tiny needs"
    assert f"{wanted} [16, 16, 3, 3]" in message


def test_values_that_are_no_weights_are_named(tmp_path):
    path = tiny_file(tmp_path, bn1__bias=torch.full((16,), float("nan")))
    assert "bn1.bias has values that are not finite" in refused(tmp_path, path)
    path = tiny_file(tmp_path, bn1__bias=torch.ones(16, dtype=torch.int8))
    assert "bn1.bias is of type int8, where resnet_tiny needs floats" in refused(tmp_path, path)


def test_another_network_is_told_apart(tmp_path):
    path = tiny_file(tmp_path)
    message = refused(tmp_path, path, "action")
    assert "a ResNet of torchvision or timm, for --network=privacy, not" in message
    clips = foreign.ResNet((1, 1), True, 3, marks=((1,), (1,)), width=4).state_dict()
    torch.save(clips, path)
    assert "pytorch-resnet3d, for --network=action, not" in refused(tmp_path, path, "privacy")
    with pytest.raises(ConvertError, match="unknown network 'f_A'; known: anonymizer, action"):
        convert(path, "f_A", tmp_path / "net")


def test_the_parts_of_a_published_checkpoint_are_listed(tmp_path):
    path = tmp_path / "both.pth"
    torch.save({"ft_model_state_dict": {}, "fb_model_state_dict": tiny_state()}, path)
    message = refused(tmp_path, path, "anonymizer")
    assert "without fa_model_state_dict, which --network=anonymizer is read from" in message
    assert "it has ft_model_state_dict, fb_model_state_dict, for --network=action or privacy" in (
        message
    )
    assert "no tensors" in refused(tmp_path, path, "action")


def test_unknown_keys_are_shown_and_a_common_beginning_is_noticed(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({f"backbone.{key}": value for key, value in tiny_state().items()}, path)
    message = refused(tmp_path, path)
    assert "no known layout has its" in message
    assert "--prefix=backbone takes that away" in message
    assert "a UNet++ of segmentation_models_pytorch" in message
    message = refused(tmp_path, path, prefix="neck")
    assert "no key begins with neck.; there are backbone. (" in message


def test_an_unknown_architecture_lists_those_that_fit(tmp_path):
    message = refused(tmp_path, tiny_file(tmp_path), arch="resnet51")
    assert "--arch=resnet51 is no network for a ResNet" in message
    assert "known: resnet18, resnet34" in message
    message = refused(tmp_path, tiny_file(tmp_path), arch="resnet18")
    assert "is missing" in message
    assert "was read as resnet18" in message


class _Code:
    """What a pickle runs when it is read in the ordinary way."""

    def __reduce__(self):
        return os.mkdir, ("made_by_a_pickle",)


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": tiny_state(), "extra": _Code()}, path)
    message = refused(tmp_path, path)
    assert "holds more than tensors" in message
    assert "mkdir" in message
    assert "torch.save(model.state_dict(), FILE)" in message
    path.write_bytes(pickle.dumps(_Code(), protocol=2))
    refused(tmp_path, path)
    assert not (tmp_path / "made_by_a_pickle").exists()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 cut off"])
def test_a_file_that_is_none_is_a_sentence(tmp_path, suffix, content):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    assert "damaged" in refused(tmp_path, path)


def test_a_file_cut_short_is_a_sentence(tmp_path):
    path = tiny_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "damaged" in refused(tmp_path, path)


def test_what_is_no_weight_file_is_a_sentence(tmp_path):
    assert "There is no file" in refused(tmp_path, tmp_path / "none.pth")
    path = tmp_path / "net.onnx"
    path.touch()
    assert "has to end in .pth, .pt, .ckpt, .safetensors" in refused(tmp_path, path)
    path = tmp_path / "list.pth"
    torch.save([torch.ones(1)], path)
    assert "holds a list, and no state_dict" in refused(tmp_path, path)
    torch.save({"epoch": 3}, path)
    assert "no tensors, but epoch" in refused(tmp_path, path)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device")])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch, overwrite, error):
    path, output = tiny_file(tmp_path), tmp_path / "net"
    if overwrite:
        convert(path, "privacy", output)
        (output / "mark").touch()

    def fail(*_):
        raise error

    # The last thing before the folder gets its name.
    monkeypatch.setattr(folder, "write_json", fail)
    before = sorted(tmp_path.iterdir())
    arguments = [str(path), "--network=privacy", f"--output={output}"]
    with pytest.raises(SystemExit, match=r"nothing was written"):
        command.main([*arguments, *(["--overwrite"] if overwrite else [])])
    assert sorted(tmp_path.iterdir()) == before
    assert (output / "mark").exists() == overwrite


def test_a_folder_of_someone_else_is_not_overwritten(tmp_path):
    output = tmp_path / "net"
    output.mkdir()
    (output / "thesis.tex").touch()
    message = refused(tmp_path, tiny_file(tmp_path), overwrite=True)
    assert "has no source.json, so it was not written by this command" in message
    assert (output / "thesis.tex").exists()
