"""load_anonymizer and save_anonymizer: any size, any place, and errors that name what is wrong."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from anonymize_samples import exported, pictures, workdir
from video_samples import ROOT

import anon_jax
from anon_jax.errors import WorkdirError
from anon_jax.export.frames import drawn_frames
from anon_jax.image_metrics import psnr
from anon_jax.manifest import MANIFEST, write_manifest
from anon_jax.restore import FORMAT
from anon_jax.shipped import SMALL, SMALL_RESOLUTION, checkpoint_folder
from anon_jax.steps import to_float


def test_a_workdir_and_what_was_exported_are_the_same_function():
    run, alone = anon_jax.load_anonymizer(workdir()), anon_jax.load_anonymizer(str(exported()))
    assert (run.format, alone.format) == (0, FORMAT)
    assert run.sha256 == alone.sha256
    assert run.config["minimax"] == alone.config["minimax"]
    assert alone.config["networks"]["anonymizer"] == "unetpp_tiny"
    frames = np.stack(pictures(2, 32, 32))
    np.testing.assert_array_equal(run(frames), alone(frames))
    # One device, though the run had four and this process has eight.
    assert len(jax.tree.leaves(alone.net)[0].sharding.device_set) == 1


def test_any_size_is_padded_by_replication_and_cropped_back():
    anonymizer = anon_jax.load_anonymizer(exported())
    assert anonymizer.multiple == 16
    frames = np.stack(pictures(2, 21, 37))
    output = anonymizer(frames)
    assert (output.shape, output.dtype) == (frames.shape, np.uint8)
    padded = np.pad(frames, ((0, 0), (0, 32 - 21), (0, 48 - 37), (0, 0)), mode="edge")
    expected, _ = anonymizer._network.apply(anonymizer.net, to_float(padded))
    expected = np.asarray(expected)[:, :21, :37] * 255
    # Rounding is to the nearest level; the two are compiled apart.
    assert np.abs(output - expected).max() < 0.51
    assert anonymizer(frames[:0]).shape == (0, 21, 37, 3)
    for bad in (frames[0], frames / 255, frames[..., :1]):
        with pytest.raises(ValueError, match=r"uint8 RGB \[N, H, W, 3\]"):
            anonymizer(bad)


def test_nothing_is_written_where_it_is_read():
    before = sorted(workdir().rglob("*"))
    anon_jax.load_anonymizer(workdir())
    assert sorted(workdir().rglob("*")) == before


def changed(tmp_path, source, **fields):
    """A copy with other fields in its config.json; None removes one."""
    folder = tmp_path / "copy"
    shutil.copytree(source, folder)
    path = folder / "config.json"
    stored = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({k: v for k, v in stored.items() if v is not None}))
    if (folder / MANIFEST).exists():
        write_manifest(folder)
    return folder


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"format": FORMAT + 1}, f"has format {FORMAT + 1}, and this .* up to {FORMAT}: update"),
        ({"format": "two"}, "has format two"),
        ({"sha256": "0"}, "not those that config.json was written for"),
        ({"config": None}, "lacks 'networks'"),
        (
            {"config": {"networks": {"anonymizer": "vit"}, "data": {"resolution": 32}}},
            "no known anonymizer",
        ),
        ({"config": {"networks": {"anonymizer": "unetpp"}}}, "lacks 'data.resolution'"),
    ],
)
def test_an_exported_folder_of_another_kind(tmp_path, fields, sentence):
    with pytest.raises(WorkdirError, match=sentence):
        anon_jax.load_anonymizer(changed(tmp_path, exported(), **fields))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"method": "blacken"}, "'blacken', which has no learned anonymizer"),
        ({"networks": {"anonymizer": "unetpp", "output_activation": "sigmoid"}}, "not of the f_A"),
        ({"networks": None}, "lacks 'networks'"),
        ({"compat": {"scrambled_frames": True}}, "three frames each"),
    ],
)
def test_a_workdir_of_another_kind(tmp_path, fields, sentence):
    with pytest.raises(WorkdirError, match=sentence):
        anon_jax.load_anonymizer(changed(tmp_path, workdir(), **fields))


def test_missing_and_damaged_checkpoints(tmp_path):
    with pytest.raises(WorkdirError, match="There is no folder"):
        anon_jax.load_anonymizer(tmp_path / "nothing")
    with pytest.raises(WorkdirError, match="neither the workdir of a run nor"):
        anon_jax.load_anonymizer(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WorkdirError, match="is damaged"):
        anon_jax.load_anonymizer(tmp_path)
    folder = changed(tmp_path, exported())
    for file in (folder / "anonymizer" / "d").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WorkdirError, match=r"is damaged: anonymizer/d/\S+ is not what was written"):
        anon_jax.load_anonymizer(folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(WorkdirError, match="checkpoint is damaged"):
        anon_jax.load_anonymizer(folder)
    shutil.rmtree(folder / "anonymizer")
    with pytest.raises(WorkdirError, match="anonymizer/ is missing"):
        anon_jax.load_anonymizer(folder)
    shutil.rmtree(folder)
    shutil.rmtree(changed(tmp_path, workdir()) / "checkpoints")
    with pytest.raises(WorkdirError, match="the phase 'minimax' of this run has not"):
        anon_jax.load_anonymizer(folder)


def test_an_export_replaces_nothing_and_can_be_exported_again(tmp_path):
    again = anon_jax.save_anonymizer(exported(), tmp_path / "again")
    assert anon_jax.load_anonymizer(again).sha256 == anon_jax.load_anonymizer(exported()).sha256
    with pytest.raises(WorkdirError, match="is there already"):
        anon_jax.save_anonymizer(exported(), again)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_the_shipped_checkpoint_is_the_one_of_its_card():
    folder = checkpoint_folder(SMALL)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3e6
    anonymizer = anon_jax.load_anonymizer(SMALL)
    assert anonymizer.sha256 in (folder / "MODEL_CARD.md").read_text()
    assert anonymizer.config["data"]["resolution"] == SMALL_RESOLUTION
    # Its card says 9 dB on average; an f_A that lets frames pass has 25 or more.
    frames = np.stack(drawn_frames(8, SMALL_RESOLUTION))
    assert psnr(anonymizer(frames) / 255, frames / 255).max() < 15


def test_an_exported_folder_tells_no_paths(tmp_path):
    run = changed(tmp_path, workdir())
    stored = json.loads((run / "config.json").read_text())
    stored["data"]["data_dir"] = stored["pretrained"] = "/home/mary/videos"
    for field in ("init_from", "init_from_action"):
        stored["evaluate_privacy"][field] = "/home/mary/videos"
    stored["init_from"]["action"] = "/home/mary/videos"
    (run / "config.json").write_text(json.dumps(stored))
    folder = anon_jax.save_anonymizer(run, tmp_path / "to_give_away")
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"mary" not in path.read_bytes()
            assert bytes(tmp_path) not in path.read_bytes()


def test_importing_the_package_starts_no_jax():
    code = "import sys, anon_jax, anon_jax.anonymize.engines; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
