"""Keeps the page between this browser and this machine: no other hosts, no traces in its cache."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from anon_jax.local_requests import is_ours

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

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
        pairs = (
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        )
        if not is_ours(dict(pairs)):
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
