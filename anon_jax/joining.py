"""How a process joins the others of its run: by flags, or as the cluster's environment says."""

import dataclasses
import os
import socket
import threading
import time

import jax
from absl import flags

from anon_jax import distributed
from anon_jax.errors import ConfigError, RunError, first_line

AUTO = "auto"  # the cluster's environment says who there is

_MARGIN_SECONDS = 30  # JAX's own patience beyond ours: it ends the process without a sentence

_MODE = flags.DEFINE_enum(
    "distributed", "", ["", AUTO], "'auto': several processes, as SLURM or the like started them."
)
_COORDINATOR = flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0, of several ones.")
_PROCESSES = flags.DEFINE_integer("processes", None, "How many processes make the run.")
_PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0 on.")
_TIMEOUT = flags.DEFINE_integer(
    "timeout", 100, "Seconds that several processes wait for one that does not answer.", 1
)


@dataclasses.dataclass(frozen=True)
class Membership:
    """What a process is told of the run that it belongs to; by default, that it is alone.

    Attributes:
      mode: "" or AUTO.
      coordinator: "HOST:PORT" of process 0.
      processes: how many there are; None = not said.
      process: which one this is, from 0 on; None = not said.
      timeout: seconds that processes wait for each other at the start, and until one that says
        nothing any more counts as dead.
    """

    mode: str = ""
    coordinator: str = ""
    processes: int | None = None
    process: int | None = None
    timeout: int = 100

    @property
    def alone(self) -> bool:
        """Whether nothing says that there are others."""
        return not (self.mode or self.coordinator or self.processes or self.process)


def by_flags() -> Membership:
    """What the command line says of the run's processes."""
    return Membership(
        _MODE.value, _COORDINATOR.value, _PROCESSES.value, _PROCESS.value, _TIMEOUT.value
    )


def join(member: Membership) -> None:
    """Joins the other processes, before JAX starts its backend; alone, does nothing.

    Raises:
      ConfigError: what is said of the processes is incomplete or contradicts itself.
      RunError: the coordinator cannot be reached.

    Where the others do not come within the timeout a sentence says so, and the process ends with
    code 1: JAX lets nothing else through.
    """
    if member.alone:
        return
    _check(member)
    # It would take SIGTERM away from `interruption`, whose processes agree by themselves.
    jax.config.update("jax_enable_preemption_service", False)
    if member.coordinator and member.process:
        _reach(member)
    impatience = threading.Timer(member.timeout, _give_up, (member,))
    impatience.daemon = True
    impatience.start()
    try:
        jax.distributed.initialize(
            member.coordinator or None,
            member.processes,
            member.process,
            initialization_timeout=member.timeout + _MARGIN_SECONDS,
            heartbeat_timeout_seconds=member.timeout,
            shutdown_timeout_seconds=member.timeout,
        )
    except (ValueError, TypeError, RuntimeError) as error:
        raise RunError(_not_joined(member, error)) from error
    finally:
        impatience.cancel()
    distributed.enter()


def _check(member: Membership) -> None:
    if member.mode == AUTO:
        return
    missing = [
        flag
        for flag, value in (
            ("--coordinator=HOST:PORT", member.coordinator or None),
            ("--processes=N", member.processes),
            ("--process=I", member.process),
        )
        if value is None
    ]
    if missing:
        raise ConfigError(
            f"A run of several processes also needs {', '.join(missing)}; on SLURM, Open MPI, TPU "
            f"pods and Kubernetes --distributed={AUTO} finds them"
        )
    assert member.processes is not None
    assert member.process is not None
    if member.processes < 1 or not 0 <= member.process < member.processes:
        raise ConfigError(
            f"--process is {member.process} and --processes is {member.processes}; the processes "
            "are numbered from 0 to one less than there are"
        )
    if not _address(member.coordinator):
        raise ConfigError(
            f"--coordinator is '{member.coordinator}'; it has to be the host of process 0 and a "
            "free port there, e.g. 10.0.0.1:8476"
        )


def _address(coordinator: str) -> tuple[str, int] | None:
    host, _, port = coordinator.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else None


def _reach(member: Membership) -> None:
    """Waits until the coordinator's port answers."""
    address = _address(member.coordinator)
    assert address is not None
    end = time.monotonic() + member.timeout
    while True:
        try:
            socket.create_connection(address, timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise RunError(
                    f"The coordinator {member.coordinator} could not be reached within "
                    f"{member.timeout} s ({error}). It is process 0: start it, and see that its "
                    "host and port are right and that no firewall is between"
                ) from error
        time.sleep(0.2)


def _give_up(member: Membership) -> None:
    wanted = f"{member.processes} processes" if member.processes else "all processes"
    sentence = (
        f"error: not {wanted} of the run were there within {member.timeout} s. Start each of them "
        "with its own --process and all with the same --processes and --coordinator"
    )
    # Past Python's own streams and exit: the main thread is in JAX, which waits on.
    os.write(2, f"{sentence}\n".encode())
    os._exit(1)


def _not_joined(member: Membership, error: Exception) -> str:
    if member.mode == AUTO:
        return (
            f"--distributed={AUTO} found no cluster that JAX knows ({first_line(error)}); give "
            "--coordinator, --processes and --process"
        )
    return f"The processes could not be joined: {first_line(error)}"
