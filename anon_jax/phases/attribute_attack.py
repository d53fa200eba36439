"""An attack on the private attributes: a classifier learns them from what a method lets through."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from anon_jax import distributed, metrics
from anon_jax.evaluation import (
    Predict,
    make_attribute_predictor,
    predict_split,
    split_probabilities,
)
from anon_jax.metric_reports import privacy_report
from anon_jax.phases import modules, setup, streams
from anon_jax.phases.attackers import FrozenNet, measure_once, new_attacker, train_attacker
from anon_jax.phases.datasets import Attacked, make_obfuscator
from anon_jax.phases.pretrained import with_trunk
from anon_jax.state import TrainState
from anon_jax.steps import Networks, make_attribute_step
from input_pipeline.index import read_index
from input_pipeline.loader import evaluation_batches
from input_pipeline.obfuscation import Obfuscator
from input_pipeline.records import RecordSource
from input_pipeline.transforms import EvaluationImage

_BUDGET = "evaluate_privacy"  # the section that all these attackers learn by
_COMPARED = ("cmap", "auroc", "f1", "f1_tuned", "best_step")  # of the attackers beside each other

Test = Callable[[TrainState], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Attacker:
    """One of those that attack a method.

    Attributes:
      network: row of MODELS; an I3D sees whole clips, a ResNet frames.
      seed: of its initial parameters and of the order of its data.
      label: tells it from the first one, whose files carry the method's name alone.
      trunk: one of `pretrained.trunks`, the network that it starts from, with a new head; "" = it
        learns from scratch.
    """

    network: str
    seed: int
    label: str
    trunk: str = ""

    @property
    def name(self) -> str:
        """As results and reports call it."""
        return f"{self.network}-{'pretrained' if self.trunk else f'seed{self.seed}'}"

    @property
    def sees_clips(self) -> bool:
        """Whether it takes clips instead of frames."""
        return modules.sees_clips(self.network)


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attacker that has learned.

    Attributes:
      networks: it, as "privacy", and what stands before it.
      state: of the best epoch on validation.
      validate, test: state -> probabilities and labels of the split, both
        [records, attributes], in the order of the records.
      facts: how it was trained.
    """

    networks: Networks
    state: TrainState
    validate: Test
    test: Test
    facts: dict[str, Any]


def train(
    run: setup.Run,
    method: str,
    attacked: Attacked,
    attacker: Attacker,
    *,
    folder: str = "",
    decoder: FrozenNet | None = None,
) -> Attack:
    """Trains one attacker by the budget of evaluate_privacy, or restores it where it has learned.

    Args:
      folder: of its checkpoints and metrics; "" = those of evaluate_privacy.
      decoder: it attacks what this draws of the anonymized frames.
    """
    section, source = run.config[_BUDGET], RecordSource(attacked.learned, "train")
    networks, state = new_attacker(
        run,
        method,
        phase=_BUDGET,
        name="privacy",
        module=modules.attributes(run.config, attacker.network, len(attacked.learned.attributes)),
        source=source,
        seed=attacker.seed,
        clips=attacker.sees_clips,
        decoder=decoder,
    )
    if attacker.trunk:
        network, fresh = networks["privacy"], state.nets["privacy"]
        net = with_trunk(run.config, attacker.trunk, network, fresh, run.mesh)
        state = state.replace(nets={**state.nets, "privacy": net})
    obfuscator = tested = make_obfuscator(run.config, method, attacked.learned)
    if attacked.tested is not attacked.learned:
        tested = make_obfuscator(run.config, method, attacked.tested)
    predict = make_attribute_predictor(networks, _frames(attacker.sees_clips))
    validate, test = (
        _tester(run, predict, RecordSource(*records), hidden, attacker.sees_clips)
        for records, hidden in (
            ((attacked.learned, "validation"), obfuscator),
            ((attacked.tested, attacked.tested.test_split), tested),
        )
    )
    purpose = f"{_BUDGET}/{attacker.seed}" if attacker.seed else _BUDGET
    stream = (
        streams.clip_stream(run, source, section.batch_size, name=purpose, obfuscator=obfuscator)
        if attacker.sees_clips
        else streams.image_stream(
            run, source, section.batch_size, name=purpose, views=1, obfuscator=obfuscator
        )
    )
    best = train_attacker(
        run,
        method,
        state,
        make_attribute_step(
            networks,
            frames=_frames(attacker.sees_clips),
            seed=run.seed(purpose),
            accumulate=section.accumulate,
        ),
        stream,
        phase=_BUDGET,
        folder=folder,
        label=attacker.label,
        source=source,
        score=lambda state: metrics.cmap(*validate(state)),
    )
    num_steps, _ = setup.length(section, source)
    facts = {"steps": num_steps, "best_step": int(best.step), **tested.facts()}
    return Attack(networks, best, validate, test, facts)


def report(attack: Attack, attacked: Attacked) -> dict[str, Any]:
    """What the attacker reads of the test split; sigmoid averaged over the views of a record."""
    spec, split = attacked.tested, attacked.tested.test_split
    found = privacy_report(
        *attack.test(attack.state),
        spec.attributes,
        thresholds=metrics.tune_thresholds(*attack.validate(attack.state)),
        groups=[row.group for row in read_index(spec, split)],
    )
    return {**found, "split": split, **attack.facts}


def strongest(
    run: setup.Run,
    method: str,
    attackers: Sequence[Attacker],
    measure: Callable[[Attacker], dict[str, Any]],
    *,
    folder: str,
) -> dict[str, Any]:
    """The report of the strongest attacker (VITA's protocol), and the main figures of all.

    Each one's report is kept below `folder` of the method's results.
    """
    reports = {}
    for attacker in attackers:
        kept = f"{folder}/{attacker.name}"
        reports[attacker.name] = measure_once(run, method, kept, partial(measure, attacker))
    first = max(reports, key=lambda name: reports[name]["cmap"])
    compared = {
        name: {key: found[key] for key in _COMPARED if key in found}
        for name, found in reports.items()
    }
    return {**reports[first], "attacker": first, "attackers": compared}


def _frames(clips: bool) -> str:
    """The entry of a batch that an attacker sees."""
    return "frames" if clips else "image"


def _tester(
    run: setup.Run, predict: Predict, source: RecordSource, obfuscator: Obfuscator, clips: bool
) -> Test:
    data, section = run.config.data, run.config[_BUDGET]
    transform = (
        streams.evaluation_clip(run, obfuscator)
        if clips
        else EvaluationImage(data.resolution, data.test_crop_scale, obfuscator)
    )
    views = data.test_clips if clips else section.test_frames

    def test(state: TrainState) -> tuple[np.ndarray, np.ndarray]:
        batches = evaluation_batches(
            source,
            transform,
            views=views if source.spec.kind == "video" else 1,
            num_threads=data.num_threads,
            prefetch=data.prefetch,
            **distributed.share(section.batch_size),
        )
        outputs = predict_split(predict, state, batches, run.mesh, label="attributes")
        return split_probabilities(*outputs)

    return test
