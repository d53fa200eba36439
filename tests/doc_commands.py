"""The commands of the documentation, and checks of them that do not run anything.

A command is parsed by the parser that it would meet: argparse's of the module, or absl's flags with
the config file and its overrides. What a page leaves open is filled in: `[--flag]` is taken as
given, of `a|b` the first, a `$VARIABLE` stands for 1, and where `...` stands for more, what is
required may be missing.
"""

import argparse
import contextlib
import dataclasses
import functools
import importlib.util
import inspect
import io
import re
import shlex
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from absl import flags
from ml_collections import config_flags

from anon_jax import settings, sweep
from anon_jax.config_files import find_config
from anon_jax.methods import METHODS
from configs import base
from input_pipeline.obfuscation import OBFUSCATIONS

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import gen_reference  # noqa: E402  (docs/ is no package)
from code_blocks import Block, code_blocks  # noqa: E402

PAGES = sorted(
    [
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "anon_jax").rglob("*.md"),
        *(ROOT / "input_pipeline").rglob("*.md"),
    ]
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = ("anon_jax", "benchmarks", "configs", "input_pipeline", "tests")
# Programs of others: that they are spelled right is all that is asked, for nothing here can know
# their options, or it would change the machine.
OTHERS = {
    *("cd", "export", "ls", "mkdir", "set", "source", "wait", "echo", "exec"),
    *("git", "pip", "pre-commit", "pytest", "mkdocs", "ruff", "mypy", "docker", "ssh", "curl"),
    *("gcloud", "sbatch", "srun", "scontrol", "module", "jupyter"),
}
_INSTALLERS = {"build", "pip", "uv", "venv"}
_KEYWORDS = {"do", "then", "else", "time", "nohup", "exec"}
_LEFT_OPEN = {"...", "…"}
_COMMAND = re.compile(r"^\s*(python3?|pip|anon-jax-\w+) ")


@dataclasses.dataclass(frozen=True)
class Command:
    """One command of a block, as a list of words without the placeholders' marks."""

    block: Block
    words: tuple[str, ...]

    def __str__(self) -> str:
        """Where it is, for the name of a test."""
        place = f"{self.block.page.relative_to(ROOT)}:{self.block.line}"
        return f"{place} {' '.join(self.words)[:60]}"


class WrongCommandError(Exception):
    """What is wrong with a command."""


def commands() -> list[Command]:
    """All commands of all pages: of bash blocks, and of indented and plain ones that have some."""
    return [
        Command(block, words)
        for page in PAGES
        for block in code_blocks(page)
        if block.language == "bash"
        or (block.language in ("indented", "text", "") and _COMMAND.match(block.text))
        for words in _split(block)
    ]


def _split(block: Block) -> Iterator[tuple[str, ...]]:
    """The words of each command: lines that go on are joined, lists are taken apart."""
    joined = re.sub(r"\\\n\s*", " ", block.text)
    for line in joined.splitlines():
        if block.language != "bash" and not _COMMAND.match(line):
            continue
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), ";"]:
            if word in ("&&", "||", "|", "&", ";") or word.endswith(";"):
                words += [word[:-1]] if len(word) > 1 and word.endswith(";") else []
                if plain := _plain(words):
                    yield plain
                words = []
            else:
                words.append(word)


def _plain(words: list[str]) -> tuple[str, ...]:
    """Without variables set before the command, keywords of the shell, and placeholders' marks."""
    while words and (re.match(r"\w+=", words[0]) or words[0] in _KEYWORDS):
        words = words[1:]
    if words[:1] in (["for"], ["done"], ["fi"], ["if"]):
        return ()
    kept = []
    for word in words:
        bare = word.strip("[]") if word.startswith("[-") or word.endswith("]") else word
        bare = word if re.search(r"[\w.]\[[\w,]+\]$", word) else bare  # an extra: .[test]
        if bare in _LEFT_OPEN or bare.startswith((">", "2>", "<")):
            continue
        bare = bare.removesuffix("...")
        name, equals, value = bare.partition("=")
        value = "1" if "$" in value else value.split("|")[0]
        kept.append(f"{name}={value}" if equals else name)
    return tuple(kept)


def check(command: Command) -> None:
    """Raises WrongCommandError where the command cannot work."""
    program, *rest = command.words
    for position, word in enumerate(command.words):  # a launcher before it: srun ... python ...
        if word in ("python", "python3"):
            program, rest = word, list(command.words[position + 1 :])
            break
    if program in ("python", "python3"):
        _check_python(command, rest)
    elif program in PROJECT["scripts"]:
        _check_module(command, PROJECT["scripts"][program].partition(":")[0], rest)
    elif program == "pip":
        _check_pip(rest)
    elif program not in OTHERS:
        raise WrongCommandError(
            f"'{program}' is no program of this project, and none of doc_commands.OTHERS"
        )


def _check_python(command: Command, rest: list[str]) -> None:
    if rest[:1] == ["-m"]:
        module = rest[1]
        if module.partition(".")[0] in OURS:
            _check_module(command, module, rest[2:])
        elif module not in _INSTALLERS and importlib.util.find_spec(module) is None:
            raise WrongCommandError(f"there is no module {module}")
    elif rest[:1] != ["-c"] and not (ROOT / rest[0]).is_file() and rest[0] not in _titles(command):
        raise WrongCommandError(f"{rest[0]} is neither in the repository nor made by the page")


def _titles(command: Command) -> dict[str, str]:
    """{file: text} of the files that a reader of the page makes."""
    return {b.title: b.text for b in code_blocks(command.block.page) if b.title}


def _check_pip(rest: list[str]) -> None:
    """The extras of this project that are asked for exist, and the files that are named."""
    known = PROJECT["optional-dependencies"]
    for word in rest:
        found = re.fullmatch(r"(\.|anon_jax)\[([\w,]+)\]", word)
        unknown = [extra for extra in found[2].split(",") if extra not in known] if found else []
        if unknown:
            raise WrongCommandError(f"no extra {unknown}; known are: {', '.join(known)}")
        if word.endswith(".txt") and not (ROOT / word).is_file():
            raise WrongCommandError(f"there is no file {word}")


def _check_module(command: Command, module: str, rest: list[str]) -> None:
    name = module.removesuffix(".__main__")
    if importlib.util.find_spec(name) is None:
        raise WrongCommandError(f"there is no module {module}")
    found = gen_reference.command_module(name)
    if "flags" in vars(found):
        _check_flags(command, name, rest)
    else:
        _check_arguments(found, rest, _LEFT_OPEN & set(command.block.text.split()))


class _Parsed(BaseException):
    """Ends a command when its arguments have been parsed."""


def _check_arguments(module: object, rest: list[str], more: set[str]) -> None:
    """Gives the arguments to the parser of argparse, and stops the command behind it."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_end(parser: argparse.ArgumentParser, *given: object) -> None:
        parse(parser, *given)
        raise _Parsed

    main = module.main  # type: ignore[attr-defined]
    said = io.StringIO()
    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", parse_and_end),
        mock.patch.object(sys, "argv", ["command", *rest]),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            main(rest) if inspect.signature(main).parameters else main()
        except _Parsed:
            return
        except SystemExit as end:
            missing = "the following arguments are required" in said.getvalue()
            if end.code not in (0, None) and not (more and missing):
                raise WrongCommandError(said.getvalue()) from end


@functools.cache
def _flag_names(module: str) -> frozenset[str]:
    return frozenset(re.findall(r"^  --(?:\[no\])?(\w+):", gen_reference.help_text(module), re.M))


def _check_flags(command: Command, module: str, rest: list[str]) -> None:
    """The flags exist; the config file can be read, and its overrides are what it may have."""
    given = dict(word.removeprefix("--").partition("=")[::2] for word in rest)
    for name in given:
        if not name.startswith("config.") and name not in _flag_names(module) | {"help"}:
            raise WrongCommandError(f"{module} has no flag --{name}")
    if "config" not in given:
        return
    own_rows = mock.patch.dict(METHODS), mock.patch.dict(OBFUSCATIONS)
    with own_rows[0], own_rows[1], _config_file(command, given["config"]) as path:
        config = _read_config(path, given)
        settings.check_config(config)
        if module == "anon_jax.sweep":
            lists = {key: given.get(key, "").split(",") for key in ("methods", "budgets", "seeds")}
            budgets = [text for text in lists["budgets"] if text]
            sweep.plan(
                lists["methods"], budgets, lists["seeds"] if "seeds" in given else ["0"], ROOT
            )


def _read_config(path: Path, given: dict[str, str]) -> object:
    fields = settings.flatten(base.get_config().to_dict())
    overrides = []
    for name, value in given.items():
        field = name.removeprefix("config.")
        if field == name or field.isupper():  # --config.FIELD=VALUE stands for any
            continue
        if field not in fields:
            raise WrongCommandError(f"there is no field config.{field}")
        if value not in _LEFT_OPEN:
            overrides.append(f"--{name}={value}")
    values = flags.FlagValues()
    line = ["command", f"--config={path}", *overrides]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=line)
    values(line)
    return values.config


@contextlib.contextmanager
def _config_file(command: Command, name: str) -> Iterator[Path]:
    """The file of the repository, or one that the page has as a block; FILE.py stands for any."""
    titles = _titles(command)
    if name in titles:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_text(titles[name])
            yield path
        return
    try:
        path = ROOT / find_config(name.replace("FILE", "base"))
    except ValueError as error:
        raise WrongCommandError(str(error)) from error
    yield path
