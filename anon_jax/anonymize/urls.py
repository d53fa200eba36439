"""Streams of the network: which URLs are taken, how FFmpeg opens them, what may be said of them."""

import re
from typing import Any

from input_pipeline.video import MAX_PIXELS

SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "srt")
# Their end and a lost connection look alike; HTTP says beforehand how much will come.
UNENDING = frozenset(SCHEMES) - {"http", "https"}
OPEN_SECONDS, SILENT_SECONDS = 15.0, 10.0  # until a URL has to be open, and between two packets
_PROTOCOLS = ",".join((*SCHEMES, "rtp", "tcp", "tls", "crypto"))


def is_url(source: str) -> bool:
    """Whether a source is a URL, not a file or a camera."""
    return "://" in source


def scheme(source: str) -> str:
    """The part of a URL before "://"."""
    return source.partition("://")[0]


def open_arguments() -> dict[str, Any]:
    """What `av.open` is told for a URL: it must not reach into the file system, or wait forever."""
    options = {
        "protocol_whitelist": _PROTOCOLS,
        "max_pixels": str(MAX_PIXELS),
        # A packet that UDP loses is a damaged frame; cameras without TCP are asked for UDP next.
        "rtsp_flags": "prefer_tcp",
    }
    return {"options": options, "timeout": (OPEN_SECONDS, SILENT_SECONDS)}


def shown(source: str) -> str:
    """A source as it may be printed and written down: of a URL without name, password and keys.

    What stands before the last "@" is hidden, and all values behind "=" (`?user=...&pwd=...`, which
    cameras take in the path, too). Files and numbers of cameras stay as they are.
    """
    name, colon, rest = source.partition(":/")
    if not colon or not (is_url(source) or name.lower() in SCHEMES):
        return source
    _, at, address = rest.rpartition("@")
    address = re.sub(r"=[^&;/]*", "=***", address.removeprefix("/"))
    slash = "/" * rest.startswith("/")
    return f"{name}:/{slash}{'***@' if at else ''}{address}"
