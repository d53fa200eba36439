"""The pages of a comparison: pictures, published figures, escaping, and what cannot be used."""

import json
import re
import warnings

import cv2
import pytest
from comparison_samples import DATASETS, add_picture, compare, make_run, make_sweep, scores
from matplotlib.figure import Figure
from test_report import EVIL, Elements, markdown_row

from anon_jax.errors import WorkdirError
from anon_jax.report import comparison_charts
from anon_jax.report.__main__ import main
from anon_jax.report.compare import write_comparison


def test_attributes_beside_raw_and_what_was_left_out(tmp_path):
    html, markdown, report = compare(make_sweep(tmp_path / "cells"), tmp_path / "out")
    assert report["protocols"][0]["left_out_attributes"] == ["tattoo"]
    assert "hold one class only: tattoo." in html
    assert "hold one class only: tattoo." in markdown
    table = markdown[markdown.index("| AP in % |") :]
    # cMAP + .05, of .5 and .6.
    assert markdown_row(table, "penalty, B = 0.3")[1] == "60.0 ± 63.5"
    assert "glasses (chance 30.0)" in table
    assert len(list((tmp_path / "out").glob("attribute_1_*.svg"))) == 2
    assert "glasses (prevalence 30.0 %)" in html


def test_pictures_of_the_same_frames_stand_below_one_raw_strip(tmp_path):
    folders = make_sweep(tmp_path / "cells")
    add_picture(folders[2], 100, 50, 60)
    add_picture(folders[2], 200, 50, 70)
    add_picture(folders[4], 200, 50, 80)
    (folders[5] / "samples").mkdir()
    (folders[5] / "samples" / "000001.png").write_bytes(b"no picture")
    html, markdown, _ = compare(folders, tmp_path / "out")
    captions = re.findall(r"<figcaption>(.*step \d+|raw.*)</figcaption>", html)
    assert captions == ["raw, seed 0", "penalty, B = 0.1, step 200", "penalty, B = 0.3, step 200"]
    for target in re.findall(r"\]\(([^)]+)\)", markdown):
        assert (tmp_path / "out" / target).exists()


def test_pictures_of_the_evaluations_come_before_those_of_the_training(tmp_path):
    folders = make_sweep(tmp_path / "cells")
    add_picture(folders[0], "frames-raw", 50, 50)
    add_picture(folders[2], 200, 50, 70)
    add_picture(folders[2], "frames-penalty", 50, 80)
    add_picture(folders[4], "frames-penalty", 50, 80)
    add_picture(folders[4], "reconstruction-penalty", 50, 80, 60)
    html = compare(folders, tmp_path / "out")[0]
    captions = re.findall(r"<figcaption>(.*(?:penalty|raw).*)</figcaption>", html)
    one, two = (f"penalty, B = {budget}" for budget in (0.1, 0.3))
    assert captions == ["raw", one, two, f"{two}, drawn back by a decoder"]
    shades = [
        cv2.imread(str(tmp_path / "out" / f"strip_1_{name}.png"))[0, 0, 0]
        for name in ("1_raw", "02", "03", "03_drawn")
    ]
    assert shades == [50, 80, 80, 60]


def test_a_damaged_picture_is_named_and_another_seed_shown(tmp_path):
    folders = make_sweep(tmp_path / "cells")
    (folders[2] / "samples").mkdir()
    (folders[2] / "samples" / "000001.png").write_bytes(b"no picture")
    add_picture(folders[3], 7, 50, 60)
    html = compare(folders, tmp_path / "out")[0]
    assert "000001.png is no picture." in html
    assert "penalty, B = 0.1, step 7" in html


def test_published_figures_stand_beside_runs_on_the_same_datasets(tmp_path):
    names = dict.fromkeys(DATASETS, "vphmdb/split1")
    folder = make_run(tmp_path / "x", "raw", 0, scores(0.8, 0.7), datasets=names)
    html, markdown, _ = compare([folder], tmp_path / "out")
    table = markdown[markdown.index("Published figures: VPHMDB") :]
    # 81.56 - 69.24 = 12.32; 69.24 / 81.56 = 84.9 %; 76.62 - 70.56 = 6.06;
    # (70.56 - 58.4) / (76.62 - 58.4) = .667.
    assert markdown_row(table, "penalty, B = 0.7") == [
        *("penalty, B = 0.7", "published", "69.2", "12.3", "84.9", "70.6", "6.1", "0.67", "0.516")
    ]
    assert markdown_row(table, "raw")[1] == "this report"
    assert "chance cMAP is 58.4 %" in html
    assert "another machine and from other backbones" in html
    assert "SPAct |" not in table  # was not published on VPHMDB
    # Its test records are not those of the table, whose chance is 58.4 %.
    assert "Chance cMAP of our test records is 40.0 %, of theirs 58.4 %" in html


@pytest.mark.parametrize(("videos", "chance", "sentences"), [(3783, 0.2485, 0), (100, 0.3, 2)])
def test_a_part_of_the_published_test_set_is_told_from_all_of_it(
    tmp_path, videos, chance, sentences
):
    names = {"videos": "ucf101/split1", "attack_videos": "ucf101/split1"}
    names |= dict.fromkeys(("images", "attack_images"), "vispr/vispr1")
    entry = scores(0.8, 0.7, chance_cmap=chance)
    entry["action"]["num_videos"] = videos
    changes = [("evaluate_privacy.source", "images")]
    folder = make_run(tmp_path / "x", "raw", 0, entry, datasets=names, changes=changes)
    html = compare([folder], tmp_path / "out")[0]
    assert html.count("these are not the same records") == sentences
    assert ("on 100 videos, theirs on 3,783" in html) == bool(sentences)


@pytest.mark.parametrize(
    ("datasets", "source", "titles"),
    [
        (DATASETS, "videos", []),
        (dict.fromkeys(DATASETS, "vphmdb_small"), "videos", []),
        (
            dict.fromkeys(DATASETS, "vphmdb/split1") | {"attack_videos": "vpucf/split1"},
            "videos",
            ["VPHMDB to VPUCF (novel actions and attributes)"],
        ),
        (
            {
                **{"videos": "ucf101/split1", "attack_videos": "hmdb51/split1"},
                **{"images": "vispr/vispr1", "attack_images": "vispr/vispr2"},
            },
            "images",
            ["UCF101 to HMDB51 (novel actions)", "VISPR1 to VISPR2 (novel attributes)"],
        ),
        (
            {
                **dict.fromkeys(("videos", "attack_videos"), "pa_hmdb51/hmdb51_rest"),
                **dict.fromkeys(("images", "attack_images"), "vispr/pa"),
                "tested_attributes": "pa_hmdb51/hmdb51_rest",
            },
            "images",
            ["PA-HMDB51"],
        ),
        # Attributes of photographs, where the published ones are of the videos.
        (
            {
                **dict.fromkeys(("videos", "attack_videos"), "pa_hmdb51/hmdb51_rest"),
                **dict.fromkeys(("images", "attack_images"), "vispr/pa"),
            },
            "images",
            ["PA-HMDB51"],
        ),
    ],
)
def test_which_published_tables_match(tmp_path, datasets, source, titles):
    changes = [("evaluate_privacy.source", source)]
    folder = make_run(
        tmp_path / "x", "raw", 0, scores(0.8, 0.7), datasets=datasets, changes=changes
    )
    html, _, report = compare([folder], tmp_path / "out")
    found = report["protocols"][0]["published"]
    assert [table["title"] for table in found] == titles
    assert ("Published figures" in html) == bool(titles)
    if "tested_attributes" in datasets:
        assert "the attributes tested on pa_hmdb51/hmdb51_rest" in html
        # 69.9 of 70.2 is chance: a leakage is not defined, the figures stand.
        assert [row["cmap"] for row in found[0]["rows"][:2]] == pytest.approx([0.702, 0.612])
        assert found[0]["rows"][0]["leakage"] is None
    elif titles == ["PA-HMDB51"]:
        assert "Attributes were tested on other records than ours" in html
        assert all(row["cmap"] is None for row in found[0]["rows"])
    if len(titles) == 2:
        assert (found[0]["privacy"], found[1]["action"]) == (False, False)


def test_names_are_escaped_and_nothing_is_loaded(tmp_path):
    entry = scores(0.8, 0.7, left_out=[EVIL])
    entry["privacy"]["per_attribute"][EVIL] = entry["privacy"]["per_attribute"].pop("skin")
    folder = tmp_path / "<script>x & [y](z)"
    make_run(folder, EVIL, 0, entry, datasets=dict.fromkeys(DATASETS, EVIL))
    raw = make_run(tmp_path / "raw", "raw", 0, scores(0.9, 0.8, left_out=[EVIL]))
    html, markdown, _ = compare([folder, raw, tmp_path / "<script>no"], tmp_path / "out")
    page = Elements(html)
    assert "script" not in {tag for tag, _ in page.found}
    assert len(page.ids) == len(set(page.ids))
    for _, attributes in page.found:
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            assert not re.match(r"(?i)\s*(https?:|//|file:)", attributes.get(name) or "")
    assert "url(http" not in html
    assert "<script" not in markdown
    assert "](z)" not in markdown.replace("\\](z)", "")
    assert "](c)" not in markdown.replace("\\](c)", "")
    for name in (path.name for path in (tmp_path / "out").iterdir()):
        assert re.fullmatch(r"[a-z0-9_.]+", name)


def broken_folders(root):
    """Folders that are no finished runs -> what is said of them."""
    (root / "empty").mkdir(parents=True)
    (root / "file").write_text("")
    for name in ("unfinished", "no_seed", "nothing", "list"):
        make_run(root / name, "raw", 0, scores(0.9, 0.8))
    (root / "unfinished" / "results.json").unlink()
    (root / "no_seed" / "results.json").write_text('{"methods": {}, "seed": null}')
    (root / "nothing" / "results.json").write_text('{"methods": {"raw": 5}, "seed": 0}')
    (root / "list" / "results.json").write_text("[]")
    make_run(root / "broken", "raw", 0, scores(0.9, 0.8))
    (root / "broken" / "results.json").write_text('{"methods": {},\n "seed" 1}')
    phases = [("phases", ["reconstruct", "pretrain_privacy"])]
    make_run(root / "pretrained", "raw", 0, scores(0.9, 0.8), changes=phases)
    return {
        "absent": "There is no such folder.",
        "empty": "It is no workdir of anon_jax.main: there is no config.json.",
        "file": "It is no folder.",
        "unfinished": "It is not finished: there is no results.json.",
        "no_seed": "seed None, which is no integer",
        "nothing": "It evaluated nothing",
        "list": "it holds no JSON object",
        "broken": "results.json is broken: Expecting ':' delimiter (line 2, column 9).",
        "pretrained": "ends before the report (phases: reconstruct, pretrain_privacy)",
    }


def test_what_cannot_be_used_is_left_out_by_name(tmp_path, capsys):
    reasons = broken_folders(tmp_path / "bad")
    good = make_run(tmp_path / "good", "raw", 0, scores(0.9, 0.8))
    bad = [str(tmp_path / "bad" / name) for name in reasons]
    main([*bad, str(good), str(good), f"--output={tmp_path / 'out'}"])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = {item["folder"]: item["reason"] for item in report["left_out"]}
    assert list(found) == [*bad, str(good)]
    for name, reason in reasons.items():
        assert reason in found[str(tmp_path / "bad" / name)]
    assert "given twice" in found[str(good)]
    captured = capsys.readouterr()
    assert captured.err.count("left out: ") == len(bad) + 1
    assert captured.out == f"Report: {tmp_path / 'out' / 'report.html'}\n"
    html = (tmp_path / "out" / "report.html").read_text()
    assert "It is not finished: there is no results.json." in html
    assert "10 folders left out" in html


@pytest.mark.parametrize(
    "content",
    [
        *('{"step": 1', "5\n", '{"loss": 1}\n', b"\xff", '{"step": 0, "penalty/active": 1}\n'),
        '{"step": 5, "penalty/active": null}\n',
    ],
)
def test_damaged_metrics_cost_one_figure_and_are_named(tmp_path, content):
    folders = make_sweep(tmp_path / "cells")
    path = folders[-1] / "metrics" / "minimax.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    html, _, report = compare(folders, tmp_path / "out")
    assert f"{path} cannot be read (" in html
    rows = {row["name"]: row["figures"] for row in report["protocols"][0]["rows"]}
    assert list(rows["penalty, B = 0.3"]["active"]["values"]) == ["0"]
    assert list(rows["penalty, B = 0.3"]["top1"]["values"]) == ["0", "1"]


def test_nothing_to_compare_writes_nothing(tmp_path):
    bad = [str(tmp_path / "bad" / name) for name in broken_folders(tmp_path / "bad")]
    with pytest.raises(SystemExit, match="no finished run to compare") as stopped:
        main([*bad, f"--output={tmp_path / 'out'}"])
    assert "absent: There is no such folder." in str(stopped.value)
    assert not (tmp_path / "out").exists()


def test_a_comparison_is_written_whole_or_not_at_all(tmp_path):
    folders = make_sweep(tmp_path / "cells")
    output = tmp_path / "out"
    write_comparison(folders, output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    write_comparison(folders, output)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    # A folder where the last file is prepared: nothing before it may have been replaced.
    (output / "report.html.partial").mkdir()
    with pytest.raises(OSError, match=r"report\.html"):
        write_comparison(folders[:2], output)
    (output / "report.html.partial").rmdir()
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    with pytest.raises(WorkdirError, match="is a file"):
        write_comparison(folders, output / "report.md")


def test_settings_that_read_alike_when_cut_are_written_out(tmp_path):
    field = "minimax.penalty.a_field_with_a_long_name"
    others = [(f"minimax.penalty.another_long_name_{n}", 3) for n in range(3)]
    others.append(("minimax.penalty.path", "/a/folder-of-checkpoints" * 4))
    cells = [
        make_run(
            tmp_path / str(value), "penalty", 0, scores(0.5, 0.6), changes=[*others, (field, value)]
        )
        for value in (100012345, 200012345)
    ]
    cells.append(make_run(tmp_path / "plain", "penalty", 0, scores(0.4, 0.5)))
    raw = make_run(tmp_path / "raw", "raw", 0, scores(0.9, 0.9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # where names leave no room for the axes
        compare([raw, *cells], tmp_path / "out")
    tradeoff, bars = (
        (tmp_path / "out" / name).read_text()
        for name in ("tradeoff_1.svg", "attribute_1_01_glasses.svg")
    )
    for value in (100012345, 200012345):
        for drawn in (tradeoff, bars):
            assert drawn.count(f"{value},<") == 1


@pytest.mark.parametrize(("letters", "columns"), [(4, 3), (20, 2), (40, 1)])
def test_the_legend_of_the_trade_off_stays_inside_the_figure(letters, columns):
    figure = Figure(figsize=(5.2, 4.4))
    axes = figure.add_subplot()
    for name in range(12):
        axes.plot([0, 1], [0, 1], label=f"{name:02d}" + "x" * (letters - 2))
    comparison_charts.add_legend(figure)
    figure.draw_without_rendering()  # places the texts
    (legend,) = figure.legends
    places = [text.get_window_extent().x0 for text in legend.get_texts()]
    assert len(set(map(round, places))) == columns
    assert legend.get_window_extent().width <= figure.bbox.width
    assert figure.get_figheight() >= 4.4
