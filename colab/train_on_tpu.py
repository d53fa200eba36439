# %% [markdown]
# # Train on a TPU or a GPU
#
# Devices and the mesh, bfloat16, the recipe at full size, memory, and runs that survive a runtime that is taken away. Choose a TPU or GPU runtime, and the
# `ACCELERATOR` below.
#
# *The outputs here were made on a CPU in small mode (`ANON_JAX_SMALL=1`): they show what is printed, not what a TPU does. The full-size recipe has not been
# run on an accelerator by this project.*

# %%
import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile

SMALL = os.environ.get("ANON_JAX_SMALL") == "1"  # shows that everything runs; figures mean nothing
# Where this notebook comes from, for pip: the address that you would give to git clone.
REPOSITORY = os.environ.get("ANON_JAX_REPOSITORY", "")  # @param {type: "string"}
ACCELERATOR = ""  # @param ["", "tpu", "cuda12", "cuda13"]


def run(command: str) -> None:
    """Runs a command and shows what it prints; where it fails, the notebook stops."""
    print(f"$ {command}")
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="")
    if process.returncode:
        raise RuntimeError(f"the command ended with {process.returncode}")


if importlib.util.find_spec("anon_jax") is None:
    if not REPOSITORY:
        raise RuntimeError("anon_jax is not installed: set REPOSITORY above, or pip install it")
    jax = f'"jax[{ACCELERATOR}]"' if ACCELERATOR else ""
    run(f"python -m pip install -q git+{REPOSITORY} {jax}")
if SMALL:
    os.chdir(tempfile.mkdtemp())

# %% [markdown]
# ## Devices and the mesh
#
# A batch is split over all devices, and BatchNorm sees the whole of it: a run on eight devices computes what a run on one does, but for rounding. So batch sizes
# are global, and have to be multiples of the number of devices. `--config.fsdp=N` splits large parameters over N devices as well.

# %%
run('python -c "import jax; print(jax.default_backend(), jax.devices())"')
run('python -c "from anon_jax.sharding import make_mesh; print(make_mesh())"')

# %% [markdown]
# ## Where the run lives
#
# A runtime's own disk is gone with it. `WORKDIR` on Drive stays; the dataset is better copied to the local disk, from which batches are read.
# For a bucket, mount it as a folder (gcsfuse), or copy the workdir there from time to time (`gcloud storage rsync -r`): the workdir has to be a folder.

# %%
DRIVE = False  # @param {type: "boolean"}
if DRIVE:
    from google.colab import drive

    drive.mount("/content/drive")
FOLDER = "/content/drive/MyDrive/anon_jax" if DRIVE else "runs"
WORKDIR = f"{FOLDER}/train"

# %% [markdown]
# ## The recipe
#
# `ucf101` is the published recipe: UCF101 and VISPR1 at 224x224, UNet++ with a ResNet-18 encoder, I3D-style ResNet-50, ResNet-50, 100 epochs a phase.
# Its datasets are built once from their downloads (docs/datasets.md):
#
#     python -m input_pipeline.build ucf101/split1 --source=DIR --annotations=DIR --data_dir=data
#     python -m input_pipeline.build vispr/vispr1 --source=DIR --annotations=DIR --data_dir=data
#
# Where they are not there, the demo is run instead.

# %%
from pathlib import Path

DATA = "data"  # @param {type: "string"}
built = (Path(DATA) / "ucf101").is_dir() and (Path(DATA) / "vispr").is_dir()
CONFIG = "smoke" if SMALL else "ucf101" if built else "demo"
options = [
    f"--config={CONFIG}",
    f"--workdir={WORKDIR}",
    f"--config.data.data_dir={DATA}",
    # Activations; parameters, BatchNorm statistics, optimizers and losses stay float32.
    "--config.dtype=bfloat16",
    # A second start finds the compiled steps there.
    f"--config.compilation_cache={FOLDER}/compiled",
]
if CONFIG == "ucf101":
    options += [
        "--config.remat=convolutions",  # less memory: "blocks" saves most, for a forward pass more
        "--config.minimax.accumulate=1",  # 2: half the memory of a step, at the same batch size
        "--config.data.num_workers=8",  # processes that decode and augment
    ]
command = "python -m anon_jax.main " + " ".join(options)
print(command)

# %% [markdown]
# ## Stopped in the middle
#
# Runtimes are taken away. Checkpoints are written each `config.checkpoint_every` steps and at SIGTERM; here the run is stopped on purpose as soon as
# its first phase is done. Exit code 75 says: stopped, and the same command goes on.

# %%
import time

words = [sys.executable if word == "python" else word for word in shlex.split(command)]
with subprocess.Popen(
    words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
) as process:
    while process.poll() is None and not Path(WORKDIR, "checkpoints", "pretrain_privacy").exists():
        time.sleep(0.5)
    process.terminate()
    print(process.communicate()[0][-300:])
print("exit code", process.returncode)
assert process.returncode in (0, 75)

# %% [markdown]
# ## The same command goes on
#
# On another runtime too, and on another number of devices, with the batches that the first start would have drawn. Where memory does not suffice, the message names the
# fields to lower.

# %%
run(command)

# %% [markdown]
# ## How it went

# %%
import json

import matplotlib.pyplot as plt

lines = Path(WORKDIR, "metrics", "minimax.jsonl").read_text().splitlines()
steps = [json.loads(line) for line in lines]
names = [name for name in steps[-1] if "loss" in name][:4]
figure, axes = plt.subplots(figsize=(6, 3))
for name in names:
    axes.plot(
        [s["step"] for s in steps if name in s], [s[name] for s in steps if name in s], label=name
    )
axes.set(xlabel="step of the minimax game")
axes.legend(fontsize=8)
figure.tight_layout()

results = json.loads(Path(WORKDIR, "results.json").read_text())
print("seconds:", {phase: round(seconds, 1) for phase, seconds in results["seconds"].items()})

# %% [markdown]
# ## Several machines
#
# Each process gets the same command and its place: `--coordinator=HOST:PORT --processes=N --process=I`, or `--distributed=auto` on TPU pods and SLURM
# (docs/distributed.md).
