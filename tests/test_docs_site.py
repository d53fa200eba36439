"""The documentation site: pages that are read from the code, and the build without a warning."""

import importlib.util
import re
import subprocess
import sys

import pytest
from doc_commands import PROJECT, ROOT, gen_reference

from anon_jax import settings
from configs import base


def test_each_field_of_a_config_has_its_default_and_what_it_means():
    table = gen_reference.config_tables()
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*) \|$", table, re.M))
    fields = settings.flatten(base.get_config().to_dict())
    assert set(rows) == set(fields)
    for field, default in fields.items():
        value, _, meaning = rows[field].partition(" | ")
        assert value.strip("`").strip('"') == str(default)
        assert meaning.strip(), f"{field} has no comment in configs/base.py"
    assert rows["data.resolution"] == "`224` | side of the square frames that the networks see"
    # A rate of a phase: the comment of the function that all optimizers come from.
    assert rows["minimax.action_optimizer.learning_rate"] == "`0.0001` | the peak"


def test_comments_stand_above_and_behind_and_in_called_functions():
    source = """
def get_config():
    config = ConfigDict()
    config.a = 1  # one
    # Two lines
    # above.
    config.b = (1,
                2)  # and behind
    config.part = _part()
    config.part.x = 5
    return config

def _part():
    part = ConfigDict()  # a part
    part.x = 1  # of it
    return part
"""
    assert gen_reference.field_comments(source) == {
        "": "",
        "a": "one",
        "b": "Two lines above. and behind",
        "part": "a part",
        "part.x": "of it",
    }


def test_the_command_lines_are_those_of_all_console_scripts():
    places = {
        place.partition(":")[0].removesuffix(".__main__") for place in PROJECT["scripts"].values()
    }
    assert places <= set(gen_reference.COMMANDS)
    pages = gen_reference.command_lines()
    assert pages.count("\n## python -m ") + 1 == len(gen_reference.COMMANDS)
    sections = dict(re.findall(r"## python -m (\S+)\n(.*?)(?=\n## |\Z)", pages, re.S))
    for module, flag in (
        ("anon_jax.main", "--config:"),
        ("anon_jax.main", "--workdir:"),
        ("anon_jax.sweep", "--methods:"),
        ("anon_jax.anonymize", "--keep-audio"),
        ("input_pipeline.build", "--attributes"),
    ):
        assert flag in sections[module]
    assert str(ROOT) not in pages


@pytest.mark.skipif(
    not (importlib.util.find_spec("mkdocs") and importlib.util.find_spec("mkdocstrings")),
    reason="mkdocs is not installed: pip install '.[docs]'",
)
def test_the_site_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in ("index", "tutorial", "privacy_and_law", "model_card", "reference/configs"):
        text = (tmp_path / f"{page}.html").read_text()
        # Nothing is loaded from elsewhere: links are, of course, followed only when clicked.
        assert not re.search(r'(src|rel="stylesheet" href)="(https?:)?//', text)
    assert 'href="model_card.html"' in (tmp_path / "privacy_and_law.html").read_text()
    assert 'id="anon_jax.losses.nt_xent"' in (tmp_path / "reference/api_training.html").read_text()
