# %% [markdown]
# # Evaluate and attack
#
# How much does an anonymizer hide? That depends on who attacks. This notebook trains `raw`, `downsample8` and `spact` on the embedded dataset and lets every
# attacker of the package at them, each trained anew on what the method puts out:
#
# - classifiers of the private attributes, one that sees single frames and one that sees whole clips;
# - a decoder that learns to draw the raw frame from the anonymized one, and classifiers that read what it draws;
# - the white box: gradient descent through f_A's own weights;
# - re-identification: is a person found again among 150?
#
# About an hour and a half on two cores; it goes on where it was. `CONFIG = "smoke"` takes a few minutes and says nothing.

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

# %%
CONFIG = "smoke" if SMALL else "moving_figures"
METHODS = "raw,spact" if SMALL else "raw,downsample8,spact"
ALL = (
    "reconstruct,pretrain_privacy,minimax,evaluate_action,evaluate_privacy,"
    "evaluate_reconstruction,evaluate_identity,evaluate_frames,report"
)
phases = repr(tuple(ALL.split(",")))
run(
    f"python -m anon_jax.sweep --config={CONFIG} --methods={METHODS} --seeds=0 "
    f'--workdir=runs/attacks --config.data.data_dir=data --config.phases="{phases}"'
)

# %% [markdown]
# ## Each attacker on each method
#
# cMAP is the mean average precision over the attributes; chance is their mean prevalence. **The strongest attacker counts**: what one
# attacker cannot read, another may.

# %%
import json
from pathlib import Path

folders = sorted(Path("runs/attacks/cells").iterdir(), key=lambda cell: "raw" not in cell.name)
cells = {folder.name.rsplit("-seed", 1)[0]: folder for folder in folders}  # raw is the first
methods = {
    name: json.loads((cell / "results.json").read_text())["methods"][name]
    for name, cell in cells.items()
}


def attacks_on(measured: dict) -> dict[str, float]:
    """The cMAP of each attacker."""
    found = {f"direct, {n}": a["cmap"] for n, a in measured["privacy"]["attackers"].items()}
    drawn = measured.get("reconstruction", {})
    if drawn:
        found["reads a decoder's pictures"] = drawn["privacy"]["cmap"]
    if drawn.get("white_box"):  # of methods with an f_A alone
        found["white box"] = drawn["white_box"]["cmap"]
    return found


chance = methods["raw"]["privacy"]["chance_cmap"]
print(f"chance {chance:.3f}")
for name, measured in methods.items():
    print(f"\n{name}: Top-1 {measured['action']['top1']:.3f}")
    for attacker, cmap in attacks_on(measured).items():
        print(f"  cMAP {cmap:.3f}  {attacker}")
    identity = measured["identity"]
    print(
        f"  rank-1 {identity['rank1']:.3f} (chance {identity['chance_rank1']:.3f})  re-identification"
    )

# %% [markdown]
# ## Which attributes stay readable
#
# Average precision of the strongest direct attacker; the lines are the prevalence of the attribute, which is what guessing reaches.

# %%
import matplotlib.pyplot as plt
import numpy as np

attributes = list(methods["raw"]["privacy"]["per_attribute"])
places = np.arange(len(attributes))
width = 0.8 / len(methods)
figure, axes = plt.subplots(figsize=(8, 3.2))
for number, (name, measured) in enumerate(methods.items()):
    per_attribute = measured["privacy"]["per_attribute"]
    values = [per_attribute[attribute]["ap"] for attribute in attributes]
    axes.bar(places + (number + 0.5) * width - 0.4, values, width, label=name)
prevalence = [methods["raw"]["privacy"]["per_attribute"][a]["prevalence"] for a in attributes]
axes.hlines(prevalence, places - 0.45, places + 0.45, color="black", linewidth=1)
axes.set_xticks(places, attributes, rotation=30, ha="right")
axes.set(ylabel="average precision", ylim=(0, 1.05))
axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(methods), frameon=False)
figure.tight_layout()

# %% [markdown]
# ## What a decoder draws
#
# Rows: raw, anonymized, drawn back from the anonymized frame. What can be seen in the last row is in the middle one, whether we see it there or not.

# %%
from IPython.display import Image, display

spact = cells["spact"]
measured = methods["spact"]["reconstruction"]
print(f"PSNR {measured['psnr']:.1f} dB, SSIM {measured['ssim']:.2f}")
display(Image(filename=spact / "report" / "reconstruction_spact.png", width=800))

# %% [markdown]
# ## The report
#
# One page with all of it: intervals, each attribute, the trade-off with its Pareto front, pictures. Give it more seeds
# (`--seeds=0,1,2`), and rows whose intervals overlap will stop looking ranked.

# %%
run(f"python -m anon_jax.report {' '.join(map(str, cells.values()))} --output=runs/attacks/report")
text = Path("runs/attacks/report/report.md").read_text()
print(text[: text.index("### Attacks")])
