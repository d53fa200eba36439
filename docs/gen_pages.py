"""Hooks of mkdocs: pages that are made from the code, and links to files outside docs/."""

import posixpath
import re
import sys
from pathlib import Path

import gen_reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

# Pages of the site that lie elsewhere in the repository, beside what they describe.
ELSEWHERE = {
    "anon_jax/pretrained/small/MODEL_CARD.md": "model_card.md",
    "input_pipeline/datasets/moving_figures/DATA_CARD.md": "data_card.md",
    "README.md": "index.md",
}
_CONFIGS = """\
# Fields of a config

Read from `configs/base.py`, which has the published recipe as far as it does not depend on the
data. The other files of `configs/` change some fields, and so does `--config.FIELD=VALUE` on the
command line. A field that does not exist, or a value of another type, is refused before anything
starts. `""` is an empty text, `()` an empty list.

"""
_COMMANDS = """\
# Command lines

What `--help` prints. Exit codes of runs are in [what a run survives](../reliability.md); those of
the command that anonymizes are in [its page](../anonymize.md#it-fails-closed). `--config` takes a
file, or the name of one that comes with the package.

"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not files of docs/."""
    sys.path.insert(0, str(ROOT))  # this checkout's code is what is described
    made = {
        "reference/configs.md": _CONFIGS + gen_reference.config_tables(),
        "reference/commands.md": _COMMANDS + gen_reference.command_lines(),
    }
    for path, page in ELSEWHERE.items():
        if page != "index.md":  # docs/ has one of its own
            made[page] = relinked((ROOT / path).read_text(encoding="utf-8"), path)
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links that leave docs/ to the pages that such files have in the site."""
    del config, files
    made = page.file.generated_by is not None
    return markdown if made else relinked(markdown, f"docs/{page.file.src_uri}")


def relinked(markdown: str, path: str) -> str:
    """A page's text with links from `path`, of the repository, made links within the site."""

    def point(match: re.Match[str]) -> str:
        target, anchor = match["target"], match["anchor"] or ""
        there = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if there in ELSEWHERE:
            place = ELSEWHERE[there]
        elif there.startswith("docs/"):
            place = there.removeprefix("docs/")
        else:
            return match[0]
        here = posixpath.dirname(path.removeprefix("docs/")) if path.startswith("docs/") else ""
        return f"]({posixpath.relpath(place, here or '.')}{anchor})"

    return re.sub(r"\]\((?P<target>[^)#:\s]+\.md)(?P<anchor>#[^)\s]*)?\)", point, markdown)
