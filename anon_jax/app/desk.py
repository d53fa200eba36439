"""What happens on the page: a session's video, its job, and the views of them, without Gradio."""

import dataclasses
import html
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from anon_jax.anonymize.methods import Method
from anon_jax.app import storage, work
from anon_jax.app.films import Advance, Film, Limits, anonymize, make_copy, take_film
from anon_jax.app.work import Task, Worker
from input_pipeline.errors import DataError

_POLL = 0.3  # seconds between two looks at a job
_PATIENCE = 60.0  # seconds for a job to end once it was cancelled, e.g. while JAX compiles
_COPY, _OUTPUT = "copy.mp4", "anonymized.mp4"
_AGAIN = "There is no video here any more: drop it again."


@dataclasses.dataclass(frozen=True)
class View:
    """What a person sees.

    Attributes:
      status: HTML.
      raw, result: videos that a browser plays, inside the session's folder.
      notes: HTML about the result: its facts and warnings.
      busy: whether a job of this session waits or runs.
      ready: whether there is a video to anonymize.
    """

    status: str = ""
    raw: Path | None = None
    result: Path | None = None
    notes: str = ""
    busy: bool = False
    ready: bool = False


@dataclasses.dataclass
class Session:
    """One open page.

    Attributes:
      folder: of its files.
      film: what was dropped there.
      task: its last job.
      view: the last one.
      jobs: how often the film was anonymized.
    """

    folder: Path
    film: Film | None = None
    task: Task | None = None
    view: View = dataclasses.field(default_factory=View)
    jobs: int = 0


class Desk:
    """Takes videos and jobs of all sessions.

    Args:
      root: where the sessions' folders are made.
      methods: by the names that `start` is given.
    """

    def __init__(self, root: Path, methods: Mapping[str, Method], limits: Limits):
        self._root, self._methods, self._limits = root, methods, limits
        self._worker = Worker()
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def receive(self, key: str, upload: Path | None) -> Iterator[View]:
        """A video was dropped in the session `key`; what was there before is deleted."""
        if upload is None:
            return
        before = self._sessions.get(key)
        if before and before.task and before.task.active:
            yield View(_sentence("Cancelling the job before ..."), busy=True)
        self.end(key)
        with self._lock:
            session = self._sessions[key] = Session(storage.new_session(self._root))
        try:
            film = take_film(upload, session.folder, upload.name, self._limits)
        except (DataError, OSError) as error:
            yield _shown(session, View(_sentence(str(error), "error")))
            return
        session.film = film
        if film.playable:
            yield _shown(session, View(_sentence(_about(film)), film.path, ready=True))
            return
        yield from self._copy(session, film)

    def start(self, key: str, method: str) -> Iterator[View]:
        """Anonymizes the session's video, and deletes the result before it."""
        session = self._sessions.get(key)
        if session is None or session.film is None:
            yield View(_sentence(_AGAIN, "error"))
            return
        if session.task and session.task.active:
            return  # its own views go on
        film, before = session.film, session.view.result
        # Each in a folder of its own: under a known address a browser may show what was there.
        session.jobs += 1
        output = session.folder / str(session.jobs) / _OUTPUT
        chosen = self._methods[method]

        def work_on(advance: Advance) -> dict[str, Any]:
            if before:
                storage.remove(before.parent)
            return anonymize(film, output, chosen, advance)

        task = Task(work_on, film.frames)
        _shown(session, View(raw=session.view.raw, ready=True))
        yield from self._watch(session, task, "Anonymizing")
        if session.task is not task or task.state == work.CANCELLED:
            return
        if task.state == work.DONE:
            view = dataclasses.replace(
                session.view, result=output, notes=_notes(task.result), status=_done(task.result)
            )
        else:
            status = _sentence(_spoken(task.error, film), "error")
            view = dataclasses.replace(session.view, status=status)
        yield _shown(session, dataclasses.replace(view, busy=False))

    def cancel(self, key: str) -> None:
        """Ends the session's job; whoever watches it is told."""
        session = self._sessions.get(key)
        if session and session.task:
            session.task.cancel()

    def end(self, key: str) -> None:
        """The page was closed: its job ends, and its files are deleted."""
        with self._lock:
            session = self._sessions.pop(key, None)
        if session is None:
            return
        task, session.task = session.task, None
        if task:
            task.cancel()
            task.wait(_PATIENCE)
        storage.remove(session.folder)

    def tidy(self) -> None:
        """Deletes uploads that were broken off."""
        storage.remove_forgotten(self._root)

    def close(self, seconds: float) -> None:
        """Ends all jobs; the files are deleted by whoever made `root`."""
        self._worker.close(seconds)

    def _copy(self, session: Session, film: Film) -> Iterator[View]:
        copy = session.folder / _COPY
        task = Task(lambda advance: make_copy(film, copy, advance), film.frames)
        _shown(session, View(ready=False))
        yield from self._watch(session, task, "Making a copy that browsers can play")
        if session.task is not task:
            return
        status = _sentence(_about(film))
        if task.state == work.DONE:
            yield _shown(session, View(status, copy, ready=True))
        elif task.state == work.CANCELLED:
            status += _sentence("The raw video cannot be shown here; it can be anonymized.")
            yield _shown(session, View(status, ready=True))
        else:
            session.film = None
            storage.remove(film.path)
            yield _shown(session, View(_sentence(_spoken(task.error, film), "error")))

    def _watch(self, session: Session, task: Task, doing: str) -> Iterator[View]:
        """Submits a task and shows how far it is, until it ends or another one takes its place."""
        session.task = task
        self._worker.submit(task)
        while task.active and session.task is task:
            status = self._progress(task, doing)
            yield _shown(session, dataclasses.replace(session.view, status=status, busy=True))
            task.wait(_POLL)
        if session.task is task and task.state == work.CANCELLED:
            status = _sentence("Cancelled: nothing is kept of what was made so far.")
            yield _shown(session, dataclasses.replace(session.view, status=status, busy=False))

    def _progress(self, task: Task, doing: str) -> str:
        if task.stopping:
            return _sentence("Cancelling ...")
        ahead = self._worker.ahead(task)
        if ahead:
            jobs = "one other job" if ahead == 1 else f"{ahead} other jobs"
            return _sentence(f"Waiting: {jobs} before this one; only one runs at a time.")
        if not task.frames:
            return _sentence(f"{doing}: getting ready ...") + _bar(0)
        counted = f"{task.frames} of {task.total} frames, {task.rate:.1f} frames/s"
        return _sentence(f"{doing}: {counted}") + _bar(task.frames / max(1, task.total))


def _shown(session: Session, view: View) -> View:
    session.view = view
    return view


def _sentence(text: str, kind: str = "plain") -> str:
    return f'<p class="said {kind}">{html.escape(text)}</p>'


def _bar(share: float) -> str:
    percent = min(100, round(100 * share))
    return (
        f'<div class="bar" role="progressbar" aria-valuenow="{percent}">'
        f'<div style="width: {percent}%"></div></div>'
    )


def _about(film: Film) -> str:
    size = f"{film.width}x{film.height}"
    return f"{film.name}: {size} pixels, {film.frames} frames, {film.seconds:.1f} s"


def _done(entry: dict[str, Any]) -> str:
    rate = entry["frames"] / max(entry["seconds"], 1e-3)
    return _sentence(
        f"Done: {entry['frames']} frames in {entry['seconds']:.1f} s, {rate:.1f} frames/s."
    )


def _notes(entry: dict[str, Any]) -> str:
    """The warnings first, then what was done, and that it is no guarantee."""
    notes = [_sentence(f"Warning: {text}", "warning") for text in entry["warnings"]]
    if "frames_with_boxes" in entry:
        found = f"The detector found something in {entry['frames_with_boxes']:.0%} of the frames"
        notes.append(_sentence(f"{found}: whom it missed there stays visible.", "warning"))
    width, height = entry["size"]
    if width % 2 or height % 2:
        notes.append(_sentence("Some browsers do not show videos of an odd width or height."))
    kept = f"{entry['frames']} frames of {width}x{height}; no sound, no metadata."
    notes.append(_sentence(f"{kept} Look at all of it before you give it to anybody."))
    return "".join(notes)


def _spoken(error: str, film: Film) -> str:
    """An error without the places where the page keeps its files."""
    return error.replace(str(film.path), film.name).replace(f"{film.path.parent}/", "")
