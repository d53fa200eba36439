"""Tests what a report says of stronger attacks, people, frames and cost, on a workdir by hand."""

import base64

import pytest
from report_samples import (
    add_metrics_and_samples,
    add_stronger_attacks,
    config_of_penalty,
    make_workdir,
    reconstruction,
    results_of_penalty,
    write_lines,
)
from test_report import Elements, markdown_row, report_of

from anon_jax.phases.report import add_leakage
from anon_jax.report import write_report


def test_stronger_attacks_people_frames_and_cost_have_tables(tmp_path):
    workdir = make_workdir(tmp_path, add_stronger_attacks(results_of_penalty()))
    html, markdown, report = report_of(workdir)
    part = {title: markdown[markdown.index(title) :] for title in ("Worst case:", "All attackers:")}
    assert markdown_row(part["Worst case:"], "penalty") == [
        *("penalty", "65.0 %", "0.50", "74.0 %", "0.65", "white box", "resnet18-seed0")
    ]
    lines = [line for line in part["All attackers:"].splitlines() if line.startswith("| penalty |")]
    attackers = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:6]]
    assert [cells[1:6] for cells in attackers] == [
        ["63.0 %", "", "direct", "resnet18", "0"],
        ["65.0 %", "", "direct", "resnet18", "1"],
        ["55.0 %", "", "direct", "i3d_tiny", "0"],
        ["64.0 %", "", "direct", "resnet18", "pre-trained"],
        ["71.0 %", "", "reconstruction", "resnet18", "0"],
        ["74.0 %", "yes", "white box", "resnet18", "0"],
    ]
    for title, cells in {
        "Reconstruction by a decoder:": ["unetpp_tiny", "15.3", "24.2", "0.440", "0.820", "71.0 %"],
        "White box:": ["24.1 → 31.5", "0.810 → 0.940", "0.043 → 0.012", "74.0 %", "0.800"],
        "## Re-identification": ["30.0 %", "5.0 %", "15.0 %", "8.0 %", "240", "20"],
        # Flicker .01 of .004.
        "## Frames": ["0.0100", "0.0040", "2.50", "0.120", "18.4", "0.610"],
        "## Cost": ["1,234,567", "4.50", "8.25", "16", "cpu"],
    }.items():
        row = markdown_row(markdown[markdown.index(title) :], "penalty")
        assert row[1 : len(cells) + 1] == cells
        for cell in cells:
            assert f">{cell}</td>" in html
    assert markdown_row(markdown[markdown.index("## Frames") :], "raw")[5] == "identical"
    assert markdown_row(markdown, "penalty")[2] == "75.0 to 84.0 %"
    assert report["methods"][1]["worst_case"]["attack"] == "white_box"
    assert (
        "In the worst case, resnet18-seed0 reading frames that were reconstructed with the weights "
        "of f_A, the cMAP is 74.0 % and the normalised leakage 0.65."
    ) in report["summary"].replace("\u00a0", " ")


def test_a_worst_case_that_is_the_direct_attack_is_not_repeated(tmp_path):
    results = add_stronger_attacks(results_of_penalty())
    results["methods"]["penalty"]["worst_case"]["attack"] = "direct"
    html, _, report = report_of(make_workdir(tmp_path, results))
    assert "worst case" not in report["summary"]
    assert "Leakage, worst case</dt>" not in html


def test_measurements_that_an_older_run_lacks_leave_no_trace(tmp_path):
    html, markdown, _ = report_of(make_workdir(tmp_path))
    for title in ("Attackers", "Re-identification", "Frames", "White box", "95 % interval"):
        assert title not in html
        assert title not in markdown


def test_the_white_box_alone_may_be_missing(tmp_path):
    results = add_stronger_attacks(results_of_penalty())
    results["methods"]["penalty"]["reconstruction"] = reconstruction(0.71, None)
    html, _, report = report_of(make_workdir(tmp_path, results))
    assert "White box</h3>" not in html
    assert report["methods"][1]["white_box"] is None
    assert report["methods"][1]["reconstruction"]["psnr"] == 24.2


def test_pictures_of_reconstructions_are_embedded(tmp_path):
    workdir = make_workdir(tmp_path, add_stronger_attacks(results_of_penalty()))
    add_metrics_and_samples(workdir)
    picture = (workdir / "samples" / "000100.png").read_bytes()
    (workdir / "samples" / "reconstruction-penalty.png").write_bytes(picture + b"its own")
    html, markdown, _ = report_of(workdir)
    sources = [dict(found)["src"] for tag, found in Elements(html).found if tag == "img"]
    assert base64.b64encode(picture + b"its own").decode() in sources[0]
    assert "](reconstruction_penalty.png)" in markdown
    assert (workdir / "report" / "reconstruction_penalty.png").read_bytes() == picture + b"its own"
    assert len(sources) == 3  # the minimax training has its two as before


def test_how_often_somebody_was_detected_is_said(tmp_path):
    results = results_of_penalty() | {"method": "weak_blur", "minimax": {}}
    results["methods"]["weak_blur"] = results["methods"].pop("penalty")
    results["methods"]["weak_blur"]["action"]["frames_with_boxes"] = 0.932
    html, markdown, _ = report_of(make_workdir(tmp_path, results))
    for page in (html, markdown):
        assert "weak_blur: somebody was detected in 93.2 % of the frames" in page


def test_scores_of_a_decoder_and_of_its_attackers_have_charts_of_their_own(tmp_path):
    workdir = make_workdir(tmp_path)
    folder = workdir / "metrics" / "evaluate_reconstruction"
    write_lines(
        folder / "penalty.jsonl", [{"step": 5, "decoder/loss": 0.1, "validation/score": 22}]
    )
    attacker = [{"step": 5, "privacy/loss": 0.5, "validation/score": 0.6}]
    write_lines(folder / "penalty-resnet18-seed0.jsonl", attacker)
    write_report(workdir)
    charts = {path.name: path.read_text() for path in (workdir / "report").glob("curve_*.svg")}
    labels = {
        name: {run for run in ("penalty", "penalty-resnet18-seed0") if f">{run}</text>" in svg}
        for name, svg in charts.items()
    }
    assert next(v for n, v in labels.items() if "psnr" in n) == {"penalty"}
    assert next(v for n, v in labels.items() if "cmap" in n) == {"penalty-resnet18-seed0"}


def test_a_penalty_added_as_a_number_is_said(tmp_path):
    config = config_of_penalty() | {"compat": {"constant_penalty": True}}
    html, _, report = report_of(make_workdir(tmp_path, config=config))
    assert "compat.constant_penalty" in report["minimax"]["verdict"]
    assert "B changed nothing" in html


@pytest.mark.parametrize(
    ("reconstructed", "white_box", "worst"),
    [
        (0.6, None, ("direct", "resnet18-seed1", 0.65, 0.5)),
        # (.71 - .35) / (.95 - .35) = .6 and (.74 - .35) / .6 = .65.
        (0.71, None, ("reconstruction", "resnet18-seed0", 0.71, 0.6)),
        (0.71, 0.74, ("white_box", "resnet18-seed0", 0.74, 0.65)),
        # Of two equals the simpler attack counts.
        (0.65, 0.65, ("direct", "resnet18-seed1", 0.65, 0.5)),
    ],
)
def test_the_worst_case_is_the_largest_cmap_between_the_same_levels(
    reconstructed, white_box, worst
):
    methods = add_stronger_attacks(results_of_penalty())["methods"]
    methods["penalty"]["reconstruction"] = reconstruction(reconstructed, white_box)
    add_leakage(methods)
    found = methods["penalty"]["worst_case"]
    assert (found["attack"], found["attacker"]) == worst[:2]
    assert (found["cmap"], found["normalised_leakage"]) == pytest.approx(worst[2:])
    assert methods["penalty"]["privacy"]["normalised_leakage"] == pytest.approx(0.5)
    assert methods["raw"]["worst_case"]["normalised_leakage"] == pytest.approx(1.0)


def test_without_raw_the_worst_case_has_no_leakage():
    methods = add_stronger_attacks(results_of_penalty())["methods"]
    del methods["raw"], methods["penalty"]["privacy"]["normalised_leakage"]
    add_leakage(methods)
    assert methods["penalty"]["worst_case"]["normalised_leakage"] is None
    assert "normalised_leakage" not in methods["penalty"]["privacy"]
