"""Small workdirs made by hand, as the cells of a sweep would leave them, for the comparison."""

import json

import cv2
import numpy as np
from report_samples import frames, identity, reconstruction

from anon_jax.report.compare import write_comparison

CHANCE, CHANCE_CMAP = 0.2, 0.4
DATASETS = {
    "videos": "moving_figures/videos",
    "images": "moving_figures/images",
    "attack_videos": "moving_figures/videos",
    "attack_images": "moving_figures/images",
}


def scores(top1, cmap, *, left_out=("tattoo",), chance_cmap=CHANCE_CMAP):
    """A method's entry of results.json; None leaves a measurement out."""
    entry = {}
    if top1 is not None:
        entry["action"] = {"top1": top1, "chance": CHANCE, "num_videos": 50, "split": "test"}
    if cmap is not None:
        entry["privacy"] = {
            "cmap": cmap,
            "f1": 0.5,
            "f1_tuned": 0.6,
            "auroc": 0.7,
            "chance_cmap": chance_cmap,
            "always_yes_f1": 0.55,
            "per_attribute": {
                "glasses": {"ap": cmap + 0.05, "prevalence": 0.3, "auroc": 0.7, "f1": 0.5},
                "skin": {"ap": cmap - 0.05, "prevalence": 0.5, "auroc": 0.7, "f1": 0.5},
            },
            "left_out": list(left_out),
            "split": "test",
        }
    return entry


def make_run(folder, method, seed, found, *, budget=0.3, changes=(), datasets=None, seconds=60.0):
    """A finished workdir.

    Args:
      found: the method's entry, or {method: entry} with raw beside it.
      changes: (field with dots, value) of the config.
    """
    learned = method in ("penalty", "spact")
    results = {
        "methods": found if method in found else {method: found},
        "method": method,
        "seed": seed,
        "datasets": datasets or DATASETS,
        "minimax": {"penalty/distance": 0.25, "penalty/active": 0.9} if learned else {},
        "seconds": {"minimax": seconds, "evaluate_action": 7.0},
    }
    config = {
        "method": method,
        "seed": seed,
        "phases": ["minimax", "evaluate_action", "evaluate_privacy", "report"],
        "log_every": 10 + seed,
        "pretrained": f"pretrained-seed{seed}",
        "data": {"num_frames": 8, "frame_stride": 2, "resolution": 32, "num_threads": 1 + seed},
        "networks": {"anonymizer": "unetpp_tiny", "action": "i3d_tiny", "privacy": "resnet_tiny"},
        "minimax": {
            "epochs": 4.0,
            "weights": {"action": 1.0, "privacy": 1.0, "penalty": 1.0},
            "penalty": {"budget": budget, "mode": "hinge", "space": "pixel"},
        },
        "evaluate_action": {"epochs": 4.0},
        "evaluate_privacy": {"epochs": 8.0, "source": "videos"},
    }
    for field, value in changes:
        *path, name = field.split(".")
        section = config
        for part in path:
            section = section[part]
        section[name] = value
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.json").write_text(json.dumps(config))
    if learned:  # active in (10 * 1 + 30 / 3) / 40 = half of the steps
        lines = [{"step": 10, "penalty/active": 1.0}, {"step": 40, "penalty/active": 1 / 3}]
        (folder / "metrics").mkdir()
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder / "metrics" / "minimax.jsonl").write_text(text)
    return folder


ATTACKED = (
    (
        "evaluate_reconstruction",
        {"network": "", "networks": [], "epochs": 6.0, "inversion_steps": 0},
    ),
    ("evaluate_identity", {"epochs": 5.0}),
    ("evaluate_frames", {"videos": 200}),
)


def attacked(entry, worst=None, *, white_box=None, rank1=0.3, distance=0.1):
    """A method's entry with the further measurements; `worst` is the decoder's cMAP, None = raw."""
    direct = entry["privacy"]["cmap"]
    found = {"direct": direct, "reconstruction": worst, "white_box": white_box}
    known = {attack: cmap for attack, cmap in found.items() if cmap is not None}
    attack = max(known, key=known.get)
    further = {
        "worst_case": {"cmap": known[attack], "attack": attack, "attacker": "resnet_tiny-seed0"},
        "identity": identity(rank1),
        "frames": frames(0.0 if worst is None else distance),
    }
    if worst is not None:
        further["reconstruction"] = reconstruction(worst, white_box)
    return entry | further


def make_attacked_sweep(folder, *, changes=ATTACKED):
    """Raw, penalty with B = 0.1 and 0.3 and weak_blur, seeds 0 and 1, with all measurements."""
    folders = []
    for seed, shift in ((0, 0.0), (1, 0.02)):
        found = {
            "raw": attacked(scores(0.9 + shift, 0.9), rank1=0.9),
            "weak_blur": attacked(scores(0.7 + shift, 0.6), 0.85 - shift, rank1=0.5),
        }
        budgets = {
            0.1: attacked(scores(0.85 + shift, 0.7), 0.72, white_box=0.85, distance=0.1),
            0.3: attacked(scores(0.8 + shift, 0.5), 0.55, white_box=0.6 + shift, distance=0.3),
        }
        for method, entry in found.items():
            name = f"{method}-seed{seed}"
            folders.append(make_run(folder / name, method, seed, entry, changes=changes))
        for budget, entry in budgets.items():
            name = f"penalty-B{budget}-seed{seed}"
            folders.append(
                make_run(folder / name, "penalty", seed, entry, budget=budget, changes=changes)
            )
    return folders


def add_picture(workdir, name, *greys):
    """samples/NAME.png (of a step: its number): strips of one grey each, 4 x 12 pixels."""
    (workdir / "samples").mkdir(exist_ok=True)
    rows = np.repeat(np.array(greys, np.uint8), 4)  # [4 * strips]
    picture = np.tile(rows[:, None, None], (1, 12, 3))
    stem = name if isinstance(name, str) else f"{name:06d}"
    assert cv2.imwrite(str(workdir / "samples" / f"{stem}.png"), picture)


def make_sweep(folder):
    """Raw and penalty with B = 0.1 and 0.3, seeds 0 and 1, a folder a cell."""
    raw = {0: scores(1.0, 0.9), 1: scores(0.9, 0.8)}
    found = {
        (0.1, 0): scores(0.9, 0.8),
        (0.1, 1): scores(0.8, 0.7),
        (0.3, 0): scores(0.8, 0.5),
        (0.3, 1): scores(0.6, 0.6),
    }
    runs = [make_run(folder / f"raw-seed{seed}", "raw", seed, raw[seed]) for seed in raw]
    for (budget, seed), entry in found.items():
        name = f"penalty-B{budget}-seed{seed}"
        runs.append(make_run(folder / name, "penalty", seed, entry, budget=budget))
    return runs


def compare(folders, output):
    """The two pages with plain spaces, and the numbers."""
    write_comparison(folders, output)
    html, markdown = (
        (output / name).read_text().replace("\u00a0", " ") for name in ("report.html", "report.md")
    )
    return html, markdown, json.loads((output / "report.json").read_text())
