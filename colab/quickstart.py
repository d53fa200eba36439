# %% [markdown]
# # Quickstart
#
# Trains every network of the method in a tiny version on a dataset that it draws itself, measures what fresh attackers still read, and
# shows pictures and the trade-off. Nothing is downloaded but the package. About ten minutes on two cores; it goes on where it was when
# a cell is run again.

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
# ## Three rows of a comparison
#
# `raw` (nothing is hidden), `downsample8` (each frame reduced to an eighth), and `penalty`, the method of arXiv 2504.14301 with the budget B = 0.2.
# Each has its own action classifier and its own attacker, trained anew on what it puts out.

# %%
# The outputs here are of ANON_JAX_CONFIG=moving_figures: the same dataset, trained for longer.
CONFIG = "smoke" if SMALL else os.environ.get("ANON_JAX_CONFIG", "demo")
run(
    f"python -m anon_jax.sweep --config={CONFIG} --methods=raw,downsample8,penalty --budgets=0.2 "
    "--seeds=0 --workdir=runs/quickstart --config.data.data_dir=data"
)

# %% [markdown]
# ## What is kept, and what leaks
#
# Top-1 of the action (chance is one in eight), and the normalised leakage of the private attributes: 0 at chance, 1 as much as from raw clips.
# One seed: differences of a few hundredths are noise.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt

cells = sorted(Path("runs/quickstart/cells").iterdir())
methods = {}
for cell in cells:
    methods |= json.loads((cell / "results.json").read_text())["methods"]
chance = methods["raw"]["privacy"]["chance_cmap"]
above = methods["raw"]["privacy"]["cmap"] - chance

figure, axes = plt.subplots(figsize=(5, 3.5))
for name, measured in methods.items():
    top1, cmap = measured["action"]["top1"], measured["privacy"]["cmap"]
    leakage = (cmap - chance) / above
    print(f"{name:12} Top-1 {top1:.3f}  cMAP {cmap:.3f}  normalised leakage {leakage:.2f}")
    axes.scatter(leakage, top1, s=60, label=name)
axes.axhline(methods["raw"]["action"]["chance"], color="grey", linestyle=":")
axes.axvline(0, color="grey", linestyle=":")
axes.set(xlabel="normalised leakage", ylabel="Top-1 of the action", ylim=(0, 1.05))
axes.legend()
figure.tight_layout()

# %% [markdown]
# ## What it looks like
#
# `anon_jax.report` makes one page of any number of runs, with intervals over seeds, each attribute, and the same test frames for every method.

# %%
import re

from IPython.display import Image, display

run(f"python -m anon_jax.report {' '.join(map(str, cells))} --output=runs/quickstart/report")
report = Path("runs/quickstart/report")
for caption, name in re.findall(r"!\[Frames: (.*?)\]\((.*?)\)", (report / "report.md").read_text()):
    print(caption)
    display(Image(filename=report / name))

# %% [markdown]
# ## The anonymizer as a function
#
# A run's workdir is all that `load_anonymizer` needs; it takes frames of any size. Here: a clip that no network has seen.

# %%
import anon_jax
from input_pipeline.datasets.moving_figures.clips import sample_clip
from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig

dataset = MovingFiguresConfig(name="another", seed=1)
clip = sample_clip(dataset, "test", 0)
anonymize = anon_jax.load_anonymizer("runs/quickstart/cells/penalty-B0.2-seed0")
anonymized = anonymize(clip.frames)

figure, rows = plt.subplots(2, 8, figsize=(8, 2.2))
for column in range(8):
    rows[0, column].imshow(clip.frames[2 * column])
    rows[1, column].imshow(anonymized[2 * column])
for axes in rows.flat:
    axes.axis("off")
figure.suptitle(f"{dataset.actions[clip.action]}: raw, and anonymized")
figure.tight_layout()

# %% [markdown]
# Next: `anonymize_your_video` for files of yours, `evaluate_and_attack` for stronger attackers, `train_on_tpu` for full size.
