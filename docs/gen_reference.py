"""Text of the reference pages that is read from the code: fields of a config, command lines."""

import ast
import importlib
import io
import os
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

# Every command of a user, by its module.
COMMANDS = (
    "anon_jax.main",
    "anon_jax.sweep",
    "anon_jax.report",
    "anon_jax.anonymize",
    "anon_jax.app",
    "anon_jax.export",
    "anon_jax.convert",
    "input_pipeline.build",
    "input_pipeline.show",
    "input_pipeline.detect",
    "input_pipeline.datasets.moving_figures.boxes",
)


def command_lines() -> str:
    """A section of Markdown for each command: what its --help prints."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    scripts = {
        place.partition(":")[0].removesuffix(".__main__"): name
        for name, place in project["scripts"].items()
    }
    sections = []
    for module in COMMANDS:
        also = f"\n`{scripts[module]}` is the same command.\n" if module in scripts else ""
        sections.append(
            f"## python -m {module}\n{also}\n```text\n{help_text(module).strip()}\n```\n"
        )
    return "\n".join(sections)


def help_text(module: str) -> str:
    """What `python -m MODULE --help` prints, 100 columns wide, without paths of this machine."""
    found = command_module(module)
    if hasattr(found, "flags"):
        return _absl_help(module)
    parser = found._parser()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        return parser.format_help()
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


def _absl_help(module: str) -> str:
    """What absl prints, with the flags of all modules of this project and no others."""
    # In a process of its own: flags are global, and those of two commands have the same names.
    command = [sys.executable, "-m", module, "--helpfull"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    intro, _, sections = found.stdout.partition("\nflags:\n")
    kept = [
        section.partition(":\n")[2]
        for section in re.split(r"\n(?=\S)", sections)
        if section.startswith((str(ROOT / "anon_jax"), str(ROOT / "benchmarks"), "anon_jax."))
    ]
    return f"{intro}\nflags:\n" + "\n".join(text.rstrip() for text in kept)


def command_module(module: str) -> Any:
    """What `python -m MODULE` runs: the module, or `__main__` of a package."""
    found = importlib.import_module(module)
    return importlib.import_module(f"{module}.__main__") if hasattr(found, "__path__") else found


def config_tables() -> str:
    """A table of Markdown for each section of a config: field, default, and its comment."""
    from configs import base

    comments = field_comments((ROOT / "configs" / "base.py").read_text(encoding="utf-8"))
    sections: dict[str, list[str]] = {}
    defaults = _flatten(base.get_config().to_dict())
    for field in sorted(defaults, key=list(comments).index):
        default = defaults[field]
        section = field.partition(".")[0] if "." in field else ""
        value = f'"{default}"' if isinstance(default, str) else str(default)
        row = f"| `{field}` | `{value}` | {_cell(comments[field])} |"
        sections.setdefault(section, []).append(row)
    return "\n".join(
        "\n".join(
            [
                f"## {section or 'The run'}\n",
                *([f"{_cell(comments[section])}\n"] if comments.get(section) else []),
                "| field | default | meaning |\n|---|---|---|",
                *rows,
                "",
            ]
        )
        for section, rows in sections.items()
    )


def field_comments(source: str) -> dict[str, str]:
    """{"data.num_frames": "frames of a clip", ...} from the comments of configs/base.py.

    A field's comment is what stands above its assignment and behind it. Fields of a function that
    is called for a section (`config.data = _data()`) have the section's name before theirs.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    notes = {token.start[0]: token for token in tokens if token.type == tokenize.COMMENT}
    functions = {
        node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)
    }

    def read(function: str, prefix: str) -> dict[str, str]:
        found = {}
        for node in functions[function].body:
            if not isinstance(node, ast.Assign):
                continue
            path = ast.unparse(node.targets[0]).partition(".")[2]
            field = ".".join(part for part in (prefix, path) if part)
            text = _comment(notes, node.lineno, node.end_lineno or node.lineno)
            found[field] = text or found.get(field, "")  # a section changes what it was made with
            called = node.value.func if isinstance(node.value, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in functions:
                found |= read(called.id, field)
        return found

    return read("get_config", "")


def _comment(notes: dict[int, tokenize.TokenInfo], first: int, last: int) -> str:
    """The comment lines right above, and the comment at the end, of the lines of a statement."""
    above: list[str] = []
    line = first - 1
    while line in notes and not notes[line].line[: notes[line].start[1]].strip():
        above.insert(0, notes[line].string)
        line -= 1
    behind = [notes[last].string] if last in notes else []
    return " ".join(text.lstrip("# ") for text in above + behind)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        inner = _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else None
        flat |= {f"{prefix}{name}": value} if inner is None else inner
    return flat
