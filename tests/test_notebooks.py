"""The notebooks agree with the scripts they are made from, show figures, and name what exists."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest

from anon_jax.config_files import find_config
from anon_jax.methods import METHODS
from configs import base

COLAB = Path(__file__).parents[1] / "colab"
NAMES = sorted(path.stem for path in COLAB.glob("*.py"))


def cells_of_script(name):
    """(kind, source) of each cell of a script in the percent format."""
    parts = re.split(r"^# %%(.*)\n", (COLAB / f"{name}.py").read_text(), flags=re.MULTILINE)
    assert not parts[0].strip(), "text before the first cell"
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        source = text.strip("\n")
        if "[markdown]" in title:
            lines = [re.sub(r"^# ?", "", line) for line in source.split("\n")]
            yield "markdown", "\n".join(lines)
        else:
            yield "code", source


def notebook(name):
    return json.loads((COLAB / f"{name}.ipynb").read_text())


def outputs(name):
    for cell in notebook(name)["cells"]:
        yield from cell.get("outputs", ())


def code(name):
    return "\n".join(source for kind, source in cells_of_script(name) if kind == "code")


def test_there_are_notebooks_and_none_without_a_script():
    assert {"quickstart", "anonymize_your_video", "evaluate_and_attack", "train_on_tpu"} <= set(
        NAMES
    )
    assert sorted(path.stem for path in COLAB.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_the_cells_of_its_script(name):
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook(name)["cells"]]
    assert cells == list(cells_of_script(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_was_run_from_top_to_bottom_and_shows_figures(name):
    counts = [
        cell["execution_count"] for cell in notebook(name)["cells"] if cell["cell_type"] == "code"
    ]
    assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs(name) if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs(name))
    # What a repository's page shows of a notebook; larger ones are not drawn by some.
    assert (COLAB / f"{name}.ipynb").stat().st_size < 1e6


@pytest.mark.parametrize("name", NAMES)
def test_outputs_name_no_folder_of_the_machine_they_were_made_on(name):
    shown = json.dumps([o.get("text", o.get("data", {}).get("text/plain")) for o in outputs(name)])
    # /content is where Colab runs.
    assert not re.findall(r"/(?:tmp|home|root|opt|work|Users)/[\w.]+", shown)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_a_small_mode_and_installs_the_package_where_it_is_missing(name):
    first = next(source for kind, source in cells_of_script(name) if kind == "code")
    assert 'os.environ.get("ANON_JAX_SMALL")' in first
    assert 'find_spec("anon_jax") is None' in first
    assert "pip install" in first


@pytest.mark.parametrize("name", NAMES)
def test_commands_of_a_notebook_name_what_exists(name):
    text = code(name)
    ast.parse(text)
    modules = set(re.findall(r"-m ((?:anon_jax|input_pipeline)[\w.]*)", text))
    assert modules
    assert all(importlib.util.find_spec(module) for module in modules), modules
    for line in re.findall(r"^CONFIG = .*$", text, re.MULTILINE):
        for config in re.findall(r'"([a-z]\w+)"', line):
            find_config(config)
    fields = base.get_config()
    for field in re.findall(r"--config\.([\w.]+)=", text):
        node = fields
        for part in field.split("."):
            assert part in node, f"config.{field}"
            node = node[part]
    for listed in re.findall(r"--methods=([\w,]+)", text):
        assert set(listed.split(",")) <= set(METHODS)
