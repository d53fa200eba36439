"""What test_distributed.py starts as several processes: the command itself, or a toy's training.

    python distributed_program.py COORDINATOR PROCESSES PROCESS main FLAGS...
    python distributed_program.py COORDINATOR PROCESSES PROCESS toy FOLDER STEPS [signal:N | die:N]

The last process gets a signal, or dies, at step N.
"""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grain
import jax
import numpy as np
import test_loop
from small_networks import SMALL, SMALL_3D
from video_samples import ROOT

from anon_jax import distributed, interruption, joining
from anon_jax.checkpoint import Checkpointer
from anon_jax.errors import RunError
from anon_jax.loop import Loop, fit
from anon_jax.models import MODELS
from anon_jax.sharding import make_mesh
from anon_jax.writers import MetricWriter
from input_pipeline.loader import train_stream

PATIENCE = 600  # seconds; a busy machine may stop a process for a minute
ONE_STAGE = {
    "unetpp_tiny": {**SMALL, "decoder_channels": (4, 4)},
    "i3d_tiny": SMALL_3D,
    "resnet_tiny": SMALL,
}


class Noisy(grain.transforms.RandomMap):
    """Adds noise to the values of a record, of its own for each pass."""

    def random_map(self, element, rng):
        index, values = element
        noisy = (values + rng.normal(size=3)).astype(np.float32)
        return {"image": noisy, "target": values.sum(), "index": np.int32(index)}


def train_toy(folder, steps, event=""):
    """A network with dropout learns from noisy records; a checkpoint every five steps."""
    values = np.random.default_rng(2).normal(size=(40, 3)).astype(np.float32)
    stream = train_stream(
        list(enumerate(values)), Noisy(), seed=3, num_threads=1, prefetch=2, **distributed.share(8)
    )

    def sample(state):
        last = distributed.index() == distributed.count() - 1
        if last and event == f"die:{int(state.step)}":
            os._exit(9)
        if last and event == f"signal:{int(state.step)}":
            os.kill(os.getpid(), signal.SIGTERM)

    return fit(
        test_loop.initial(),
        test_loop.schedule(jax.device_count() if distributed.count() > 1 else 1),
        stream,
        loop=Loop("toy", steps, log_every=3, checkpoint_every=5, sample_every=1, sample=sample),
        mesh=make_mesh(0 if distributed.count() > 1 else 1),
        checkpointer=Checkpointer(folder / "checkpoints"),
        writer=MetricWriter(folder / "metrics", "toy"),
    )


def run_processes(processes, port, *arguments, timeout=PATIENCE, start=None):
    """Starts them all, waits for them, and returns [(code, stdout, stderr), ...].

    `start`: only so many of them.
    """
    running = []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        for process in range(processes)[:start]:
            command = [sys.executable, __file__, f"127.0.0.1:{port}", str(processes), str(process)]
            command += [str(argument) for argument in arguments]
            running.append(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))
        end = time.monotonic() + timeout
        found = [child.communicate(timeout=end - time.monotonic()) for child in running]
    finally:
        for child in running:
            child.kill()
    return [(child.returncode, *output) for child, output in zip(running, found, strict=True)]


def shrink():
    """The tiny networks with a single stage: compiling them takes most of a run's time."""
    for name, numbers in ONE_STAGE.items():
        MODELS[name] = functools.partial(MODELS[name], **numbers)


def main():
    """The command line."""
    coordinator, processes, process, what = sys.argv[1:5]
    if what == "main":
        from anon_jax import main as run

        shrink()
        flags = [f"--coordinator={coordinator}", f"--processes={processes}", f"--process={process}"]
        sys.argv[1:] = [*flags, f"--timeout={PATIENCE}", *sys.argv[5:]]
        run.main()
        return
    folder, steps, *event = sys.argv[5:]
    jax.config.update("jax_num_cpu_devices", 1)
    member = joining.Membership("", coordinator, int(processes), int(process), PATIENCE)
    with interruption.handled(None), distributed.ending_together():
        try:
            joining.join(member)
            train_toy(Path(folder), int(steps), *event)
        except RunError as error:
            sys.exit(f"error: {error}")
        except interruption.Interrupted as error:
            print(error)
            sys.exit(interruption.EXIT_CODE)


if __name__ == "__main__":
    main()
