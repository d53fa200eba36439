"""The measurement of accelerators, on the CPU: tiny networks, cases that fail or have no time."""

import dataclasses
import json

import pytest

from benchmarks import accelerator
from benchmarks.accelerator_cases import TINY

QUICK_COMPILER = "--xla_backend_optimization_level=0"  # of processes that run each program once


def test_a_step_in_bf16_beside_torch(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.setenv("XLA_FLAGS", QUICK_COMPILER)
    # f_B's step, which compiles in a tenth of the time; the cycle has its test beside torch.
    cycle = dataclasses.replace(TINY.cycle, kind="contrast")
    monkeypatch.setattr(accelerator, "TINY", dataclasses.replace(TINY, cycle=cycle))
    output = tmp_path / "found.json"
    cases = ["--case=cycle", "--case=torch cycle"]
    assert accelerator.main(["--tiny", f"--output={output}", *cases]) == 0
    rows = json.loads(output.read_text())["rows"]
    ours, theirs = rows["cycle"][0], rows["torch cycle"][0]
    assert ours["TFLOP"] > 0
    assert ours["temporaries GiB"] > 0
    # Else there was nothing for `torch_differs` to compare.
    assert {"privacy/loss"} <= set(ours) & set(theirs)


def test_a_case_without_time_is_named(tmp_path, capsys):
    output = tmp_path / "found.json"
    assert accelerator.main(["--tiny", "--minutes=0", f"--output={output}"]) == 1
    problems = json.loads(output.read_text())["problems"]
    assert list(problems) == list(accelerator.CASES)
    assert "'cycle' was left out: no time is left" in capsys.readouterr().out


def test_a_case_that_fails_says_why(tmp_path):
    rows, saved = [], []
    broken = dataclasses.replace(TINY, frames=None)
    problem = accelerator._run("frames", tmp_path, broken, rows, 60, lambda: saved.append(True))
    assert problem.startswith("'frames' failed:")
    assert "'NoneType' object is not iterable" in problem
    assert (rows, saved) == ([], [])


def test_torch_differs():
    ours = {"ms": 3.0, "action/loss": 4.0, "penalty/value": 0.0}
    assert accelerator.torch_differs({"cycle": [ours], "torch cycle": [{"action/loss": 4.1}]}) == ""
    assert accelerator.torch_differs({"cycle": [ours], "torch cycle": [{"skipped": "none"}]}) == ""
    found = accelerator.torch_differs({"cycle": [ours], "torch cycle": [{"action/loss": 5.0}]})
    assert found == "Not the same computation: action/loss is 4 in JAX, 5 in torch"
