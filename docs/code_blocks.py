"""Finds the code blocks of Markdown pages: what a reader would type."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

_FENCE = re.compile(r"^ *```+ *(?P<language>\w*)(?P<info>.*)$")
_LIST_ITEM = re.compile(r"^\s*([-*+]|\d+\.) ")


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
      page: the file that it stands in.
      line: of its first line of code, counted from 1.
      language: "bash", "python", "text", ...; "" of a fence without one, "indented" without fence.
      title: the file that a reader is to make of it; "" where there is none.
      text: the code.
    """

    page: Path
    line: int
    language: str
    title: str
    text: str


def code_blocks(page: Path) -> Iterator[Block]:
    """The code blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number, in_list = 0, False
    while number < len(lines):
        line = lines[number]
        opened = _FENCE.match(line)
        if opened:
            end = number + 1
            while end < len(lines) and not lines[end].strip().startswith("```"):
                end += 1
            title = re.search(r'title="([^"]*)"', opened["info"])
            text = "\n".join(lines[number + 1 : end]) + "\n"
            yield Block(page, number + 2, opened["language"], title[1] if title else "", text)
            number = end + 1
            continue
        if line.strip() and not line.startswith(" "):
            in_list = bool(_LIST_ITEM.match(line))
        if (
            line.startswith("    ")
            and not in_list
            and (number == 0 or not lines[number - 1].strip())
        ):
            end = number
            while end < len(lines) and lines[end].startswith("    "):
                end += 1
            text = "\n".join(inner[4:] for inner in lines[number:end]) + "\n"
            yield Block(page, number + 1, "indented", "", text)
            number = end
            continue
        number += 1
