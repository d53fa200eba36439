"""--verify: a second evaluation agrees bit for bit, leaves the run alone, names what differs."""

import json
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from report_samples import config_of_penalty, make_workdir, results_of_penalty
from test_main import one_stage_networks, tiny_config  # noqa: F401  (an autouse fixture)

from anon_jax import main, provenance, verify
from anon_jax.errors import ConfigError, WorkdirError
from input_pipeline.fingerprint import fingerprint
from input_pipeline.index import INDEX_FILE
from input_pipeline.specs import load_spec

ROOT = Path(main.__file__).parents[1]


def files(folder):
    return {
        path: sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_second_evaluation_agrees_bit_for_bit(tiny_data_dir, tmp_path, capfd):
    phases = ("reconstruct", "pretrain_privacy", "minimax", "evaluate_action", "evaluate_frames")
    config = tiny_config(tiny_data_dir, phases=(*phases, "report"), evaluate_raw=False)
    for phase in phases[:3]:  # a network without a step is one to evaluate too
        config[phase].epochs = 0.0
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    main.execute(config, run)
    before = files(run)
    again = verify.verified_config(run)
    assert again.phases == ("evaluate_action", "evaluate_frames", "report")
    verify.prepare(run, scratch, again)
    main.execute(again, scratch)
    assert verify.differing_figures(run, scratch, 0.0) == []
    assert files(run) == before
    assert "note:" not in capfd.readouterr().err
    found = json.loads((run / "results.json").read_text())
    assert {"seed", "versions", "commit", "machine", "data"} <= set(found)
    names = {config.data.videos, config.data.images}
    assert found["data"] == {name: fingerprint(load_spec(name, tiny_data_dir)) for name in names}
    assert found["machine"]["devices"] == {"cpu": 8}  # those of conftest.py
    found["methods"]["penalty"]["action"]["top1"] += 0.03
    found["machine"]["cores"] = 1000
    (run / "results.json").write_text(json.dumps(found))
    assert verify.differing_figures(run, scratch, 0.04) == []
    (line,) = verify.differing_figures(run, scratch, 0.02)
    assert line.startswith("methods.penalty.action.top1: ")
    assert "note: machine differs" in capfd.readouterr().err


def finished(folder, **results):
    return make_workdir(folder, {**results_of_penalty(), **results}, config_of_penalty())


def test_results_of_an_older_version_are_compared_with_a_note(tmp_path, capfd):
    now = {"commit": "a" * 40, "machine": {}, "data": {}, "versions": {}}
    run, scratch = finished(tmp_path / "run"), finished(tmp_path / "scratch", **now)
    assert verify.differing_figures(run, scratch, 0.0) == []
    assert "does not say its commit: an older version" in capfd.readouterr().err


def test_figures_that_are_missing_on_one_side_differ(tmp_path):
    methods = results_of_penalty()["methods"]
    del methods["penalty"]["action"]["top1"]
    run, scratch = finished(tmp_path / "run", methods=methods), finished(tmp_path / "scratch")
    (line,) = verify.differing_figures(run, scratch, 1.0)
    assert line.startswith("methods.penalty.action.top1: missing then, 0.")


def test_what_cannot_be_verified_is_a_sentence(tmp_path):
    with pytest.raises(WorkdirError, match=r"is no finished run: there is no config\.json"):
        verify.verified_config(tmp_path)
    run = finished(tmp_path / "empty", methods={})
    with pytest.raises(WorkdirError, match="evaluated nothing"):
        verify.verified_config(run)
    run = finished(tmp_path / "run")
    (run / "config.json").write_text('{"phases": 3}')
    with pytest.raises(ConfigError, match="is no config of this version"):
        verify.verified_config(run)
    with pytest.raises(WorkdirError, match="the run itself"):
        verify.prepare(run, run / ".." / "run", config_of_penalty())


def test_the_commit_is_that_of_git(tmp_path):
    assert provenance.commit(tmp_path) is None

    def git(*arguments, folder=tmp_path):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", *who, *arguments]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)

    git("init", "--initial-branch=some/branch")
    assert provenance.commit(tmp_path) is None  # nothing is committed yet
    git("commit", "--allow-empty", "--message=a")
    head = git("rev-parse", "HEAD").stdout.strip()
    assert provenance.commit(tmp_path) == head
    git("pack-refs", "--all")
    assert provenance.commit(tmp_path) == head
    git("worktree", "add", "-b", "other", "beside")
    assert provenance.commit(tmp_path / "beside") == head
    git("checkout", "--detach", folder=tmp_path / "beside")
    assert provenance.commit(tmp_path / "beside") == head


def test_a_fingerprint_changes_with_the_index_alone(tiny_data_dir, tmp_path):
    name = "moving_figures/tiny_images"
    spec = load_spec(name, tiny_data_dir)
    copy = tmp_path / name / spec.path.name
    copy.mkdir(parents=True)
    for path in spec.path.iterdir():
        if path.suffix in (".json", ".csv"):
            (copy / path.name).write_bytes(path.read_bytes())
    again = load_spec(name, tmp_path)
    assert fingerprint(again) == fingerprint(spec)
    (copy / INDEX_FILE).write_text("split,id\ntrain,a\n")
    assert fingerprint(again) != fingerprint(spec)
