"""The figures of a comparison, by hand: intervals, drops, volumes, protocols, what is missing."""

import json

import pytest
from comparison_samples import DATASETS, compare, make_run, make_sweep, scores
from test_report import markdown_row

# Student's t for 95 % and two seeds (one degree of freedom), times the standard error
# |a - b| / 2 of their mean.
HALF_OF_TWO = 12.7062 / 2


def rows_of(report, protocol=0):
    return {row["name"]: row for row in report["protocols"][protocol]["rows"]}


def test_means_and_intervals_over_seeds(tmp_path):
    html, markdown, report = compare(make_sweep(tmp_path / "cells"), tmp_path / "out")
    assert list(rows_of(report)) == ["raw", "penalty, B = 0.1", "penalty, B = 0.3"]
    figures = rows_of(report)["penalty, B = 0.3"]["figures"]
    # Top-1 .8 and .6 against 1.0 and .9: drops .2 and .3, kept .8 and 2/3.
    assert figures["top1"]["mean"] == pytest.approx(0.7)
    assert figures["top1"]["high"] == pytest.approx(0.7 + HALF_OF_TWO * 0.2, rel=1e-5)
    assert figures["top1"]["low"] == pytest.approx(0.7 - HALF_OF_TWO * 0.2, rel=1e-5)
    assert figures["drop"]["mean"] == pytest.approx(0.25)
    assert figures["drop"]["high"] == pytest.approx(0.25 + HALF_OF_TWO * 0.1, rel=1e-5)
    assert figures["kept"]["mean"] == pytest.approx((0.8 + 2 / 3) / 2)
    # (.5 - .4) / (.9 - .4) = .2 and (.6 - .4) / (.8 - .4) = .5.
    assert figures["leakage"]["values"] == pytest.approx({"0": 0.2, "1": 0.5})
    assert figures["leakage"]["mean"] == pytest.approx(0.35)
    assert figures["distance"]["mean"] == 0.25
    assert figures["seconds"]["mean"] == 60.0
    assert rows_of(report)["raw"]["figures"]["seconds"] is None
    # 12.7062 * .1 = 1.27 and 12.7062 / 2 * .1 = .635; kept .7333 +- .4235; leakage .35 +- 1.906.
    row = ["penalty, B = 0.3", "2", "70.0 ± 127.1", "25.0 ± 63.5", "73.3 ± 84.7"]
    assert markdown_row(markdown, "penalty, B = 0.3") == [*row, "55.0 ± 63.5", "0.35 ± 1.91", "yes"]
    assert markdown_row(markdown, "raw")[2:7] == [
        "95.0 ± 63.5",
        "0.0",
        "100.0",
        "85.0 ± 63.5",
        "1.00",
    ]
    for cell in ("73.3 ± 84.7", "0.35 ± 1.91", "1 min 00 s", "50.0 ± 0.0"):
        assert f">{cell}</td>" in html
    assert "Top-1, % (chance 20.0)" in html
    assert "Distance from raw (RMS of pixels in [0, 1])" in html
    assert "cMAP, % (chance 40.0)" in markdown
    assert "F1 tuned (always yes 0.550)" in html


def test_the_front_and_the_volume_of_the_budgets(tmp_path):
    spact = [
        make_run(tmp_path / f"spact{seed}", "spact", seed, scores(0.5, 0.7)) for seed in (0, 1)
    ]
    _, markdown, report = compare([*make_sweep(tmp_path / "cells"), *spact], tmp_path / "out")
    assert [name for name, row in rows_of(report).items() if row["front"]] == [
        "penalty, B = 0.1",
        "penalty, B = 0.3",
    ]
    assert "than: penalty, B = 0.1; penalty, B = 0.3." in report["summary"]
    volumes = {item["series"]: item["volume"] for item in report["protocols"][0]["hypervolumes"]}
    # Utility (Top-1 - .2) / (raw - .2), privacy 1 - leakage. Seed 0: (.2, .875) and (.8, .75):
    # .8 * .75 + .2 * .125 = .625. Seed 1: (.25, 6/7) and (.5, 4/7): .5 * 4/7 + .25 * 2/7 = 5/14.
    assert volumes["penalty"]["values"] == pytest.approx({"0": 0.625, "1": 5 / 14})
    assert volumes["penalty"]["mean"] == pytest.approx((0.625 + 5 / 14) / 2)
    # Seed 0: (1 - .3 / .5) * (.3 / .8) = .15. Seed 1: (1 - .3 / .4) * (.3 / .7) = 3/28.
    assert volumes["spact"]["values"] == pytest.approx({"0": 0.15, "1": 3 / 28})
    behind = {item["series"]: item["behind"] for item in report["protocols"][0]["hypervolumes"]}
    assert behind["penalty"] is None
    assert behind["spact"]["values"] == pytest.approx({"0": 0.475, "1": 0.25})  # 5/14 - 3/28
    # Of two seeds: half of their difference times Student's t at .975 with one degree, 12.706.
    half = behind["spact"]["high"] - behind["spact"]["mean"]
    assert half == pytest.approx(12.706 * 0.225 / 2, rel=1e-4)
    # It has a distance, but no penalty that could be active.
    assert rows_of(report)["spact"]["figures"]["distance"]["mean"] == 0.25
    assert rows_of(report)["spact"]["figures"]["active"] is None
    table = markdown[markdown.index("| Budgets B |") :]
    assert markdown_row(table, "penalty")[1:3] == ["0.1, 0.3", "2"]


def test_the_volume_of_all_settings_of_a_method(tmp_path):
    # Seed 0 of the raw row: Top-1 1, cMAP .9; chance .2 and .4, as in the test above.
    stronger = [("minimax.weights.privacy", 3.0)]
    spact = [
        make_run(tmp_path / "spact", "spact", 0, scores(0.8, 0.7)),
        make_run(tmp_path / "stronger", "spact", 0, scores(0.6, 0.5), changes=stronger),
    ]
    raw = make_run(tmp_path / "raw", "raw", 0, scores(1.0, 0.9))
    _, markdown, report = compare([raw, *spact], tmp_path / "out")
    found = report["protocols"][0]["hypervolumes"]
    volumes = {item["series"]: item["volume"]["mean"] for item in found}
    # (privacy, utility): (.4, .75) and (.8, .5), together .8 * .5 + .4 * .25.
    assert volumes == pytest.approx(
        {
            "spact, w_B = 1": 0.3,
            "spact, w_B = 3": 0.4,
            "spact, all 2 settings": 0.5,
        }
    )
    table = markdown[markdown.index("| Budgets B |") :]
    assert markdown_row(table, "spact, w_B = 3")[2:] == ["1", "0.400", "0.100"]
    assert markdown_row(table, "spact, all 2 settings")[2:] == ["1", "0.500", "—"]


def test_a_budget_without_a_seed_leaves_that_seed_out_of_the_volume(tmp_path):
    folders = make_sweep(tmp_path / "cells")
    _, markdown, report = compare(folders[:-1], tmp_path / "out")
    volume = report["protocols"][0]["hypervolumes"][0]["volume"]
    assert volume["values"] == pytest.approx({"0": 0.625})
    assert markdown_row(markdown[markdown.index("| Budgets B |") :], "penalty")[2] == "1 of 2"


def test_one_seed_has_no_interval_and_the_page_says_so(tmp_path):
    folders = [f for f in make_sweep(tmp_path / "cells") if f.name.endswith("seed0")]
    html, markdown, report = compare(folders, tmp_path / "out")
    assert markdown_row(markdown, "penalty, B = 0.1")[2:5] == ["90.0", "10.0", "90.0"]
    assert "All rows are of one seed, so without an interval over seeds." in html
    assert rows_of(report)["penalty, B = 0.1"]["figures"]["top1"]["high"] is None


def test_one_seed_shows_the_bootstrap_over_its_clips(tmp_path):
    entries = [scores(0.8, 0.7), scores(0.6, 0.7)]
    for entry in entries:
        entry["action"] |= {"top1_interval": [0.75, 0.9], "majority": 0.25}
        entry["privacy"]["cmap_interval"] = [0.66, 0.72]
    folders = [make_run(tmp_path / str(i), "raw", i, entry) for i, entry in enumerate(entries)]
    html, markdown, _ = compare(folders[:1], tmp_path / "one")
    cells = [cell.replace("\\", "") for cell in markdown_row(markdown, "raw")]
    assert (cells[2], cells[5]) == ("80.0 [75.0 to 90.0]", "70.0 [66.0 to 72.0]")
    assert "Top-1, % (chance 20.0, always the commonest 25.0)" in html
    # Several trainings say more than one set of clips.
    _, markdown, report = compare(folders, tmp_path / "both")
    assert markdown_row(markdown, "raw")[2].startswith("70.0 \u00b1")
    assert rows_of(report)["raw"]["clips"]["1"] == {"top1": [0.75, 0.9], "cmap": [0.66, 0.72]}


def test_other_builds_of_a_dataset_and_other_commits_are_named(tmp_path):
    folders = make_sweep(tmp_path / "cells")
    for folder, fingerprint, commit in zip(folders[:2], ("a" * 64, "b" * 64), "xy", strict=True):
        results = json.loads((folder / "results.json").read_text())
        results |= {"data": {"moving_figures/videos": fingerprint}, "commit": commit * 40}
        (folder / "results.json").write_text(json.dumps(results))
    html = compare(folders, tmp_path / "out")[0]
    assert "different builds of moving_figures/videos" in html
    assert f"aaaaaaaaaaaa in 1 of the runs; bbbbbbbbbbbb in {folders[1]}." in html
    assert "several commits of the code: unknown (4), xxxxxxx (1), yyyyyyy (1)" in html
    assert "different builds" not in compare(folders[1:], tmp_path / "alike")[0]


def test_protocols_stand_in_tables_of_their_own(tmp_path):
    folders = make_sweep(tmp_path / "cells")
    longer = [("evaluate_action.epochs", 9.0), ("data.resolution", 64)]
    folders.append(make_run(tmp_path / "x", "penalty", 0, scores(0.7, 0.6), changes=longer))
    html, markdown, report = compare(folders, tmp_path / "out")
    first, second = report["protocols"]
    assert (len(first["rows"]), len(second["rows"])) == (3, 1)
    sentence = (
        "do not compare with those of protocol 1: data.resolution is 64, there 32; "
        "evaluate_action.epochs is 9, there 4."
    )
    for page in (html, markdown, second["difference"]):
        assert sentence in page
    assert first["difference"] == ""
    # Raw of protocol 1 has the same seed, but is no yardstick here.
    assert second["rows"][0]["figures"]["drop"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"datasets": {**DATASETS, "attack_videos": "moving_figures/videos_b"}},
        {"found": scores(0.7, 0.6, chance_cmap=0.41)},
        {"found": scores(0.7, 0.6, left_out=())},
    ],
)
def test_other_records_are_another_protocol(tmp_path, change):
    other = make_run(tmp_path / "x", "penalty", 0, **{"found": scores(0.7, 0.6), **change})
    report = compare([*make_sweep(tmp_path / "cells"), other], tmp_path / "out")[2]
    assert len(report["protocols"]) == 2


def test_rows_are_named_by_what_differs_within_the_method_or_from_others(tmp_path):
    changed = [("minimax.penalty.mode", "lagrangian"), ("minimax.epochs", 9.0)]
    folders = [
        *make_sweep(tmp_path / "cells"),
        make_run(tmp_path / "x", "penalty", 0, scores(0.7, 0.6), changes=changed),
        # What raw and spact do not use makes no other rows of them.
        make_run(tmp_path / "y", "raw", 2, scores(1.0, 0.9), changes=changed),
        make_run(tmp_path / "s0", "spact", 0, scores(0.5, 0.6)),
        make_run(tmp_path / "s1", "spact", 1, scores(0.5, 0.6), changes=changed[:1], budget=0.9),
    ]
    report = compare(folders, tmp_path / "out")[2]
    assert {name: row["seeds"] for name, row in rows_of(report).items()} == {
        "raw": [0, 1, 2],
        "spact, minimax.epochs = 4": [0, 1],
        "penalty, minimax.epochs = 4, mode = hinge, B = 0.1": [0, 1],
        "penalty, minimax.epochs = 4, mode = hinge, B = 0.3": [0, 1],
        "penalty, minimax.epochs = 9, mode = lagrangian, B = 0.3": [0],
    }


def test_the_rate_of_the_multiplier_names_rows_that_have_one(tmp_path):
    held = ("minimax.penalty.mode", "lagrangian")
    rate = "minimax.penalty.multiplier_rate"
    folders = [
        make_run(tmp_path / "raw", "raw", 0, scores(1.0, 0.9)),
        # A hinge has no multiplier: two seeds of one row.
        make_run(tmp_path / "h0", "penalty", 0, scores(0.7, 0.6), changes=[(rate, 0.05)]),
        make_run(tmp_path / "h1", "penalty", 1, scores(0.7, 0.6), changes=[(rate, 0.5)]),
        make_run(tmp_path / "l0", "penalty", 0, scores(0.7, 0.6), changes=[held, (rate, 0.05)]),
        make_run(tmp_path / "l1", "penalty", 0, scores(0.7, 0.6), changes=[held, (rate, 0.5)]),
    ]
    report = compare(folders, tmp_path / "out")[2]
    assert {name: row["seeds"] for name, row in rows_of(report).items()} == {
        "raw": [0],
        "penalty, mode = hinge, B = 0.3": [0, 1],
        "penalty, mode = lagrangian, multiplier_rate = 0.05, B = 0.3": [0],
        "penalty, mode = lagrangian, multiplier_rate = 0.5, B = 0.3": [0],
    }


def test_a_field_of_another_version_names_the_rows_of_the_methods_that_have_it(tmp_path):
    foreign = [("minimax.of_another_version", 3)]
    folders = [
        make_run(tmp_path / "raw", "raw", 0, scores(1.0, 0.9)),
        make_run(tmp_path / "spact", "spact", 0, scores(0.5, 0.6)),
        make_run(tmp_path / "without", "penalty", 0, scores(0.7, 0.6)),
        make_run(tmp_path / "with", "penalty", 0, scores(0.7, 0.6), changes=foreign),
    ]
    assert set(rows_of(compare(folders, tmp_path / "out")[2])) == {
        "raw",
        "spact",
        "penalty, minimax.of_another_version = not set, B = 0.3",
        "penalty, minimax.of_another_version = 3, B = 0.3",
    }


def test_how_a_run_computes_makes_no_row_of_its_own(tmp_path):
    """Seeds of two sweeps, on other machines, by a config that is younger than a field."""
    here = [("compilation_cache", "a/compiled"), ("devices", 2)]
    there = [("compilation_cache", "b/compiled"), ("remat", "blocks"), ("fsdp", 2)]
    there += [("on_nonfinite", "roll_back"), ("data.prefetch", 9), ("networks.game_privacy", "")]
    folders = [
        make_run(tmp_path / "0", "penalty", 0, scores(0.7, 0.6), changes=here),
        make_run(tmp_path / "1", "penalty", 1, scores(0.8, 0.6), changes=there),
    ]
    report = compare(folders, tmp_path / "out")[2]
    assert {name: row["seeds"] for name, row in rows_of(report).items()} == {
        "penalty, B = 0.3": [0, 1]
    }


def test_a_missing_raw_run_is_named_with_what_to_run(tmp_path):
    folders = [f for f in make_sweep(tmp_path / "cells") if f.name != "raw-seed1"]
    html, markdown, report = compare(folders, tmp_path / "out")
    assert markdown_row(markdown, "penalty, B = 0.1")[3] == "10.0 (1 of 2 seeds)"
    assert "Raw was not measured with seed 1" in html
    assert "--config.method=raw --config.seed=1" in markdown
    assert str(tmp_path / "cells" / "penalty-B0.3-seed1") in html
    folders = [f for f in folders if "raw" not in f.name]
    _, markdown, report = compare(folders, tmp_path / "none")
    row = markdown_row(markdown, "penalty, B = 0.1")
    assert (row[3], row[4], row[6]) == ("\u2014", "\u2014", "\u2014")
    assert rows_of(report)["penalty, B = 0.1"]["figures"]["leakage"] is None
    assert not list((tmp_path / "none").glob("tradeoff*"))


def test_raw_at_chance_is_no_yardstick(tmp_path):
    folders = [
        make_run(tmp_path / "raw", "raw", 0, scores(0.9, 0.39)),
        make_run(tmp_path / "own", "spact", 0, scores(0.8, 0.38)),
    ]
    html, _, report = compare(folders, tmp_path / "out")
    assert rows_of(report)["spact"]["figures"]["leakage"] is None
    assert "spact: normalised leakage is not defined with seed 0" in html


def test_below_chance_and_above_raw_are_shown_as_they_are(tmp_path):
    folders = [
        make_run(tmp_path / "raw", "raw", 0, scores(0.8, 0.6)),
        make_run(tmp_path / "own", "spact", 0, scores(0.9, 0.3)),
    ]
    _, markdown, report = compare(folders, tmp_path / "out")
    # (.3 - .4) / (.6 - .4) = -.5.
    assert markdown_row(markdown, "spact")[2:7] == ["90.0", "-10.0", "112.5", "30.0", "-0.50"]
    # The area is cut to the unit square: privacy 1.5 and utility 7/6 count as 1.
    assert report["protocols"][0]["hypervolumes"][0]["volume"]["mean"] == 1.0


def test_a_plain_run_has_its_own_raw(tmp_path):
    found = {"raw": scores(0.8, 0.8), "penalty": scores(0.6, 0.6)}
    folders = [make_run(tmp_path / "plain", "penalty", 0, found)]
    folders.append(make_run(tmp_path / "raw", "raw", 0, scores(1.0, 1.0)))
    html, _, report = compare(folders, tmp_path / "out")
    figures = rows_of(report)["penalty, B = 0.3"]["figures"]
    assert figures["drop"]["mean"] == pytest.approx(0.2)
    repeated = report["protocols"][0]["repeated"]
    assert [item["folder"] for item in repeated] == [str(tmp_path / "raw")]
    assert f"raw with seed 0 is already there from {tmp_path / 'plain'}" in html
    assert "with other figures" in html
    assert rows_of(report)["raw"]["figures"]["top1"]["mean"] == 0.8
