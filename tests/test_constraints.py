"""constraints.txt: a version for each dependency, inside the range that pyproject.toml asks for."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
DIRECT = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
LINES = [
    line
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
]
PINNED = dict(line.split("==") for line in LINES)


def test_each_line_pins_one_package_once():
    assert [canonicalize_name(name) for name in PINNED] == list(PINNED) == sorted(PINNED)
    assert len(PINNED) == len(LINES) > len(DIRECT)


@pytest.mark.parametrize("requirement", list(map(Requirement, DIRECT)), ids=str)
def test_each_direct_dependency_is_pinned_within_its_range(requirement):
    version = PINNED.get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in constraints.txt; make it anew"
    assert requirement.specifier.contains(version)
