"""How the pages of a report are rendered, with all that is printed escaped, and written."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from anon_jax.report import drawing

# What means something in Markdown; "_" is left out, for names full of "\_" are hard to read.
_MARKDOWN_SPECIAL = re.compile(r"([\\`*\[\]|~])")


def render_html(template: str, page: Mapping[str, Any]) -> bytes:
    """Escapes whatever the template prints, but for charts, whose SVG matplotlib has escaped."""
    environment = _environment(autoescape=True)
    environment.filters["inline"] = lambda chart: Markup(drawing.inline_svg(chart))
    environment.filters["data_uri"] = lambda png: (
        "data:image/png;base64," + base64.b64encode(png).decode()
    )
    return environment.get_template(template).render(page).encode()


def render_markdown(template: str, page: Mapping[str, Any]) -> bytes:
    """Escapes whatever the template prints, as Jinja2's autoescape does for HTML."""
    environment = _environment(finalize=_escape_markdown)
    environment.filters["verbatim"] = Markup
    return environment.get_template(template).render(page).encode()


def _environment(**escaping: Any) -> Environment:
    return Environment(
        loader=PackageLoader("anon_jax.report", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **escaping,
    )


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes all files or, where one of them cannot be written, none; each of them whole."""
    folder.mkdir(parents=True, exist_ok=True)
    partials: dict[str, Path] = {}
    try:
        for name, data in files.items():
            partial = folder / f"{name}.partial"
            partial.write_bytes(data)
            partials[name] = partial
        for name, partial in partials.items():
            partial.replace(folder / name)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def _escape_markdown(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    text = " ".join(str(value).split())  # a newline would end a table's row
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN_SPECIAL.sub(r"\\\1", text)
