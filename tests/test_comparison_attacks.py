"""A comparison of runs with stronger attacks: which leakage places them, and what is not pooled."""

import json

import pytest
from comparison_samples import (
    ATTACKED,
    attacked,
    compare,
    make_attacked_sweep,
    make_run,
    make_sweep,
    scores,
)
from report_samples import frames
from test_comparison import rows_of
from test_report import markdown_row

from anon_jax.report.protocols import group
from anon_jax.report.runs import read_runs


def with_fields(*changes):
    """The config of `ATTACKED` with other values, (section, field, value)."""
    sections = {name: dict(fields) for name, fields in ATTACKED}
    for section, field, value in changes:
        sections[section][field] = value
    return list(sections.items())


def test_the_worst_case_places_the_rows_where_all_have_it(tmp_path):
    html, markdown, report = compare(make_attacked_sweep(tmp_path / "cells"), tmp_path / "out")
    protocol = report["protocols"][0]
    assert protocol["leakage"] == "worst_leakage"
    found = {name: row["figures"] for name, row in rows_of(report).items()}
    # (.85 - .4) / (.9 - .4) = .9 and, of the direct attack, (.7 - .4) / .5 = .6.
    assert found["penalty, B = 0.1"]["worst_leakage"]["mean"] == pytest.approx(0.9)
    assert found["penalty, B = 0.1"]["leakage"]["mean"] == pytest.approx(0.6)
    assert found["raw"]["worst_leakage"]["mean"] == pytest.approx(1.0)
    # weak_blur keeps .71 and .73 and leaks .88: B = 0.3 has more of the action and leaks .42.
    front = [name for name, row in rows_of(report).items() if row["front"]]
    assert front == ["penalty, B = 0.1", "penalty, B = 0.3"]
    # Seed 0: privacy .1 and .6, utility (.85 - .2) / .7 and (.8 - .2) / .7.
    volume = protocol["hypervolumes"][0]["volume"]["values"]["0"]
    assert volume == pytest.approx(0.6 * 0.6 / 0.7 + 0.1 * 0.05 / 0.7)
    for page in (html, markdown):
        assert "The leakage is the worst case" in page
        assert "less leakage in the worst case than: penalty, B = 0.1" in page
    assert "normalised leakage, worst case (0 chance, 1 raw)" in html


def test_one_row_without_a_reconstruction_and_the_direct_attack_places_all(tmp_path):
    folders = make_attacked_sweep(tmp_path / "cells")
    path = folders[1] / "results.json"
    results = json.loads(path.read_text())
    del results["methods"]["weak_blur"]["reconstruction"]
    path.write_text(json.dumps(results))
    html, markdown, report = compare(folders, tmp_path / "out")
    protocol = report["protocols"][0]
    assert protocol["leakage"] == "leakage"
    # Seed 0: privacy .4 and .8 of the direct attack.
    volume = protocol["hypervolumes"][0]["volume"]["values"]["0"]
    assert volume == pytest.approx(0.8 * 0.6 / 0.7 + 0.4 * 0.05 / 0.7)
    for page in (html, markdown):
        assert "The leakage is that of the strongest direct attacker" in page
        assert "there was no reconstruction of: weak_blur." in page
    assert "normalised leakage, direct attack (0 chance, 1 raw)" in html
    # It is shown with what there is.
    assert "(1 of 2 seeds)" in markdown_row(markdown, "weak_blur")[7]


def test_attacks_frames_and_cost_have_tables(tmp_path):
    html, markdown, report = compare(make_attacked_sweep(tmp_path / "cells"), tmp_path / "out")
    row = markdown_row(markdown[markdown.index("### Attacks") :], "weak_blur")
    # .85 and .83, 12.7062 * .01 = .127; without an f_A there is no white box.
    assert row[4:] == ["84.0 ± 12.7", "\u2014", "reconstruction, resnet_tiny-seed0"]
    again = markdown[markdown.index("### Frames and people") :]
    assert markdown_row(again, "weak_blur")[1:] == [
        *("24.2 ± 0.0", "0.820 ± 0.000", "50.0 ± 0.0", "25.0 ± 0.0")
    ]
    assert "Rank-1, % (chance 5.0) | mAP, % (chance 8.0)" in again
    costs = markdown[markdown.index("### Frames and cost") :]
    assert markdown_row(costs, "raw")[1:4] == ["0.000 ± 0.000", "identical", "1.000 ± 0.000"]
    # .01 of .004.
    assert markdown_row(costs, "penalty, B = 0.3")[4] == "2.50 ± 0.00"
    costs = costs[costs.index("ms a frame (cpu)") :]
    assert markdown_row(costs, "penalty, B = 0.3")[3:] == [
        *("8.25 ± 0.00", "4.50", "1,234,567", "1 min 00 s")
    ]
    assert "Reconstruction: unetpp_tiny for 6 epochs." in html
    assert len(report["protocols"]) == 1


def test_the_strongest_attacker_is_named_without_a_reconstruction(tmp_path):
    folders = []
    for seed, winner in ((0, "i3d_tiny-seed0"), (1, "i3d_tiny-seed0"), (2, "resnet_tiny-seed0")):
        entry = scores(0.8, 0.6)
        names = ("resnet_tiny-seed0", "i3d_tiny-seed0")
        entry["privacy"]["attackers"] = {
            name: {"cmap": 0.6 if name == winner else 0.5} for name in names
        }
        entry["worst_case"] = {"cmap": 0.6, "attack": "direct", "attacker": winner}
        folders.append(make_run(tmp_path / str(seed), "weak_blur", seed, entry))
    _, markdown, _ = compare(folders, tmp_path / "out")
    row = markdown_row(markdown[markdown.index("### Attacks") :], "weak_blur")
    assert row[-1] == "direct, i3d_tiny-seed0 (2); direct, resnet_tiny-seed0 (1)"


def test_runs_without_further_measurements_have_no_columns_of_them(tmp_path):
    html, markdown, report = compare(make_sweep(tmp_path / "cells"), tmp_path / "out")
    for words in ("worst case)", "Leakage, worst case", "Rank-1, %", "ms a frame", "GFLOPs"):
        assert words not in html.replace("(worst case)", "")
        assert words not in markdown
    assert report["protocols"][0]["leakage"] == "leakage"


def test_other_budgets_of_the_reconstruction_are_another_protocol_beside_the_same_raw(tmp_path):
    folders = make_attacked_sweep(tmp_path / "cells")
    longer = with_fields(("evaluate_reconstruction", "epochs", 60.0))
    entry = attacked(scores(0.8, 0.5), 0.6, white_box=0.7)
    folders.append(make_run(tmp_path / "x", "penalty", 0, entry, changes=longer))
    html, _, report = compare(folders, tmp_path / "out")
    first, second = report["protocols"]
    assert "evaluate_reconstruction.epochs is 60, there 6." in second["difference"]
    # Raw has no reconstruction, and is what both are compared with.
    assert [row["name"] for row in second["rows"]] == ["raw", "penalty, B = 0.3"]
    assert second["rows"][1]["figures"]["leakage"]["mean"] == pytest.approx(0.2)
    assert first["rows"][0]["seeds"] == second["rows"][0]["seeds"] == [0, 1]
    assert any(str(tmp_path / "cells" / "raw-seed0") in note for note in second["notes"])
    assert "stand in each of them" in html
    assert report["num_runs"] == 9


def test_a_default_that_older_configs_lack_is_no_other_protocol(tmp_path):
    folders = make_attacked_sweep(tmp_path / "cells")
    younger = with_fields(("evaluate_reconstruction", "accumulate", 1))
    entry = attacked(scores(0.8, 0.5), 0.6, white_box=0.7)
    folders.append(make_run(tmp_path / "x", "penalty", 5, entry, changes=younger))
    _, _, report = compare(folders, tmp_path / "out")
    assert len(report["protocols"]) == 1


@pytest.mark.parametrize(
    ("field", "value", "same"),
    [
        ("evaluate_privacy.networks", ["resnet_tiny", "i3d_tiny"], False),
        ("evaluate_privacy.networks", ["resnet_tiny"], True),  # what an empty list stands for
        ("evaluate_privacy.seeds", 2, False),
        ("evaluate_privacy.seeds", 1, True),  # as before there was the field
        ("evaluate_privacy.init_from", "pretrained/seed0", False),
        ("evaluate_privacy.init_from", "", True),
        ("evaluate_privacy.init_from_action", "weights/i3d", False),
    ],
)
def test_other_attackers_are_another_protocol(tmp_path, field, value, same):
    other = make_run(tmp_path / "x", "spact", 0, scores(0.7, 0.6), changes=[(field, value)])
    report = compare([*make_sweep(tmp_path / "cells"), other], tmp_path / "out")[2]
    assert len(report["protocols"]) == (1 if same else 2)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (False, "one that starts from a pre-trained network"),
        (True, "2 that start from pre-trained networks"),
    ],
)
def test_a_folder_of_pretrained_attackers_for_each_seed_is_one_protocol(tmp_path, action, said):
    folders = [
        make_run(
            *(tmp_path / f"raw{seed}", "raw", seed, scores(0.9, 0.8)),
            changes=[
                ("evaluate_privacy.init_from", f"pretrained/seed{seed}"),
                *[("evaluate_privacy.init_from_action", "weights/i3d")] * action,
            ],
        )
        for seed in (0, 1)
    ]
    html, _, report = compare(folders, tmp_path / "out")
    assert report["protocols"][0]["rows"][0]["seeds"] == [0, 1]
    assert "different folders: pretrained/seed0; pretrained/seed1" in html
    assert "different folders: weights/i3d" not in html
    assert f"{said} (the strongest counts)" in html


@pytest.mark.parametrize(
    ("method", "section", "values", "rows"),
    [
        ("penalty", "compat", {"scrambled_frames": True}, 2),
        ("penalty", "compat", {"scrambled_frames": False}, 1),  # as before there was the field
        ("spact", "compat", {"constant_penalty": True}, 1),  # it has no penalty
        ("weak_blur", "compat", {"scrambled_frames": True}, 1),  # it has no f_A
        ("vita", "minimax.supervised", {"objective": "cross_entropy"}, 2),
        ("spact", "minimax.supervised", {"objective": "cross_entropy"}, 1),  # it has no labels
    ],
)
def test_variants_of_a_method_are_other_rows_of_one_protocol(
    tmp_path, method, section, values, rows
):
    folders = [
        make_run(tmp_path / "a", method, 0, scores(0.7, 0.6)),
        make_run(tmp_path / "b", method, 1, scores(0.7, 0.6), changes=[(section, values)]),
    ]
    report = compare(folders, tmp_path / "out")[2]
    assert len(report["protocols"]) == 1
    names = list(rows_of(report))
    assert len(names) == rows
    assert rows == 1 or f"{section.split('.')[-1]}.{next(iter(values))} = " in names[0]


def test_times_of_different_backends_are_said(tmp_path):
    entry = attacked(scores(0.8, 0.5), 0.6) | {"frames": frames(0.1, ms=0.5, backend="gpu")}
    folder = make_run(tmp_path / "x", "spact", 0, entry, changes=ATTACKED)
    folders = [*make_attacked_sweep(tmp_path / "cells"), folder]
    html, _, report = compare(folders, tmp_path / "out")
    assert len(report["protocols"]) == 1
    assert "measured on different backends." in html
    assert "spact: gpu" in html
    assert "ms a frame (cpu)" not in html


def test_runs_of_two_disputed_measurements_are_never_pooled(tmp_path):
    """Neither measurement alone tells which protocol a run with only the other one belongs to."""
    entry = attacked(scores(0.8, 0.5), 0.6)
    people = {name: entry[name] for name in ("action", "privacy", "identity")}
    drawn = {name: value for name, value in entry.items() if name != "identity"}
    folders = []
    for name, found, section, epochs in (
        ("draw6", drawn, "evaluate_reconstruction", 6.0),
        ("draw60", drawn, "evaluate_reconstruction", 60.0),
        ("people5", people, "evaluate_identity", 5.0),
        ("people50", people, "evaluate_identity", 50.0),
    ):
        changes = with_fields((section, "epochs", epochs))
        folders.append(make_run(tmp_path / name, "spact", 0, found, changes=changes))
    folders.append(make_run(tmp_path / "raw", "raw", 0, scores(0.9, 0.9)))
    parts = [{run.folder.name for run in members} for _, members in group(read_runs(folders)[0])]
    assert parts == [{name, "raw"} for name in ("draw6", "draw60", "people5", "people50")]
