"""The wheel and the source archive have what they need and nothing else; commands find configs."""

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from absl import flags

from anon_jax.config_files import find_config

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("anon_jax", "configs", "input_pipeline")
BESIDE = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md"}
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
BUILD = "import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"


def copy_of_the_sources(folder):
    """What is built from: copied, for a build leaves files of its own beside its sources.

    Returns the names of the packages' files: every one, but for what running them leaves.
    """
    names = set()
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(REPOSITORY).as_posix()
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(path.read_bytes())
                names.add(name)
    for name in (*BESIDE, "pyproject.toml"):
        (folder / name).write_bytes((REPOSITORY / name).read_bytes())
    # Junk that must not be packed.
    for name in ("anon_jax/__pycache__/main.pyc", "tests/test_x.py", "runs/demo/results.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return names


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Names of the packages' files, those in the source archive and in the wheel, entry points."""
    pytest.importorskip("setuptools", minversion="77", reason="older ones cannot read pyproject")
    sources = tmp_path_factory.mktemp("sources")
    output = tmp_path_factory.mktemp("dist")
    names = copy_of_the_sources(sources)
    for step in ("build_sdist", "build_wheel"):  # a process each, as build frontends have it
        command = [sys.executable, "-c", BUILD, step, str(output)]
        subprocess.run(command, cwd=sources, check=True, capture_output=True)
    with tarfile.open(next(output.glob("*.tar.gz"))) as archive:
        files = [member.name for member in archive.getmembers() if member.isfile()]
        in_archive = {name.partition("/")[2] for name in files}
    with zipfile.ZipFile(next(output.glob("*.whl"))) as archive:
        in_wheel = set(archive.namelist())
        entries = next(name for name in in_wheel if name.endswith("entry_points.txt"))
        return names, in_archive, in_wheel, archive.read(entries).decode()


def test_the_wheel_has_every_file_of_the_packages_and_no_other(built):
    names, _, in_wheel, _ = built
    packed = {name for name in in_wheel if ".dist-info/" not in name}
    assert packed == names
    needed = {"anon_jax/py.typed", "input_pipeline/py.typed", "configs/demo.py"}
    needed |= {"anon_jax/report/report.css", "anon_jax/pretrained/small/config.json"}
    assert needed <= packed


def test_the_source_archive_has_what_the_wheel_is_made_of_and_no_junk(built):
    names, in_archive, _, _ = built
    packed = {name for name in in_archive if not name.startswith("anon_jax.egg-info/")}
    assert packed == names | BESIDE | {"PKG-INFO", "pyproject.toml", "setup.cfg"}


def test_console_scripts_are_those_of_the_project_and_can_be_called_without_arguments(built):
    found = dict(re.findall(r"^(anon-jax\S*) = (\S+)$", built[-1], re.MULTILINE))
    assert found == PROJECT["scripts"]
    for target in found.values():
        module, name = target.split(":")
        file = (REPOSITORY / module.replace(".", "/")).with_suffix(".py")
        functions = [
            node
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.FunctionDef) and node.name == name
        ]
        assert len(functions) == 1, target
        assert len(functions[0].args.args) == len(functions[0].args.defaults), target


def imported(path):
    """Top-level names of the packages that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def test_the_packages_import_nothing_of_the_repository_that_is_not_installed():
    for name in PACKAGES:
        for path in (REPOSITORY / name).rglob("*.py"):
            assert not {"tests", "benchmarks", "colab", "docs"} & set(imported(path)), path


def test_python_versions_are_said_alike_everywhere():
    lowest, highest = re.match(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    versions = [f"3.{minor}" for minor in range(int(lowest), int(highest))]
    prefix = "Programming Language :: Python :: "
    named = [c.removeprefix(prefix) for c in PROJECT["classifiers"] if c.startswith(prefix)]
    assert named == versions == ["3.11", "3.12", "3.13"]


@pytest.mark.parametrize("argument", ["demo", "configs/demo.py", "demo.py"])
def test_configs_are_found_by_name_in_an_empty_folder(argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(find_config(argument)) == REPOSITORY / "configs" / "demo.py"


def test_a_config_file_of_the_users_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "configs" / "demo.py"
    own.parent.mkdir()
    own.write_text("")
    assert find_config("configs/demo.py") == "configs/demo.py"
    assert find_config(f"{own}:large") == f"{own}:large"


@pytest.mark.parametrize("argument", ["dmeo", "other/demo.py", "../configs/demo.py", ""])
def test_a_config_that_is_nowhere_ends_in_a_sentence_with_the_names(
    argument, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"no config file.*demo.*ucf101"):
        find_config(argument)


def test_the_command_takes_a_config_by_name_and_lists_the_names_where_it_is_unknown(
    tmp_path, monkeypatch
):
    from anon_jax import main

    monkeypatch.chdir(tmp_path)
    flag = flags.FLAGS["config"]
    assert flag.parser.parse("demo").data.videos == "moving_figures/videos"
    given = ["main", "--config=dmeo", f"--workdir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit, match=r"--config=dmeo: there is no config file dmeo.*demo"):
        main._parse(given)
