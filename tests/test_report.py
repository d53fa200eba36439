"""Tests the report on a small workdir made by hand: its numbers, its sentences and its escaping."""

import json
import math
import re
import struct
from html.parser import HTMLParser

import pytest
from report_samples import (
    add_metrics_and_samples,
    config_of_penalty,
    make_workdir,
    minimax_lines,
    results_of_penalty,
    write_lines,
)

from anon_jax.errors import WorkdirError
from anon_jax.report import write_report

EVIL = "<script>alert(1)</script> | `x` $a$\n[b](c)"


def report_of(workdir):
    """The report's two pages with plain spaces, and its numbers."""
    write_report(workdir)
    pages = [(workdir / "report" / name).read_text() for name in ("report.html", "report.md")]
    html, markdown = (page.replace("\u00a0", " ") for page in pages)
    return html, markdown, json.loads((workdir / "report" / "report.json").read_text())


class Elements(HTMLParser):
    """Collects the elements of a page with their attributes, and checks that they are nested."""

    VOID = ("meta", "img", "link")

    def __init__(self, page):
        super().__init__()
        self.found, self.open, self.ids = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def markdown_row(markdown, name):
    """The cells of the first table row of that name."""
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_tables_give_the_scores_beside_chance_and_the_drop_against_raw(tmp_path):
    html, markdown, report = report_of(make_workdir(tmp_path))
    # 0.96 - 0.80 = 0.16, and 0.80 / 0.96 = 0.8333.
    assert markdown_row(markdown, "penalty") == [
        *("penalty", "80.0 %", "16.0 points", "83.3 %", "12.5 %", "14.0 %", "test", "400 of 500")
    ]
    privacy_table = markdown[markdown.index("Privacy classifier:") :]
    assert markdown_row(privacy_table, "penalty") == [
        *("penalty", "65.0 %", "30.0 points", "35.0 %", "0.50", "0.700", "0.500", "0.600"),
        *("0.400", "0.510", "test", "600 of 700"),
    ]
    assert markdown_row(markdown, "glasses") == [
        "glasses",
        "30.0",
        "100.0",
        "70.0",
        "0.710",
        "0.710",
    ]
    for cell in ("16.0 points", "83.3 %", "30.0 points", "600 of 700", "0.510"):
        assert f">{cell}</td>" in html
    assert [row["method"] for row in report["methods"]] == ["raw", "penalty"]
    assert report["methods"][1]["action"]["drop"] == pytest.approx(0.16)
    assert report["methods"][1]["privacy"]["normalised_leakage"] == 0.5
    assert report["attributes"][0]["methods"]["raw"] == {"ap": 1.0, "auroc": 0.71, "f1": 0.5}


def test_summary_says_what_is_kept_what_leaks_and_where_it_was_measured(tmp_path):
    html, markdown, report = report_of(make_workdir(tmp_path))
    summary = report["summary"].replace("\u00a0", " ")
    for part in (
        'Method "penalty" with the budget B = 0.3 (penalty mode hinge) on ucf101 and vispr, '
        "seed 7.",
        "Top-1 of 80.0 %, against 96.0 % on raw clips: it keeps 83 % of the raw accuracy "
        "(chance 12.5 %, always the commonest 14.0 %)",
        "cMAP of 65.0 %, against 95.0 % on raw images, where chance is 35.0 %",
        "(cMAP - chance) / (raw cMAP - chance), is 0.50.",
        "All figures are of the test split (600 videos for the action); the epoch was chosen on "
        "the validation split.",
    ):
        assert part in summary
    assert summary in markdown
    assert "optimistic" not in summary
    assert "tattoo" in html
    assert "tattoo" in markdown


def test_other_datasets_of_the_attackers_are_named(tmp_path):
    names = {"videos": "ucf101", "images": "vispr"}
    attacked = names | {"attack_videos": "hmdb51", "attack_images": "vispr"}
    results = results_of_penalty() | {"datasets": attacked}
    html, markdown, report = report_of(make_workdir(tmp_path / "other", results))
    assert "on ucf101 and vispr, attacked on hmdb51 and vispr, seed 7." in report["summary"]
    assert report["settings"]["datasets"] == attacked
    assert markdown_row(markdown, "Attacked videos") == ["Attacked videos", "hmdb51"]
    assert ">hmdb51</td>" in html
    same = names | {"attack_videos": "ucf101", "attack_images": "vispr"}
    results = results_of_penalty() | {"datasets": same}
    assert "attacked" not in report_of(make_workdir(tmp_path / "same", results))[2]["summary"]


def test_validation_used_as_the_test_is_said(tmp_path):
    _, markdown, report = report_of(make_workdir(tmp_path, results_of_penalty("validation")))
    assert "All figures are of the validation split" in report["summary"]
    assert "there was no test split, so the same records also chose the epoch" in markdown
    assert "optimistic" in markdown


def test_one_split_for_each_measurement_is_said(tmp_path):
    results = results_of_penalty()
    for method in results["methods"].values():
        method["privacy"]["split"] = "validation"
    summary = report_of(make_workdir(tmp_path, results))[2]["summary"]
    assert "The action figures are of the test split (600 videos)" in summary
    assert "The privacy figures are of the validation split; there was no test split" in summary


def test_a_run_of_raw_alone(tmp_path):
    results = results_of_penalty() | {"method": "raw", "minimax": {}}
    del results["methods"]["penalty"]
    html, markdown, report = report_of(make_workdir(tmp_path, results))
    assert "nothing is anonymized" in report["summary"]
    assert report["minimax"] is None
    assert "Penalty and budget" not in html + markdown
    assert "Normalised leakage</dt>" not in html  # raw beside raw says nothing


def test_raw_not_evaluated_leaves_what_compares_with_it_open(tmp_path):
    results = results_of_penalty()
    del results["methods"]["raw"]
    results["methods"]["penalty"]["privacy"]["normalised_leakage"] = None
    _, markdown, report = report_of(make_workdir(tmp_path, results))
    assert markdown_row(markdown, "penalty")[2:4] == ["\u2014", "\u2014"]
    assert report["methods"][0]["action"]["drop"] is None
    assert "raw clips were not measured" in report["summary"]
    assert "raw images were not measured" in report["summary"]


@pytest.mark.parametrize("undefined", [None, math.nan])
def test_undefined_leakage_is_a_dash_with_a_reason(tmp_path, undefined):
    results = results_of_penalty()
    results["methods"]["penalty"]["privacy"]["normalised_leakage"] = undefined
    _, markdown, report = report_of(make_workdir(tmp_path, results))
    privacy_table = markdown[markdown.index("Privacy classifier:") :]
    assert markdown_row(privacy_table, "penalty")[4] == "\u2014"
    assert report["methods"][1]["privacy"]["normalised_leakage"] is None
    assert "the normalised leakage is not defined" in report["summary"]


def test_what_did_not_run_is_a_dash(tmp_path):
    results = results_of_penalty()
    del results["methods"]["penalty"]["action"]
    del results["methods"]["raw"]["privacy"]
    del results["methods"]["penalty"]["privacy"]["f1_tuned"]
    _, markdown, report = report_of(make_workdir(tmp_path, results))
    assert set(markdown_row(markdown, "penalty")[1:]) == {"\u2014"}
    privacy_table = markdown[markdown.index("Privacy classifier:") :]
    assert set(markdown_row(privacy_table, "raw")[1:]) == {"\u2014"}
    assert markdown_row(privacy_table, "penalty")[7] == "\u2014"
    assert "How well the action is recognised was not measured." in report["summary"]


def test_a_run_that_evaluated_nothing(tmp_path):
    html, markdown, report = report_of(make_workdir(tmp_path, {"method": "penalty"}, {}))
    assert "Nothing was evaluated" in html
    assert "Nothing was evaluated" in markdown
    assert report["methods"] == []


@pytest.mark.parametrize("missing", ["results.json", "config.json"])
def test_a_folder_that_is_no_workdir_is_refused(tmp_path, missing):
    (make_workdir(tmp_path) / missing).unlink()
    with pytest.raises(WorkdirError, match=missing):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("active", "last_tenth", "sentence"),
    [
        ([0.0, 0.0], 0.0, "never active, for the distance stayed within B = 0.3: B had no effect"),
        ([1.0, 1.0], 1.0, "always active, for the distance stayed above B = 0.3"),
        # Two lines of ten steps each: half of the steps.
        ([1.0, 0.0], 0.0, "active in 50.0 % of the steps, but never in the last tenth"),
        ([0.0, 1.0], 1.0, "active in 50.0 % of the steps, and always in the last tenth"),
        ([0.5, 0.5], 0.5, "active in 50.0 % of the steps: B = 0.3 took part in the training"),
    ],
)
def test_whether_the_hinge_acted_is_said(tmp_path, active, last_tenth, sentence):
    results = results_of_penalty()
    results["minimax"]["penalty/active"] = last_tenth
    workdir = make_workdir(tmp_path, results)
    write_lines(workdir / "metrics" / "minimax.jsonl", minimax_lines(active))
    html, markdown, report = report_of(workdir)
    assert sentence in html
    assert sentence in markdown
    assert report["minimax"]["active_all_steps"] == pytest.approx(sum(active) / 2)
    assert "| Distance reached (RMS of pixels in \\[0, 1\\]) | 0.123 |" in markdown


def test_lines_that_cover_more_steps_weigh_more(tmp_path):
    lines = [{"step": 30, "penalty/active": 1.0}, {"step": 40, "penalty/active": 0.0}]
    workdir = make_workdir(tmp_path)
    write_lines(workdir / "metrics" / "minimax.jsonl", lines)
    # 30 steps at 1 and 10 at 0.
    assert report_of(workdir)[2]["minimax"]["active_all_steps"] == 0.75


@pytest.mark.parametrize(
    ("distance", "multiplier", "sentence"),
    [
        (0.105, 2.0, "held the distance at the budget"),
        (0.05, 0.0, "not used up: the distance was 0.050 in the last tenth of the steps, below"),
        (0.2, 100.0, "the multiplier was at its bound"),
    ],
)
def test_whether_the_multiplier_held_the_budget_is_said(tmp_path, distance, multiplier, sentence):
    results = results_of_penalty()
    results["minimax"] = {
        "penalty/distance": distance,
        "penalty/active": 0.5,
        "penalty/multiplier": multiplier,
    }
    workdir = make_workdir(tmp_path, results, config_of_penalty("lagrangian", 0.1))
    html, markdown, _ = report_of(workdir)
    assert sentence in html
    assert f"| {multiplier:.3f} |" in markdown


def test_a_penalty_that_changes_nothing_is_said(tmp_path):
    config = config_of_penalty()
    config["minimax"]["weights"]["penalty"] = 0.0
    assert "weight was 0" in report_of(make_workdir(tmp_path / "a", config=config))[0]
    results = results_of_penalty() | {"method": "spact"}
    assert "no penalty" in report_of(make_workdir(tmp_path / "b", results))[0]


def test_html_is_one_page_without_scripts_or_outside_files(tmp_path):
    html, _, _ = report_of(add_metrics_and_samples(make_workdir(tmp_path)))
    page = Elements(html)
    assert "script" not in {tag for tag, _ in page.found}
    pictures = [attributes["src"] for tag, attributes in page.found if tag == "img"]
    assert len(pictures) == 2
    assert all(picture.startswith("data:image/png;base64,") for picture in pictures)
    for _, attributes in page.found:
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            assert not re.match(r"(?i)\s*(https?:|//|file:)", attributes.get(name) or "")
    assert "url(http" not in html
    assert "@import" not in html
    # The bars, one chart of f_A's loss, L_T, distance and activity; loss and score of the action.
    assert sum(tag == "svg" for tag, _ in page.found) == 7
    assert len(page.ids) == len(set(page.ids))
    assert "budget B = 0.3" in html


def test_the_privacy_loss_is_read_against_chance(tmp_path):
    workdir = make_workdir(tmp_path)
    write_lines(workdir / "metrics" / "minimax.jsonl", [{"step": 10, "privacy/loss": 2.0}])
    # One positive among 2 x 8 - 1 candidates: ln 15.
    assert "chance = 2.71" in report_of(workdir)[0]


def test_curves_show_the_methods_of_an_evaluation_together(tmp_path):
    workdir = add_metrics_and_samples(make_workdir(tmp_path))
    write_report(workdir)
    charts = {path.name: path.read_text() for path in (workdir / "report").glob("curve_*.svg")}
    score = next(svg for name, svg in charts.items() if "validation" in name)
    assert {"raw", "penalty", "chance = 12.5 %"} <= set(re.findall(r">([^<>]+)</text>", score))


def test_metrics_of_an_unknown_phase_are_drawn_too(tmp_path):
    workdir = make_workdir(tmp_path)
    write_lines(workdir / "metrics" / "attack" / "penalty.jsonl", [{"step": 5, "attack/psnr": 20}])
    html, markdown, _ = report_of(workdir)
    assert "<h3>attack</h3>" in html
    assert "attack/psnr:" in markdown


def test_pictures_are_the_last_one_and_earlier_ones(tmp_path):
    steps = (100, 200, 300, 400, 500, 600, 700)
    workdir = add_metrics_and_samples(make_workdir(tmp_path), steps)
    (workdir / "samples" / "notes.png").write_bytes(b"not one of the run's pictures")
    html, markdown, _ = report_of(workdir)
    assert re.findall(r"Step (\d+)", html) == ["100", "300", "500", "700"]
    for target in re.findall(r"\]\(([^)]+)\)", markdown):
        data = (workdir / "report" / target).read_bytes()
        if target.endswith(".png"):
            assert struct.unpack(">II", data[16:24]) == (8, 4)  # width and height in PNG's header


def test_names_are_escaped(tmp_path):
    results = results_of_penalty() | {"method": EVIL, "datasets": {"videos": EVIL, "images": EVIL}}
    results["methods"][EVIL] = results["methods"].pop("penalty")
    for method in results["methods"].values():
        method["privacy"]["left_out"] = [EVIL]
        method["privacy"]["per_attribute"][EVIL] = method["privacy"]["per_attribute"].pop("skin")
    config = config_of_penalty() | {"data": {"videos": EVIL}}
    workdir = make_workdir(tmp_path, results, config)
    evil_phase = "<script>x"
    write_lines(workdir / "metrics" / f"{evil_phase}.jsonl", [{"step": 5, f"{EVIL}": 1.0}])
    html, markdown, report = report_of(workdir)
    assert "script" not in {tag for tag, _ in Elements(html).found}
    assert "&lt;script&gt;alert(1)" in html
    assert report["attributes"][1]["attribute"] == EVIL
    # Outside of the config's fenced block, which shows JSON as it is.
    prose = markdown[: markdown.index("```json")]
    assert "<script" not in prose
    assert "](c)" not in prose.replace("\\](c)", "")
    for line in prose.splitlines():
        if line.startswith("| &lt;script"):
            cells = re.sub(r"\\.", "", line).count("|") - 1
            assert cells in (6, 8, 12)  # the tables of attributes, actions and privacy
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\| \\`x\\` $a$ \\[b\\](c)" in prose


def test_the_same_inputs_give_the_same_files(tmp_path):
    workdir = add_metrics_and_samples(make_workdir(tmp_path))
    write_report(workdir)
    first = {path.name: path.read_bytes() for path in (workdir / "report").iterdir()}
    write_report(workdir)
    second = {path.name: path.read_bytes() for path in (workdir / "report").iterdir()}
    assert first == second
    assert not [name for name in first if name.endswith(".partial")]
