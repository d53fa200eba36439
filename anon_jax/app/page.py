"""The page itself, laid out with Gradio."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Before Gradio is imported: what it is made of reports to others unless it is told not to.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["OTEL_SDK_DISABLED"] = "true"  # of FastAPI

import gradio as gr
from starlette.middleware import Middleware

from anon_jax.app import HOST
from anon_jax.app.desk import Desk, View
from anon_jax.app.films import Limits
from anon_jax.app.guard import Guard

_CAUTION = (
    "**No method is a guarantee.** A trained anonymizer hides less on other cameras, people and "
    "scenes than it was trained on; a detector misses people, and whom it misses stays as they "
    "were. Gait, places and clothes are hidden by none. Look at all of the result before you give "
    "it to anybody."
)
_FONT = ("system-ui", "sans-serif")  # the browser's own: no font is loaded
_CSS = """
.said { margin: 4px 0; overflow-wrap: anywhere; }
.said.error { color: #b00020; font-weight: 600; }
.said.warning { border-left: 4px solid #c77700; padding: 4px 8px; background: #c7770020; }
.dark .said.error { color: #ff8a8a; }
.bar { height: 8px; border-radius: 4px; background: #8884; overflow: hidden; }
.bar div { height: 100%; background: #2563eb; }
#status .html-container, #notes .html-container { padding: 0; }
"""
_NOTHING = '<p class="said">Drop a video to begin.</p>'
_PLAY = """() => document.querySelectorAll("#raw video, #result video").forEach(
  video => { video.currentTime = 0; video.play(); })"""

_EVENTS: dict[str, Any] = {
    "show_progress": "hidden",  # the page shows its own
    "concurrency_limit": None,  # the desk has its own queue
    "api_visibility": "private",
}


def open_page(
    desk: Desk, choices: Mapping[str, str], limits: Limits, port: int
) -> tuple[gr.Blocks, str]:
    """Serves the page on this machine alone; returns it, to be closed, and its address.

    Args:
      choices: name of a method -> what the page calls it; the first one is chosen.
    """
    page = build_page(desk, choices, limits)
    _, address, _ = page.launch(
        server_name=HOST,
        server_port=port,
        share=False,
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        footer_links=[],
        run_history=False,  # or the browser would keep names and results
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        num_workers=0,
        max_file_size=limits.bytes,
        theme=gr.themes.Default(font=_FONT, font_mono=("ui-monospace", "monospace")),
        css=_CSS,
        app_kwargs={"middleware": [Middleware(Guard)]},
    )
    return page, address


def build_page(desk: Desk, choices: Mapping[str, str], limits: Limits) -> gr.Blocks:
    """The page's parts and what happens between them; arguments as in `open_page`."""
    with gr.Blocks(title="Anonymize a video", analytics_enabled=False) as page:
        gr.Markdown(f"# Anonymize a video\n\n{_CAUTION}")
        with gr.Row():
            dropped = gr.File(label=_label(limits), elem_id="drop", height=180)
            with gr.Column():
                labels = [(label, name) for name, label in choices.items()]
                method = gr.Radio(labels, value=labels[0][1], label="Method", elem_id="method")
                with gr.Row():
                    start = gr.Button("Anonymize", variant="primary", elem_id="start")
                    cancel = gr.Button("Cancel", variant="stop", elem_id="cancel")
        status = gr.HTML(_NOTHING, elem_id="status", padding=False)
        with gr.Row():
            raw = _video("Raw", "raw")
            result = _video("Anonymized", "result")
        notes = gr.HTML(elem_id="notes", padding=False)
        with gr.Row():
            play = gr.Button("Play both from the start", elem_id="play")
            download = gr.DownloadButton("Download the result", elem_id="download")
        views = [status, raw, result, notes, start, cancel, play, download]
        for button in (start, cancel, play, download):
            button.interactive = False

        def received(upload: str | None, request: gr.Request) -> Iterator[list[Any]]:
            for updates in _updates(desk.receive(_key(request), Path(upload) if upload else None)):
                yield [*updates, None]  # the box is free again for another video

        def started(name: str, request: gr.Request) -> Iterator[list[Any]]:
            yield from _updates(desk.start(_key(request), name))

        def cancelled(request: gr.Request) -> None:
            desk.cancel(_key(request))

        def closed(request: gr.Request) -> None:
            desk.end(_key(request))

        dropped.upload(received, dropped, [*views, dropped], **_EVENTS)
        start.click(started, method, views, **_EVENTS)
        cancel.click(cancelled, queue=False, **_EVENTS)
        play.click(None, js=_PLAY)
        page.unload(closed)
    return page


def _video(label: str, name: str) -> gr.Video:
    return gr.Video(
        label=label, elem_id=name, interactive=False, buttons=[], height=320, min_width=300
    )


def _updates(views: Iterator[View]) -> Iterator[list[Any]]:
    """What changes on the page from view to view: a video that is set anew would begin anew."""
    before: list[Any] = []
    for view in views:
        now = _values(view)
        same = [a == b for a, b in zip(now, before, strict=True)] if before else [False] * len(now)
        yield [gr.skip() if equal else new for new, equal in zip(now, same, strict=True)]
        before = now


def _values(view: View) -> list[Any]:
    raw, result = (str(path) if path else None for path in (view.raw, view.result))
    return [
        view.status,
        raw,
        result,
        view.notes,
        gr.update(interactive=view.ready and not view.busy),
        gr.update(interactive=view.busy),
        gr.update(interactive=raw is not None and result is not None),
        gr.update(value=result, interactive=result is not None),
    ]


def _key(request: gr.Request) -> str:
    """What names the open page."""
    if not request.session_hash:
        raise gr.Error("The page was opened in an unknown way: open it again.")
    return request.session_hash


def _label(limits: Limits) -> str:
    return f"Drop a video: up to {limits.megabytes:g} MB and {limits.seconds:g} s"
