"""PyTorch's side of the training steps: the same losses and updates, as torch users write them."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import workloads
from benchmarks.contestants import Program
from benchmarks.torch_networks import load_network
from benchmarks.workloads import Workload


class Training:
    """The networks of a workload, their optimizers, and one method for each kind of step.

    Attributes:
      nets: by name.
    """

    def __init__(
        self,
        folder: Path,
        workload: Workload,
        *,
        device: str = "cpu",
        channels_last: bool = False,
    ):
        """With dtype "bfloat16" the steps run under torch's automatic mixed precision."""
        self._device, self._workload = device, workload
        self.nets = {}
        for name in workload.networks:
            self.nets[name] = load_network(workload, name, folder).to(device)
            if channels_last:
                three = name == "action"
                layout = torch.channels_last_3d if three else torch.channels_last
                self.nets[name].to(memory_format=layout)  # type: ignore[call-overload]
        self._optimizers = {
            name: torch.optim.Adam(net.parameters(), workloads.LEARNING_RATES[name])
            for name, net in self.nets.items()
        }
        self._batch = _to_tensors(workloads.make_batch(workload), device)
        self._half = workload.dtype == "bfloat16"

    def run(self) -> dict[str, torch.Tensor]:
        """One call of the workload's kind; the losses, on the device."""
        autocast = (
            torch.autocast(self._device, torch.bfloat16) if self._half else contextlib.nullcontext()
        )
        with autocast:
            return getattr(self, f"_{self._workload.kind}")()

    def wait(self) -> None:
        """One call, until all is computed."""
        self.run()
        if self._device != "cpu":
            torch.cuda.synchronize()

    def losses(self, calls: int = 2) -> dict[str, np.ndarray]:
        """The losses of the first calls of a new instance that can be compared."""
        found = [{k: float(v) for k, v in self.run().items()} for _ in range(calls)]
        return workloads.compared_losses(self._workload, found)

    def anonymized(self) -> np.ndarray:
        """f_A's output [N, H, W, 3] in evaluation mode."""
        return self._anonymize()["frames"].permute(0, 2, 3, 1).cpu().numpy()

    def _train(self, *names: str) -> None:
        for name, net in self.nets.items():
            net.train(name in names).requires_grad_(name in names)

    def _update(self, loss: torch.Tensor, *names: str) -> None:
        for name in names:
            self._optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        for name in names:
            self._optimizers[name].step()

    def _anonymize(self) -> dict[str, torch.Tensor]:
        with torch.inference_mode():
            return {"frames": self.nets["anonymizer"](_to_float(self._batch["image"]))}

    def _reconstruct(self) -> dict[str, torch.Tensor]:
        self._train("anonymizer")
        images = _to_float(self._batch["image"])
        loss = (self.nets["anonymizer"](images).float() - images).abs().mean()
        self._update(loss, "anonymizer")
        return {"anonymizer/loss": loss.detach()}

    def _action(self) -> dict[str, torch.Tensor]:
        self._train("action")
        logits, _ = self.nets["action"](_channels_first(_to_float(self._batch["frames"])))
        loss = functional.cross_entropy(logits.float(), self._batch["action"])
        self._update(loss, "action")
        return {"action/loss": loss.detach()}

    def _contrast(self) -> dict[str, torch.Tensor]:
        self._train("privacy")
        loss = _nt_xent(self.nets["privacy"](_views(self._batch))[0].float())
        self._update(loss, "privacy")
        return {"privacy/loss": loss.detach()}

    def _minimax(self) -> dict[str, torch.Tensor]:
        """Step 1 of f_A, then step 2 of f_T and f_B (arXiv 2504.14301, Sec. 3)."""
        frames = _to_float(self._batch["clip"]["frames"])  # [B, 3, T, H, W]
        return self._step_of_anonymizer(frames) | self._step_of_adversaries(frames)

    def _step_of_anonymizer(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        self._train("anonymizer")
        images, views = _images(frames), _views(self._batch["image"])
        output = self.nets["anonymizer"](torch.cat([images, views])).float()
        anonymized = output[: len(images)]
        logits, _ = self.nets["action"](_clips(anonymized, frames.shape))
        embeddings, _ = self.nets["privacy"](output[len(images) :])
        action = functional.cross_entropy(logits.float(), self._batch["clip"]["action"])
        privacy = _nt_xent(embeddings.float())
        distance = (images - anonymized).square().mean().sqrt()
        loss = action - privacy + torch.relu(distance - workloads.BUDGET)
        self._update(loss, "anonymizer")
        terms = {"loss": loss, "action_loss": action, "privacy_loss": privacy}
        return {f"anonymizer/{name}": term.detach() for name, term in terms.items()}

    def _step_of_adversaries(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        self._train("action", "privacy")
        with torch.no_grad():
            clips = _clips(self.nets["anonymizer"](_images(frames)).float(), frames.shape)
            views = self.nets["anonymizer"](_views(self._batch["image"])).float()
        logits, _ = self.nets["action"](clips)
        embeddings, _ = self.nets["privacy"](views)
        action = functional.cross_entropy(logits.float(), self._batch["clip"]["action"])
        privacy = _nt_xent(embeddings.float())
        self._update(action + privacy, "action", "privacy")
        return {"action/loss": action.detach(), "privacy/loss": privacy.detach()}


def programs(
    folder: Path, *, rows: Mapping[str, Mapping[str, Any]], channels_last: bool = False
) -> dict[str, Program]:
    """The programs of the workloads `rows`, {name: fields of Workload}, on the CPU."""
    made = {}
    for name, fields in rows.items():
        workload = Workload(**fields)
        training = Training(folder, workload, channels_last=channels_last)
        results = training.losses
        if workload.kind == "anonymize":
            results = _as_results(training)
        made[name] = Program(training.wait, results, {"flop": count_flop(folder, workload)})
    return made


def count_flop(folder: Path, workload: Workload) -> float:
    """Operations of a call's convolutions and matrix products: 2 a multiplication and addition.

    Counted on torch's device "meta", which computes nothing: those of the networks as published,
    not of the forms that a library chooses for them.
    """
    training = Training(folder, workload, device="meta")
    with FlopCounterMode(display=False) as counter:
        training.run()
    return float(counter.get_total_flops())


def peak(folder: Path, *, sides: tuple[int, ...]) -> dict[str, Program]:
    """Products of square float32 matrices: what the cores can do."""
    del folder
    return {f"matmul {side}": _product(side) for side in sides}


def _product(side: int) -> Program:
    drawn = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
    matrix = torch.from_numpy(drawn)
    return Program(
        run=lambda: matrix @ matrix,
        results=lambda: {"product": (matrix @ matrix).numpy()},
        facts={"flop": 2.0 * side**3},
    )


def _as_results(training: Training) -> Any:
    return lambda: {"frames": training.anonymized()}


def _to_tensors(tree: Any, device: str) -> Any:
    if isinstance(tree, dict):
        return {name: _to_tensors(value, device) for name, value in tree.items()}
    if tree.dtype == np.int32:
        tree = tree.astype(np.int64)  # what torch wants of class indices
    return torch.from_numpy(tree).to(device)


def _to_float(frames: torch.Tensor) -> torch.Tensor:
    """uint8 [..., H, W, 3] -> float32 [..., 3, H, W] in [0, 1]; of a clip [B, T, 3, H, W]."""
    return frames.movedim(-1, -3).float() / 255.0


def _channels_first(clips: torch.Tensor) -> torch.Tensor:
    """[B, T, 3, H, W] -> [B, 3, T, H, W]."""
    return clips.transpose(1, 2)


def _images(frames: torch.Tensor) -> torch.Tensor:
    """[B, T, 3, H, W] -> [B*T, 3, H, W]."""
    return frames.flatten(0, 1)


def _clips(images: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """[B*T, 3, H, W] -> [B, 3, T, H, W], for `shape` [B, T, 3, H, W]."""
    return _channels_first(images.unflatten(0, tuple(shape[:2])))


def _views(image: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Both views of the images, first views first: [2N, 3, H, W]."""
    return _to_float(torch.cat([image["image"], image["view_b"]]))


def _nt_xent(embeddings: torch.Tensor) -> torch.Tensor:
    """NT-Xent (arXiv 2002.05709, Eq. 1) of unit vectors [2N, D], first views first."""
    count = len(embeddings)
    logits = embeddings @ embeddings.T / workloads.TEMPERATURE
    itself = torch.eye(count, dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(itself, float("-inf"))
    positives = torch.arange(count, device=logits.device).roll(count // 2)
    return functional.cross_entropy(logits, positives)
