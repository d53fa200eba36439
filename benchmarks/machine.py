"""What a benchmark ran on, and how much memory this process takes."""

import contextlib
import os
import platform
import resource
import subprocess
from pathlib import Path

from anon_jax.provenance import processor


def describe() -> str:
    """Processor, cores, operating system and Python in a line."""
    python = platform.python_version()
    return f"{processor()}, {os.cpu_count()} cores, {platform.platform()}, Python {python}"


def commit() -> str:
    """The commit of the working tree, with "+" where files differ from it; "" outside of one."""
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"]
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rss_mib() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_rss_mib() -> float:
    """The most resident memory that this process has had, or since `reset_peak_rss`."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def reset_peak_rss() -> None:
    """Lets `peak_rss_mib` begin anew, where Linux allows it (proc(5), /proc/PID/clear_refs)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
