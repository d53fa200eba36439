# %% [markdown]
# # Anonymize your video
#
# Takes a video, anonymizes it by any method, and plays both side by side. **No method is a guarantee that nobody can be recognised**: look at the
# result before you give it to anybody.

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
# ## The video
#
# On Colab you are asked for a file. Elsewhere set `VIDEO` to one; without, one of a drawn person is made.

# %%
from pathlib import Path

import av
import numpy as np

VIDEO = ""  # @param {type: "string"}


def drawn_video(path: str, resolution: int = 96, clips: int = 3) -> str:
    """Some clips of drawn people, one after another, 12 frames a second."""
    from input_pipeline.datasets.moving_figures.clips import sample_clip
    from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig

    dataset = MovingFiguresConfig(name="drawn", resolution=resolution)
    with av.open(path, "w") as video:
        stream = video.add_stream("libx264", rate=12)
        stream.width = stream.height = resolution
        stream.pix_fmt = "yuv420p"
        for number in range(clips):
            for pixels in sample_clip(dataset, "test", number).frames:
                video.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        video.mux(stream.encode(None))
    return path


if not VIDEO:
    try:
        from google.colab import files

        VIDEO = next(iter(files.upload()))
    except ImportError:
        VIDEO = drawn_video("drawn.mp4")
print(VIDEO)

# %% [markdown]
# ## The method
#
# - `--checkpoint=small`: a tiny trained anonymizer that comes with the package. **It is there to try the command, not for use.**
# - `--checkpoint=DIR`: the workdir of a run of yours, for instance that of `quickstart`.
# - `--method=downsample`, `blur` or `blacken`: without training; the last two hide the people and faces that a detector finds, and no others.

# %%
HOW = "--checkpoint=small"  # @param ["--checkpoint=small", "--method=downsample", "--method=blur", "--method=blacken"] {allow-input: true}
run(
    f"python -m anon_jax.anonymize {shlex.quote(VIDEO)} --output=anonymized.mp4 {HOW} --overwrite "
    "--summary=summary.json"
)

# %% [markdown]
# ## What the command noticed
#
# Size, frame times and length are the input's; sound and metadata are gone. The self-check compares what goes out with what came in.

# %%
import json

(account,) = json.loads(Path("summary.json").read_text())["files"]
for key in (
    "status",
    "frames",
    "damaged",
    "seconds",
    "size",
    "method",
    "nearly_unchanged",
    "warnings",
):
    print(f"{key}: {account.get(key)}")

# %% [markdown]
# ## Side by side

# %%
import base64

from IPython.display import HTML, display


def player(path: str) -> str:
    """A video as part of a page."""
    data = base64.b64encode(Path(path).read_bytes()).decode()
    return f'<video controls loop width="320" src="data:video/mp4;base64,{data}"></video>'


display(HTML(player(VIDEO) + " " + player("anonymized.mp4")))

# %% [markdown]
# The same as pictures, for pages that play no videos: every method on the same frames.

# %%
import matplotlib.pyplot as plt


def frames_of(path: str) -> np.ndarray:
    """The frames of a video as uint8 [N, H, W, 3]."""
    with av.open(path) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


rows = {"raw": VIDEO, HOW: "anonymized.mp4"}
for method in ("downsample", "blacken"):
    run(
        f"python -m anon_jax.anonymize {shlex.quote(VIDEO)} --output={method}.mp4 --overwrite "
        f"--method={method}"
    )
    rows[f"--method={method}"] = f"{method}.mp4"

figure, grid = plt.subplots(len(rows), 6, figsize=(8, 1.5 * len(rows)))
for line, (name, path) in zip(grid, rows.items(), strict=True):
    frames = frames_of(path)
    for axes, number in zip(line, np.linspace(0, len(frames) - 1, 6).astype(int), strict=True):
        axes.imshow(frames[number])
        axes.axis("off")
    line[0].set_title(name, loc="left", fontsize=9)
figure.tight_layout()

# %% [markdown]
# ## Taking it home

# %%
try:
    from google.colab import files

    files.download("anonymized.mp4")
except ImportError:
    print(Path("anonymized.mp4").absolute().name, "is in the current folder")
