"""Tells requests of a browser on this machine from those that other hosts' pages send."""

from collections.abc import Mapping
from urllib.parse import urlsplit

HOST = "127.0.0.1"  # what the project's servers listen on
_HOSTS = frozenset((HOST, "localhost", "::1"))


def is_ours(headers: Mapping[str, str]) -> bool:
    """Whether the page asks for itself, or a person typed its address.

    A foreign name that points to this machine is refused, and so is what a page of another host
    sends. `headers`: by their names in lower case.
    """
    if _name(f"//{headers.get('host', '')}") not in _HOSTS:
        return False
    origin = headers.get("origin")
    if origin is not None and _name(origin) not in _HOSTS:
        return False
    return headers.get("sec-fetch-site", "none") != "cross-site"


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
