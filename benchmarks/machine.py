"""What a benchmark ran on, and how much memory this process takes."""

import os
import platform
import resource
from pathlib import Path


def describe() -> str:
    """Processor, cores, operating system and Python in a line."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    processor = models[0] if models else platform.processor()
    python = platform.python_version()
    return f"{processor}, {os.cpu_count()} cores, {platform.platform()}, Python {python}"


def rss_mib() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_rss_mib() -> float:
    """The most resident memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
