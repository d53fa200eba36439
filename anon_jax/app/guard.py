"""Keeps the page between this browser and this machine: no other hosts, no traces in its cache."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

_HOSTS = frozenset(("127.0.0.1", "localhost", "::1"))
# Gradio's page has scripts and styles in itself and compiles some; none may come from elsewhere.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Guard:
    """ASGI middleware.

    Requests that ask for another host (a foreign name that points to this machine), or that the
    pages of other hosts send, get 403; answers forbid the browser to load anything from other
    hosts, and to keep videos.
    """

    def __init__(self, app: Application):
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] != "http":  # the start and the end of the server
            await self._app(scope, receive, send)
            return
        if not _is_ours(dict(scope["headers"])):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"Only from this machine."})
            return
        is_file = "/file=" in scope["path"]

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [*_HEADERS, (b"cache-control", b"no-store")] if is_file else _HEADERS
                names = {name for name, _ in added}
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in names]
                message["headers"] = [*kept, *added]
            await send(message)

        await self._app(scope, receive, send_guarded)


def _is_ours(headers: dict[bytes, bytes]) -> bool:
    """Whether the page asks for itself, or a person typed its address."""
    if _name(b"//" + headers.get(b"host", b"")) not in _HOSTS:
        return False
    origin = headers.get(b"origin")
    if origin is not None and _name(origin) not in _HOSTS:
        return False
    return headers.get(b"sec-fetch-site", b"none") != b"cross-site"


def _name(url: bytes) -> str | None:
    try:
        return urlsplit(url.decode("latin-1")).hostname
    except ValueError:
        return None
