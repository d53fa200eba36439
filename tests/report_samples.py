"""A small workdir made by hand, as a run would leave it, for the tests of the report."""

import json

import cv2
import numpy as np


def _privacy(cmap, leakage, split="test"):
    return {
        "cmap": cmap,
        "f1": 0.5,
        "f1_tuned": 0.6,
        "f1_published": 0.4,
        "auroc": 0.7,
        "chance_cmap": 0.35,
        "always_yes_f1": 0.51,
        "per_attribute": {
            "glasses": {"ap": cmap + 0.05, "prevalence": 0.3, "auroc": 0.71, "f1": 0.5},
            "skin": {"ap": cmap - 0.05, "prevalence": 0.4, "auroc": 0.69, "f1": 0.5},
        },
        "left_out": ["tattoo"],
        "split": split,
        "steps": 700,
        "best_step": 600,
        "normalised_leakage": leakage,
    }


def _action(top1, split="test"):
    return {
        "top1": top1,
        "chance": 0.125,
        "majority": 0.14,
        "num_videos": 600,
        "split": split,
        "steps": 500,
        "best_step": 400,
    }


def results_of_penalty(split="test"):
    """results.json of a run that never exceeded its budget."""
    return {
        "methods": {
            "penalty": {"action": _action(0.8, split), "privacy": _privacy(0.65, 0.5, split)},
            "raw": {"action": _action(0.96, split), "privacy": _privacy(0.95, 1.0, split)},
        },
        "method": "penalty",
        "seed": 7,
        "datasets": {"videos": "ucf101", "images": "vispr"},
        "minimax": {"penalty/distance": 0.1234, "penalty/active": 0.0},
        "versions": {"jax": "0.10.2"},
        "seconds": {"reconstruct": 41.25, "minimax": 3725.0},
    }


def config_of_penalty(mode="hinge", budget=0.3):
    """The part of config.json that the report reads."""
    return {
        "method": "penalty",
        "evaluate_privacy": {"source": "images"},
        "minimax": {
            "batch_images": 8,
            "weights": {"action": 1.0, "privacy": 1.0, "penalty": 1.0},
            "penalty": {
                "budget": budget,
                "mode": mode,
                "reduction": "batch",
                "space": "pixel",
                "multiplier_max": 100.0,
            },
        },
    }


def minimax_lines(active):
    """A line each 10 steps; the first is of the warm-up, in which f_A is not updated."""
    lines = [{"step": 10, "action/loss": 2.0}]
    for index, share in enumerate(active):
        lines.append(
            {"step": 20 + 10 * index, "penalty/distance": 0.1, "penalty/active": share}
            | {"anonymizer/loss": -1.0}
        )
    return lines


def write_lines(path, lines):
    """Writes a metrics file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_workdir(folder, results=None, config=None):
    """Only the two files that each run has."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results or results_of_penalty()))
    (folder / "config.json").write_text(json.dumps(config or config_of_penalty()))
    return folder


def add_metrics_and_samples(workdir, steps=(100, 200)):
    """Metrics of the minimax training and of both evaluations, and a picture a step."""
    write_lines(workdir / "metrics" / "minimax.jsonl", minimax_lines([0.0, 0.0]))
    for method in ("raw", "penalty"):
        lines = [{"step": 10, "action/loss": 2.0}, {"step": 10, "validation/score": 0.4}]
        write_lines(workdir / "metrics" / "evaluate_action" / f"{method}.jsonl", lines)
    (workdir / "samples").mkdir()
    for step in steps:
        picture = np.full((4, 8, 3), step % 256, np.uint8)
        assert cv2.imwrite(str(workdir / "samples" / f"{step:06d}.png"), picture)
    return workdir


def add_stronger_attacks(results):
    """The further measurements of a run in results.json, as its last phases leave them."""
    for method, cmap in (("raw", 0.95), ("penalty", 0.65)):
        found = results["methods"][method]
        found["action"]["top1_interval"] = [0.75, 0.84]
        found["privacy"] |= {
            "cmap_interval": [cmap - 0.04, cmap + 0.03],
            "attacker": "resnet18-seed1",
            "attackers": {
                "resnet18-seed0": _attacker(cmap - 0.02),
                "resnet18-seed1": _attacker(cmap),
                "i3d_tiny-seed0": _attacker(cmap - 0.1),
                "resnet18-pretrained": _attacker(cmap - 0.01),
            },
        }
        found["identity"] = identity(0.9 if method == "raw" else 0.3)
    results["methods"]["raw"]["frames"] = frames(0.0)
    results["methods"]["raw"]["worst_case"] = _worst("direct", "resnet18-seed1", 0.95, 1.0)
    penalty = results["methods"]["penalty"]
    penalty["frames"] = frames(0.12)
    penalty["reconstruction"] = reconstruction(0.71, 0.74)
    penalty["worst_case"] = _worst("white_box", "resnet18-seed0", 0.74, 0.65)
    return results


def reconstruction(cmap, white_box):
    """reconstruction.json; `white_box` is the cMAP of the white box, None = not tried."""
    box = {
        **{"steps": 30, "frames": 64, "psnr": 31.5, "ssim": 0.94, "decoder_psnr": 24.1},
        **{"decoder_ssim": 0.81, "mismatch": 0.012, "mismatch_before": 0.043, "cmap": white_box},
        **{"auroc": 0.8, "attacker": "resnet18-seed0"},
    }
    return {
        **{"decoder": "unetpp_tiny", "steps": 900, "best_step": 800, "split": "test"},
        **{"frames": 3000, "psnr": 24.2, "ssim": 0.82},
        **{"anonymized_psnr": 15.3, "anonymized_ssim": 0.44},
        "privacy": {
            **_privacy(cmap, None),
            "attacker": "resnet18-seed0",
            "attackers": {"resnet18-seed0": _attacker(cmap)},
        },
        "white_box": None if white_box is None else box,
    }


def identity(rank1):
    """identity.json."""
    return {
        **{"rank1": rank1, "map": rank1 / 2, "chance_rank1": 0.05, "chance_map": 0.08},
        **{"num_queries": 240, "num_people": 20, "network": "resnet18", "steps": 400},
        **{"best_step": 300, "split": "test"},
    }


def frames(distance, ms=8.25, backend="cpu"):
    """frames.json; at a distance of 0 nothing is changed, and nothing is computed."""
    same = distance == 0
    return {
        **{"videos": 200, "frames": 3200, "split": "test", "distance": distance},
        **{"flicker": 0.004 if same else 0.01, "raw_flicker": 0.004},
        **{"psnr": None if same else 18.4, "ssim": 1.0 if same else 0.61},
        "cost": {
            **{"parameters": 0 if same else 1234567, "gflops_per_frame": 0.0 if same else 4.5},
            **{"ms_per_frame": 0.0 if same else ms, "frames_per_call": 16, "backend": backend},
        },
    }


def _attacker(cmap):
    return {"cmap": cmap, "auroc": 0.7, "f1": 0.5, "f1_tuned": 0.6, "best_step": 600}


def _worst(attack, attacker, cmap, leakage):
    return {
        **{"cmap": cmap, "attack": attack, "attacker": attacker},
        "normalised_leakage": leakage,
    }
