"""The code of the documentation does what its pages say: it is taken from them, and run.

Of the tutorial only the commands of seconds are run here, on fewer videos; its training is done by
`docs/run_tutorial.py`.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest
from doc_commands import ROOT, code_blocks
from test_main import one_stage_networks, tiny_config  # noqa: F401  (a fixture, for all tests here)
from video_samples import write_people

from anon_jax import main, settings
from anon_jax.methods import METHODS
from input_pipeline.obfuscation import OBFUSCATIONS


def files_of(page: str) -> dict[str, str]:
    """{name: text} of the files that a page gives."""
    return {b.title: b.text for b in code_blocks(ROOT / "docs" / page) if b.title}


def lines_of(page: str) -> list[str]:
    """The lines of a page's bash blocks, with those that go on joined."""
    blocks = [b.text for b in code_blocks(ROOT / "docs" / page) if b.language == "bash"]
    return re.sub(r"\\\n\s*", " ", "".join(blocks)).splitlines()


def run(line: str, folder: Path) -> str:
    """Runs a command of a page in a folder, with this Python and this checkout; its output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    words = line.split()
    assert words[0] == "python"
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def load(tmp_path):
    """Imports a config file of a page; the rows that it adds to the tables go again."""

    def load_file(page: str, name: str) -> ModuleType:
        path = tmp_path / name
        path.write_text(files_of(page)[name])
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    with mock.patch.dict(METHODS), mock.patch.dict(OBFUSCATIONS):
        yield load_file


def test_a_new_dataset_is_built_and_gives_batches(tmp_path):
    files = files_of("new_dataset.md")
    assert len(files["class_folders.py"].splitlines()) <= 60  # as the page has it
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    # By their hashes emil is tested on, hana and anna validate, and the others train.
    people = ("anna", "ben", "cleo_glasses", "emil", "gus", "hana_glasses")
    write_people(tmp_path / "clips", *people)
    build, show, _ = lines_of("new_dataset.md")
    run(build, tmp_path)
    shown = run(show, tmp_path)
    assert re.search(r"train: 6 records, 3 groups.*test: 2 records, 1 groups", shown, re.S)
    assert re.search(r"^glasses +2 / 6 ", shown, re.M)
    assert "(4, 8, 64, 64, 3)" in run("python look.py", tmp_path)
    assert (tmp_path / "look.png").is_file()


def test_a_new_method_without_training_is_attacked(load, tiny_data_dir, tmp_path):
    module = load("new_method.md", "mosaic.py")
    assert len(files_of("new_method.md")["mosaic.py"].splitlines()) <= 30  # as the page has it
    settings.check_config(module.get_config())
    frame = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    tiles = module.mosaic(frame)
    assert tiles.shape == frame.shape
    assert len(np.unique(tiles.reshape(-1, 3), axis=0)) <= 36  # [H, W, 3] -> [H*W, 3]
    phases = ("evaluate_action", "report")
    fields = {
        "method": module.get_config().method,
        "evaluate_raw": False,
        "phases": phases,
        "devices": 1,
    }
    main.execute(tiny_config(tiny_data_dir, **fields), tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert 0 <= results["methods"]["mosaic"]["action"]["top1"] <= 1


def test_a_new_method_with_training_is_trained(load, tiny_data_dir, tmp_path):
    module = load("new_method.md", "triplet.py")
    assert len(files_of("new_method.md")["triplet.py"].splitlines()) <= 30  # as the page has it
    settings.check_config(module.get_config())
    # Two images: the views of the first agree, those of the second are those of the first.
    views = jnp.array([[1.0, 0], [0, 1], [1, 0], [1, 0]])
    # 0.2 + 1 - 1 of the first, 0.2 + 0 - 0 of the second.
    np.testing.assert_allclose(module.Triplet().learned((views, {}), {}), 0.2, rtol=1e-6)
    phases = ("reconstruct", "pretrain_privacy", "minimax", "report")
    fields = {"method": "triplet", "evaluate_raw": False, "phases": phases, "devices": 1}
    # Without pre-training: what compiling its steps would take is saved.
    fields |= {"reconstruct": {"epochs": 0.0}, "pretrain_privacy": {"epochs": 0.0}}
    main.execute(tiny_config(tiny_data_dir, **fields), tmp_path / "run")
    lines = (tmp_path / "run" / "metrics" / "minimax.jsonl").read_text().splitlines()
    lost = [json.loads(line).get("anonymizer/privacy_loss") for line in lines]
    lost = [value for value in lost if value is not None]
    assert lost
    # A triplet loss of cosines with this margin lies between 0 and 2.2, NT-Xent of 8 pairs at
    # temperature 0.1 starts at about ln 15 = 2.7.
    assert all(0 <= value < 2.2 for value in lost)


def test_the_tutorial_up_to_the_training(tmp_path):
    files = files_of("tutorial.md")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    fewer = files["draw_clips.py"]
    for many, few in (
        ('{"train": 96, "validation": 32, "test": 32}', '{"train": 8, "validation": 2, "test": 2}'),
        ('{"train": 24, "validation": 8, "test": 8}', '{"train": 4, "validation": 1, "test": 1}'),
    ):
        assert fewer.count(many) == 1
        fewer = fewer.replace(many, few)
    (tmp_path / "draw_clips.py").write_text(fewer)
    draw, build, show, train, learned, reduced = lines_of("tutorial.md")
    run(draw, tmp_path)
    run(build, tmp_path)
    assert "train: 8 records, 4 groups" in run(show, tmp_path)
    assert "anon_jax.main --config=mine.py" in train
    assert "--checkpoint=runs/mine" in learned
    run(reduced, tmp_path)
    assert len(list((tmp_path / "reduced").glob("*.mp4"))) == 12


def test_the_evidence_for_the_deviations_holds():
    names: dict[str, object] = {}
    blocks = [b for b in code_blocks(ROOT / "docs" / "deviations.md") if b.language == "python"]
    assert len(blocks) == 4
    for block in blocks:  # each one goes on with the names of those before
        exec(compile(block.text, f"deviations.md:{block.line}", "exec"), names)
