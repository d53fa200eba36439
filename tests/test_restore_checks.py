"""A network is read only from files that are what was written: a flipped bit is refused by name."""

import json
import shutil

import jax
import numpy as np
import pytest
from anonymize_samples import exported, workdir

import anon_jax
from anon_jax import restore, settings, shipped
from anon_jax.errors import WorkdirError
from anon_jax.manifest import MANIFEST, write_manifest
from anon_jax.read_json import MAX_JSON_BYTES, read_json
from anon_jax.shipped import SMALL, checkpoint_folder
from configs import demo


def flip(path, place=0.5):
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 4
    path.write_bytes(data)


def largest(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("source", ["run", "exported"])
def test_a_flipped_bit_is_refused_before_anything_is_read(tmp_path, monkeypatch, source):
    folder = shutil.copytree(workdir() if source == "run" else exported(), tmp_path / "copy")
    checked = folder / "checkpoints" / "minimax" / "2" if source == "run" else folder
    flip(largest(checked))
    monkeypatch.setattr(restore, "_restore", None)  # it would end in a TypeError
    with pytest.raises(WorkdirError, match=r"is damaged: \S+ is not what was written.*No network"):
        anon_jax.load_anonymizer(folder)


def test_every_byte_of_an_exported_config_counts(tmp_path):
    """The weights' own sum says nothing of it."""
    folder = shutil.copytree(exported(), tmp_path / "copy")
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(WorkdirError, match=r"is damaged: config.json is not what was written"):
        anon_jax.load_anonymizer(folder)


def test_a_folder_of_an_older_version_is_used_with_a_note(tmp_path, capfd):
    folder = shutil.copytree(exported(), tmp_path / "copy")
    (folder / MANIFEST).unlink()
    older = anon_jax.load_anonymizer(folder)
    assert f"note: {folder} has no manifest.json" in capfd.readouterr().err
    newer = anon_jax.load_anonymizer(exported())
    assert "note:" not in capfd.readouterr().err
    pairs = zip(jax.tree.leaves(older.net), jax.tree.leaves(newer.net), strict=True)
    assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)


def test_the_shipped_checkpoint_has_to_have_its_manifest(tmp_path, monkeypatch):
    listed = json.loads((checkpoint_folder(SMALL) / MANIFEST).read_text())["sha256"]
    files = [path for path in checkpoint_folder(SMALL).rglob("*") if path.is_file()]
    names = {path.relative_to(checkpoint_folder(SMALL)).as_posix() for path in files}
    assert set(listed) == names - {MANIFEST, "MODEL_CARD.md"}  # the card may be mended
    copy = shutil.copytree(checkpoint_folder(SMALL), tmp_path / "copy")
    (copy / MANIFEST).unlink()
    monkeypatch.setattr(shipped, "_FOLDER", copy)
    with pytest.raises(WorkdirError, match=r"has no manifest\.json, so its files cannot be"):
        anon_jax.load_anonymizer(SMALL)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b" " * (MAX_JSON_BYTES + 1), f"it has {MAX_JSON_BYTES + 1} bytes; at most"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ', "Expecting value"),
        (b"\xff\xfe{}", "utf-8"),
    ],
    ids=["large", "deep", "cut", "no text"],
)
def test_json_that_would_take_all_memory_or_all_stack(tmp_path, content, sentence):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        read_json(path)
    with pytest.raises(WorkdirError, match="is damaged"):
        anon_jax.load_anonymizer(tmp_path)
    shutil.move(path, tmp_path / MANIFEST)
    (tmp_path / "config.json").write_text((exported() / "config.json").read_text())
    with pytest.raises(WorkdirError, match=r"is damaged: manifest\.json is damaged"):
        anon_jax.load_anonymizer(tmp_path)
    write_manifest(tmp_path)


def test_a_damaged_config_of_a_workdir_is_a_sentence(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(WorkdirError, match=r"config\.json is damaged: Expecting value.*copy back"):
        settings.claim_workdir(tmp_path, demo.get_config())
