"""Every command in the documentation is one that works: all are parsed here.

They are run, on small inputs, by `test_docs_run.py` where ANON_JAX_RUN_DOCS=1 is set: it
takes long. The tutorial is run to the letter by `docs/run_tutorial.py`, its short commands and the
code of the how-tos by `test_docs_code.py`.
"""

import re
from pathlib import Path

import pytest
from doc_commands import (
    PAGES,
    ROOT,
    Block,
    Command,
    WrongCommandError,
    check,
    code_blocks,
    commands,
)

from anon_jax import settings
from configs import base

COMMANDS = commands()
FIELDS = settings.flatten(base.get_config().to_dict())


def made(text: str, language: str = "bash") -> list[Command]:
    """The commands of a block that no page has."""
    from doc_commands import _split

    block = Block(ROOT / "README.md", 1, language, "", text)
    return [Command(block, words) for words in _split(block)]


def test_the_pages_have_commands():
    """A pattern that finds nothing would make all else here pass."""
    programs = {command.words[:3] for command in COMMANDS}
    assert ("python", "-m", "anon_jax.main") in programs
    assert ("python", "-m", "input_pipeline.build") in programs
    assert {command.block.page.name for command in COMMANDS} >= {"README.md", "tutorial.md"}


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_each_command_is_one_that_its_program_takes(command):
    check(command)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("python -m anon_jax.nothing --config=configs/demo.py", "no module anon_jax.nothing"),
        ("python -m anon_jax.main --config=configs/demo.py --work=x", "no flag --work"),
        ("python -m anon_jax.main --config=configs/none.py", "no config file configs/none.py"),
        ("python -m anon_jax.main --config=configs/demo.py --config.data.video=x", "no field"),
        ("python -m input_pipeline.build x --data_dir=y --sources=z", "--sources"),
        ("python -m input_pipeline.detect x --data_dir=y --detector=z", "invalid choice: 'z'"),
        ("anon-jax-anonymize x.mp4 --outputs=y.mp4", "--outputs"),
        ("pip install '.[engine]'", "no extra"),
        ("python nowhere.py", "nowhere.py"),
        ("anonymise x.mp4", "no program of this project"),
    ],
)
def test_wrong_commands_are_found(text, message):
    (command,) = made(text)
    with pytest.raises(WrongCommandError, match=re.escape(message)):
        check(command)


def test_wrong_values_of_a_config_are_found():
    (command,) = made("python -m anon_jax.main --config=configs/demo.py --config.data.resolution=x")
    with pytest.raises(Exception, match="resolution"):
        check(command)
    (command,) = made("python -m anon_jax.sweep --config=configs/demo.py --methods=raw,none")
    with pytest.raises(Exception, match="none"):
        check(command)


def test_lines_are_joined_and_lists_taken_apart():
    text = """
        A=1 python -m x --a='b c' \\
            --d && pip install .   # why
        for i in 1 2; do
          python -m y --n=$i [--opt=p|q] ... &
        done
    """
    assert [command.words for command in made(text)] == [
        ("python", "-m", "x", "--a=b c", "--d"),
        ("pip", "install", "."),
        ("python", "-m", "y", "--n=1", "--opt=p"),
    ]


def test_indented_blocks_are_found_and_list_items_are_none(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Text\n\n    pip install .\n\n- item\n\n    more of it\n\n```bash\nls\n```\n")
    blocks = [(block.language, block.line, block.text) for block in code_blocks(page)]
    assert blocks == [("indented", 3, "pip install .\n"), ("bash", 10, "ls\n")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_fields_and_files_that_a_page_names_are_there(page):
    text = page.read_text(encoding="utf-8")
    fields = re.findall(r"(?<![\w.])config\.((?:[a-z]\w*\.)*[a-z]\w*)", text)
    known = {name for field in FIELDS for name in _beginnings(field)} | {"json", "to_dict"}
    methods = {"get_config", "update", "lock"}
    assert [name for name in fields if name not in known and name not in methods] == []
    files = re.findall(
        r"`((?:anon_jax|benchmarks|configs|docs|input_pipeline|tests)/[\w/]+\.\w+)`", text
    )
    assert [n for n in files if "NAME" not in n and not (ROOT / n).is_file()] == []


def _beginnings(field: str) -> list[str]:
    parts = field.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_compile(page: Path):
    for block in code_blocks(page):
        if block.language == "python":
            compile(block.text, f"{page}:{block.line}", "exec")
