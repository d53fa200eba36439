"""Several processes, one run: how they join, what one of them does for all, how they end together.

One process is the usual case: it joins nobody, and everything here does nothing more than call what
it is given. The processes talk through JAX's coordination service, which process 0 holds, and not
through their devices: they may wait for hours while process 0 builds a dataset.

JAX is imported only where there are several processes: an exported anonymizer runs without it.
"""

import contextlib
import dataclasses
import importlib
import itertools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from anon_jax import interruption
from anon_jax.errors import RunError
from input_pipeline.errors import DataError

_WAIT_MS = 1000  # of one question to the coordinator: between two, Python's signal handlers run
# That a process waits for the others when it ends: with an error, and when all is done.
_LEAVE_SECONDS = 15
_DONE_SECONDS = 300
# What the collectives of CPUs say when the process at the other end is gone.
_LOST = ("Gloo", "Connection closed by peer", "coordination service")

T = TypeVar("T")


@dataclasses.dataclass
class _Group:
    """The processes of the run that this one has joined. One a process, as JAX's own is."""

    count: int
    index: int
    calls: Iterator[int] = dataclasses.field(default_factory=itertools.count)
    within_call: bool = False  # of `first`


_group: _Group | None = None


def count() -> int:
    """How many processes the run has."""
    return _group.count if _group else 1


def index() -> int:
    """Which of them this is, from 0 on."""
    return _group.index if _group else 0


def is_first() -> bool:
    """Whether this process does what is done once."""
    return index() == 0


def share(batch_size: int) -> dict[str, int]:
    """This process's part of a batch of `batch_size`, as arguments of the loader."""
    return {
        "batch_size": batch_size // count(),
        "process_index": index(),
        "process_count": count(),
    }


def first(call: Callable[[], T]) -> T:
    """What `call` returns in process 0; the others wait for it. To be called by all of them.

    Within the call itself, where process 0 is alone, it does no more than call.

    Args:
      call: returns a JSON value where there are several processes.

    Raises:
      RunError: the call has failed in process 0, which raises its own error.
      Interrupted: a signal has ended the call there.
    """
    if not _group or _group.within_call:
        return call()
    key = f"anon_jax/{next(_group.calls)}"
    if not is_first():
        return _answer(json.loads(_wait(key)))
    _group.within_call = True
    try:
        told = {"value": call()}
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        _client().key_value_set(key, json.dumps({"error": _words(error), "left": interrupted}))
        raise
    finally:
        _group.within_call = False
    _client().key_value_set(key, json.dumps(told))
    return _answer(told)


def barrier() -> None:
    """Waits until all processes are here."""
    if _group:
        name = f"anon_jax/{next(_group.calls)}"
        _client().key_value_set(f"{name}/{index()}", "")
        for other in range(count()):
            _wait(f"{name}/{other}")


def enter() -> None:
    """Takes part in the run that JAX has joined; see `joining.join`.

    Raises:
      RunError: this version of JAX does not give its coordination service.
    """
    global _group
    state = _jax_state()
    _group = _Group(state.num_processes, state.process_id)


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Around all that a process does: where it ends with an error, the others end as well.

    They have the sentence of their own where all of them have met the same. Otherwise this one
    says its sentence, waits a moment and is gone, which the others notice at the next thing that
    they do together, or after the timeout.
    """
    global _group
    code = 0
    try:
        yield
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if not _group or code == 0:
            raise
        _say(leaving.code)
    except Exception as error:
        if not _group:
            raise
        code = 1
        if any(words in str(error) for words in _LOST):
            _say("error: another process of the run has ended; what it said tells why")
        else:
            traceback.print_exc()
    finally:
        if _group:
            _leave(code)
            _group = None
    if code:
        sys.exit(code)


def _leave(code: int) -> None:
    """Ends with the others, or without them where they do not come."""
    seconds = _LEAVE_SECONDS if code else _DONE_SECONDS
    try:
        _client().wait_at_barrier("anon_jax/leave", seconds * 1000)
    except Exception:  # jaxlib's errors have no common class of their own
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 1)  # an orderly end would wait for the others
    import jax

    jax.distributed.shutdown()


def _client() -> Any:
    return _jax_state().client


def _jax_state() -> Any:
    """JAX's part in the coordination service, with `client`, `num_processes` and `process_id`."""
    # There is no public way to the service's keys and barriers: jax.distributed starts and ends it,
    # and jax.experimental.multihost_utils goes through the devices. Orbax takes this way as well.
    import jax

    try:
        state = importlib.import_module("jax._src.distributed").global_state
        if all(hasattr(state, name) for name in ("client", "num_processes", "process_id")):
            return state
    except (ImportError, AttributeError):
        pass
    raise RunError(
        f"jax {jax.__version__} keeps its coordination service where anon_jax does not look, so "
        "several processes cannot make a run together; install jax 0.10, or start one process"
    )


def _wait(key: str) -> str:
    """The value of a key, once another process has set it.

    A process that dies is found by JAX, which ends all others.
    """
    while True:
        try:
            return _client().blocking_key_value_get(key, _WAIT_MS)
        except Exception as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def _answer(told: dict[str, Any]) -> Any:
    if "error" not in told:
        # As it came through JSON, so that all processes go on with the same.
        return json.loads(json.dumps(told["value"]))
    if told["left"]:
        raise interruption.Interrupted(told["error"])
    raise RunError(f"process 0 has ended: {told['error']}")


def _words(error: BaseException) -> str:
    known = isinstance(error, RunError | DataError | OSError | KeyboardInterrupt)
    return str(error) if known else f"{type(error).__name__}: {error}"


def _say(sentence: Any) -> None:
    if isinstance(sentence, str):
        print(f"[process {index()} of {count()}] {sentence}", file=sys.stderr, flush=True)
