"""The decoder of the phase "evaluate_reconstruction": it draws raw frames from anonymized ones."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from anon_jax import distributed, image_metrics
from anon_jax.evaluation import Predict, make_decoder_predictor, predict_batches
from anon_jax.models import build_model
from anon_jax.phases import setup, streams
from anon_jax.phases.attackers import FrozenNet, new_attacker, train_attacker
from anon_jax.phases.datasets import make_obfuscator
from anon_jax.sharding import replicate, to_host
from anon_jax.state import NetState, TrainState, frozen, new_state
from anon_jax.steps import Networks, make_decoder_step
from anon_jax.writers import save_comparison
from input_pipeline.loader import evaluation_batches
from input_pipeline.records import RecordSource
from input_pipeline.specs import DatasetSpec
from input_pipeline.transforms import EvaluationImage

NAME = "evaluate_reconstruction"
SAMPLES = 8  # frames in a picture of samples/

# dB. Frames have 8 bits: rounding alone is an error of 1 / sqrt(12) levels. A frame that is nearer
# to the raw one, or equal to it, counts as this near, so that means stay finite.
PSNR_CEILING = 20 * np.log10(255 * np.sqrt(12))


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A decoder that has learned what one method lets through of one dataset.

    Attributes:
      networks: "decoder" and, where the method has one, "anonymizer".
      nets: their states as NumPy arrays, of the decoder's best epoch on validation.
      facts: how it was trained.
    """

    networks: Networks
    nets: dict[str, NetState]
    facts: dict[str, Any]

    @property
    def frozen_net(self) -> FrozenNet:
        """The decoder alone, to stand before an attacker."""
        return FrozenNet(self.networks["decoder"], self.nets["decoder"])


def train(run: setup.Run, method: str, spec: DatasetSpec) -> Decoder:
    """Trains a decoder, or restores it where it has learned; PSNR on validation chooses its epoch.

    Its output lies in [0, 1] (sigmoid), whatever f_A's does.
    """
    section, source = run.config[NAME], RecordSource(spec, "train")
    name = section.network or run.config.networks.anonymizer
    module = build_model(
        name,
        output_activation="sigmoid",
        remat=run.config.remat,
        dtype=jnp.dtype(run.config.dtype),
    )
    networks, state = new_attacker(
        run, method, phase=NAME, name="decoder", module=module, source=source
    )
    obfuscator = make_obfuscator(run.config, method, spec)
    predict = make_decoder_predictor(networks)
    stream = streams.image_stream(
        run, source, section.batch_size, name=NAME, views=1, obfuscator=obfuscator, raw=True
    )

    def score(state: TrainState) -> float:
        # Without the SSIM, which takes most of a test's time.
        views = run.config.evaluate_privacy.test_frames
        found = [
            {"psnr": capped_psnr(outputs["raw"], outputs["reconstructed"])}
            for outputs, _ in over_split(run, method, spec, predict, state, "validation", views)
        ]
        return mean_over_frames(found)[0]["psnr"]

    best = train_attacker(
        run,
        method,
        state,
        make_decoder_step(networks, seed=run.seed(NAME), accumulate=section.accumulate),
        stream,
        phase=NAME,
        source=source,
        score=score,
    )
    num_steps, _ = setup.length(section, source)
    return Decoder(
        networks,
        to_host({name: frozen(net) for name, net in best.nets.items()}),
        {"decoder": name, "steps": num_steps, "best_step": int(best.step)},
    )


def test(run: setup.Run, method: str, spec: DatasetSpec, decoder: Decoder) -> dict[str, Any]:
    """PSNR and SSIM on the test split, means over frames; writes a picture of some of them."""
    split = spec.test_split
    picture = _Picture(len(RecordSource(spec, split)))
    predict = make_decoder_predictor(decoder.networks)
    state = replicate(new_state(decoder.nets), run.mesh)
    views = run.config.evaluate_privacy.test_frames
    found = []
    for outputs, batch in over_split(run, method, spec, predict, state, split, views):
        picture.add(outputs, batch["index"])
        anonymized = nearness(outputs["raw"], outputs["anonymized"])
        figures = nearness(outputs["raw"], outputs["reconstructed"])
        figures |= {f"anonymized_{name}": values for name, values in anonymized.items()}
        found.append(figures)
    means, frames = mean_over_frames(found)
    save_comparison(run.workdir / "samples" / f"reconstruction-{method}.png", picture.rows())
    return {"split": split, "frames": frames, **means}


def over_split(
    run: setup.Run,
    method: str,
    spec: DatasetSpec,
    predict: Predict,
    state: TrainState,
    split: str,
    views: int,
) -> Iterator[tuple[Any, Any]]:
    """(outputs, labels) over `views` frames of each record of a split, in order.

    `predict` gets batches with the entries "image" and "raw"; see `evaluation.predict_batches`.
    """
    data = run.config.data
    obfuscator = make_obfuscator(run.config, method, spec)
    batches = evaluation_batches(
        RecordSource(spec, split),
        EvaluationImage(data.resolution, data.test_crop_scale, obfuscator, raw=True),
        views=views if spec.kind == "video" else 1,
        num_threads=data.num_threads,
        prefetch=data.prefetch,
        **distributed.share(run.config[NAME].batch_size),
    )
    return predict_batches(predict, state, batches, run.mesh)


def capped_psnr(raw: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """PSNR [N] in dB of frames [N, H, W, 3] in [0, 1], at most PSNR_CEILING."""
    return np.minimum(image_metrics.psnr(frames, raw), PSNR_CEILING)


def nearness(raw: np.ndarray, frames: np.ndarray) -> dict[str, np.ndarray]:
    """ "psnr" and "ssim" [N] of frames [N, H, W, 3] in [0, 1] to the raw ones."""
    return {"psnr": capped_psnr(raw, frames), "ssim": image_metrics.ssim(frames, raw)}


def mean_over_frames(found: list[dict[str, np.ndarray]]) -> tuple[dict[str, float], int]:
    """The mean of each figure over the frames of all batches, and how many frames there were."""
    figures = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    count = len(next(iter(figures.values())))
    return {name: float(values.mean()) for name, values in figures.items()}, count


class _Picture:
    """The first frame of some records, spread evenly over a split."""

    def __init__(self, num_records: int):
        self._wanted = set(np.linspace(0, num_records - 1, SAMPLES).round().astype(int).tolist())
        self._columns: list[list[np.ndarray]] = []

    def add(self, outputs: dict[str, np.ndarray], indices: np.ndarray) -> None:
        for place, index in enumerate(indices.tolist()):
            if index in self._wanted:
                self._wanted.remove(index)
                names = ("raw", "anonymized", "reconstructed")
                self._columns.append([outputs[name][place] for name in names])

    def rows(self) -> list[np.ndarray]:
        """Raw, anonymized and reconstructed frames, each [N, H, W, 3]."""
        return [np.stack(row) for row in zip(*self._columns, strict=True)]
