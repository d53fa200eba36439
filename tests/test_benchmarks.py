"""The benchmarks: results are compared before they are timed; the torch twins compute the same."""

import json

import numpy as np
import pytest
from benchmark_contestants import note_folder, sleeping_case

from benchmarks import run, suites, tables
from benchmarks.contest import compete, difference
from benchmarks.contestants import BenchmarkError, Timed

QUICK_COMPILER = "--xla_backend_optimization_level=0"  # of processes that run each program once


def test_ratios_are_of_the_last_contestant():
    first, second = compete(sleeping_case({"seconds": 0.04}, {"seconds": 0.02}), rounds=3)
    assert (first.contestant, second.contestant) == ("number 0", "number 1")
    assert second.ratios.tolist() == [1.0, 1.0, 1.0]
    # A busy machine wakes sleepers late: 2 by the clock, and never the other way round.
    assert 1.2 < np.median(first.ratios) < 4
    assert first.facts["difference"] == 0.0
    assert first.facts["flop"] == 1e6
    assert first.facts["cpu_seconds"] < 0.02  # it sleeps


def test_other_results_stop_a_case_before_it_is_timed(monkeypatch):
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # keeps the folder to look into
    case = sleeping_case(
        {"seconds": 0, "value": 1.5}, {"seconds": 0}, prepare="benchmark_contestants:note_folder"
    )
    # 0.5 of the largest entry, 2.
    with pytest.raises(
        BenchmarkError, match=r"'sum' of 'number 0' .* 'number 1' by 0\.25 .* 0\.01"
    ):
        compete(case, rounds=1)
    assert not (note_folder.seen / "timed").exists()


def test_a_contestant_that_fails_is_named():
    with pytest.raises(BenchmarkError, match=r"'number 1' failed: (.|\n)*no such thing"):
        compete(sleeping_case({"seconds": 0}, {"seconds": 0, "fails": True}), rounds=1)


def test_difference():
    assert difference(np.array([1.0, 4.0]), np.array([2.0, 4.0])) == 0.25  # 1 of 4
    assert difference(np.array([1.0]), np.array([1.0, 1.0])) == float("inf")
    assert difference(np.array([np.nan]), np.array([1.0])) == float("inf")


def test_table_has_the_share_of_the_floor():
    seconds = np.array([0.5, 0.25, 1.0])
    facts = {"flop": 1e9, "cpu_seconds": 0.75, "peak_rss_mib": 7}
    timed = Timed("case", "matmul", "JAX", seconds, seconds / 0.5, facts)
    table = tables.of_timed("speeds", [timed], peak=4e9)
    (row,) = table.rows
    # 1 GFLOP at 4 GFLOP/s takes 0.25 s, half of the median's 0.5 s.
    assert row["share of the floor"] == "50%"
    assert row["times the reference (least to most)"] == "1.00 (0.50 to 2.00)"
    assert (
        table.markdown()
        .splitlines()[-1]
        .startswith("| matmul | JAX | 500 | 1.00 (0.50 to 2.00) | 750 |")
    )


def _suite(*arguments):
    return lambda quick, devices: [sleeping_case(*arguments)]


def test_command_saves_its_tables(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(suites, "peak", lambda quick: [sleeping_case({"seconds": 0.01})])
    monkeypatch.setitem(suites.SUITES, "layers", _suite({"seconds": 0.02}, {"seconds": 0.01}))
    assert run.main(["--suite=layers", "--quick", f"--output={tmp_path}"]) == 0
    content = json.loads((tmp_path / "layers.json").read_text())
    assert [row["contestant"] for row in content["tables"][0]["rows"]] == ["number 0", "number 1"]
    # 1 MFLOP in 10 ms or, on a busy machine, in more.
    assert 0 < content["header"]["peak of matmul, GFLOP/s"] <= 0.1
    assert (tmp_path / "layers.md").read_text() in capsys.readouterr().out


def test_command_says_what_differs(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(suites, "peak", lambda quick: [sleeping_case({"seconds": 0.001})])
    wrong = _suite({"seconds": 0, "value": 1.5}, {"seconds": 0})
    monkeypatch.setitem(suites.SUITES, "layers", wrong)
    assert run.main(["--suite=layers", "--quick", f"--output={tmp_path}"]) == 1
    assert "The suite 'layers' stopped: sleeping, wait: 'sum'" in capsys.readouterr().err
    assert not (tmp_path / "layers.json").exists()


def test_command_lists_the_cases_that_there_are(tmp_path, capsys):
    arguments = ["--suite=networks", "--only=VGG", f"--output={tmp_path}"]
    assert run.main(arguments) == 1
    assert "known: 'UNet++ train 8x112'" in capsys.readouterr().err


def test_the_minimax_cycle_in_torch_is_the_one_in_jax(monkeypatch):
    """Two cycles: all losses agree, so losses, gradients and updates do."""
    pytest.importorskip("torch")
    monkeypatch.setenv("XLA_FLAGS", QUICK_COMPILER)
    (case,) = suites.minimax(quick=True, devices=[1])
    *jax_sides, torch_side = compete(case, rounds=1)
    assert [side.contestant for side in jax_sides] == ["JAX, 1 device", "JAX, XLA alone"]
    for side in jax_sides:
        assert side.facts["difference"] < case.tolerance
        assert side.facts["temp_mib"] > 0
    assert torch_side.facts["flop"] > 1e6


@pytest.mark.parametrize("kernels", [True, False])
def test_operations_in_torch_are_those_in_jax(tmp_path, kernels):
    pytest.importorskip("torch")
    from benchmarks import jax_layers, torch_layers

    ours = jax_layers.programs(tmp_path, small=True, plain=False, kernels=kernels)
    theirs = torch_layers.programs(tmp_path, small=True)
    assert list(ours) == list(theirs)
    for name, program in ours.items():
        got = program.results()
        for array, wanted in theirs[name].results().items():
            # Sums of at most 576 products of normal float32 numbers, in another order.
            assert difference(got[array], wanted) < 1e-5, (name, array)
