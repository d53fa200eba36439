"""The workflows install extras that exist, run files that exist, and cover each Python version."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
VERSIONS = ["3.11", "3.12", "3.13"]
FILES = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
# What a runner has before anything is installed.
PRESENT = {"pip", "python", "mkdir", "cp", "cd", "du", "test"}
# Programs that come with a distribution of another name, or with an extra of this one.
BRINGS = {
    "ruff": {"ruff"},
    "check-wheel-contents": {"check-wheel-contents"},
    "pip-audit": {"pip-audit"},
    "uv": {"uv"},
    "[dev]": {"mypy", "ruff", "pytest"},
    "[test]": {"pytest"},
    "[notebooks]": {"pytest"},
    "[docs]": {"mkdocs"},
}


def jobs():
    for path in FILES:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield pytest.param(job, id=f"{path.stem}-{name}")


def commands(job):
    """Each command line of a job's steps, as words."""
    for step in job["steps"]:
        for line in step.get("run", "").replace("\\\n", " ").splitlines():
            if line.strip():
                yield shlex.split(line)


def installed(words):
    """Requirements of a `pip install`: extras of the project as "[name]", others as they are."""
    for word in words:
        if own := re.fullmatch(r"\.(?:\[([\w,]+)\])?", word):
            yield from (f"[{extra}]" for extra in (own[1] or "").split(",") if extra)
        elif not word.startswith("-"):
            yield word


def test_there_are_workflows_for_changes_and_for_each_week():
    # YAML reads the key `on` as true.
    triggers = {path.stem: yaml.safe_load(path.read_text())[True] for path in FILES}
    assert {"push", "pull_request"} <= set(triggers["checks"])
    assert triggers["weekly"]["schedule"][0]["cron"].split()[-1] == "1"
    names = {parameter.id for parameter in jobs()}
    expected = {"lint", "types", "tests", "notebooks", "docs", "package"}
    assert {f"checks-{name}" for name in expected} <= names
    assert {"weekly-newest", "weekly-pinned"} <= names


@pytest.mark.parametrize("job", list(jobs()))
def test_a_job_is_bounded_and_its_actions_have_a_version(job):
    assert 0 < job["timeout-minutes"] <= 60
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])


@pytest.mark.parametrize("job", list(jobs()))
def test_a_job_runs_only_what_it_has_installed_and_files_that_exist(job):
    available = set(PRESENT)
    for words in commands(job):
        program = re.sub(r"^(\$RUNNER_TEMP/)?\w+/bin/", "", words[0])  # of an environment made here
        assert program in available, words
        if words[:2] == ["pip", "install"]:
            for requirement in installed(words[2:]):
                available |= BRINGS.get(requirement, set())
                if requirement.startswith("["):
                    assert requirement[1:-1] in PROJECT["optional-dependencies"], words
        named = [word for word in words if re.fullmatch(r"\.?[\w/]+\.(py|txt)", word)]
        assert all((REPOSITORY / file).is_file() for file in named), words


@pytest.mark.parametrize("job", [j for j in jobs() if "matrix" in str(j.values[0])])
def test_matrices_have_each_python_version(job):
    matrix = job["strategy"]["matrix"]
    assert job["strategy"]["fail-fast"] is False
    if "python-version" in matrix:
        assert matrix["python-version"] == VERSIONS


def test_constraints_are_those_that_the_repository_has():
    pinned = [words for path in jobs() for words in commands(path.values[0]) if "-c" in words]
    files = {words[words.index("-c") + 1] for words in pinned}
    assert files == {"constraints.txt"}
    assert (REPOSITORY / "constraints.txt").is_file()


def test_issue_forms_have_what_the_service_asks_for():
    forms = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    names = {path.stem for path in forms}
    assert names == {"bug", "question", "feature", "config"}
    for path in forms:
        form = yaml.safe_load(path.read_text())
        if path.stem == "config":
            continue
        assert {"name", "description", "body"} <= set(form)
        ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert len(ids) == len(set(ids)) > 0
        for part in form["body"]:
            asked = "value" if part["type"] == "markdown" else "label"
            assert part["attributes"][asked].strip()


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert "2504.14301" in citation["preferred-citation"]["url"]
    assert f"## [{PROJECT['version']}]" in (REPOSITORY / "CHANGELOG.md").read_text()
