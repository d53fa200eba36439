"""Phase "evaluate_reconstruction": how much of the raw frame, and of the attributes, is drawn back.

Attacks that go beyond a classifier of the anonymized frames: a decoder that draws the raw frame,
fresh attackers of what it draws, and, where the attacker knows f_A's weights, an inversion of f_A
by gradient descent from what it draws.
"""

from typing import Any

import jax
import numpy as np

from anon_jax import metrics
from anon_jax.evaluation import split_probabilities
from anon_jax.inversion import invert, squared_mismatch
from anon_jax.methods import get_method
from anon_jax.phases import attribute_attack, decoder, setup
from anon_jax.phases.attackers import measure_once
from anon_jax.phases.attribute_attack import Attacker
from anon_jax.phases.datasets import Attacked, attacked_attributes
from anon_jax.phases.decoder import NAME, mean_over_frames, nearness
from anon_jax.results import has_result, write_result
from anon_jax.sharding import replicate, to_host
from anon_jax.state import NetState, TrainState, frozen, new_state
from anon_jax.steps import Batch, Networks, anonymize, to_float, without_decoder
from input_pipeline.specs import DatasetSpec

_KEPT = "reconstruction"  # folder of the parts of a method's result


def run(run: setup.Run) -> None:
    """Attacks each evaluated method that hides anything and has no result yet."""
    attacked = attacked_attributes(run.config, run.datasets)
    for method in run.evaluated:
        row = get_method(method)
        hides = row.learned or row.obfuscation
        if hides and not has_result(run.workdir, method, "reconstruction"):
            write_result(run.workdir, method, "reconstruction", _evaluate(run, method, attacked))


def attackers(run: setup.Run) -> list[Attacker]:
    """All that read the attributes from what the decoder draws, with equal budgets."""
    names = run.config[NAME].networks or (run.config.networks.privacy,)
    return [Attacker(network, 0, f"-{network}-seed0") for network in names]


def _evaluate(run: setup.Run, method: str, attacked: Attacked) -> dict[str, Any]:
    drawer = decoder.train(run, method, attacked.learned)

    def train(attacker: Attacker) -> attribute_attack.Attack:
        return attribute_attack.train(
            run, method, attacked, attacker, folder=NAME, decoder=drawer.frozen_net
        )

    drawn = measure_once(
        run, method, f"{_KEPT}/decoder", lambda: decoder.test(run, method, attacked.tested, drawer)
    )
    privacy = attribute_attack.strongest(
        run,
        method,
        attackers(run),
        lambda attacker: attribute_attack.report(train(attacker), attacked),
        folder=f"{_KEPT}/attackers",
    )
    white_box = None
    if setup.is_learned(method) and run.config[NAME].inversion_steps:
        reader = _strongest_of_frames(run, privacy)

        def measure() -> dict[str, Any]:
            attack = train(reader) if reader else None
            figures = _invert(run, method, attacked.tested, drawer, attack)
            return {**figures, "attacker": reader.name if reader else None}

        white_box = measure_once(run, method, f"{_KEPT}/white_box", measure)
    return {**drawer.facts, **drawn, "privacy": privacy, "white_box": white_box}


def _strongest_of_frames(run: setup.Run, privacy: dict[str, Any]) -> Attacker | None:
    of_frames = [attacker for attacker in attackers(run) if not attacker.sees_clips]
    compared = privacy["attackers"]
    return max(of_frames, key=lambda found: compared[found.name]["cmap"], default=None)


def _invert(
    run: setup.Run,
    method: str,
    spec: DatasetSpec,
    drawer: decoder.Decoder,
    attack: attribute_attack.Attack | None,
) -> dict[str, Any]:
    """The white box on `inversion_frames` frames of each test record; see `inversion.invert`.

    Args:
      attack: of single frames; it reads what the descent has made of the decoder's, and the mean
        of its sigmoid over the frames of a record counts.
    """
    section = run.config[NAME]
    networks, nets = dict(drawer.networks), dict(drawer.nets)
    if attack:
        networks["privacy"] = attack.networks["privacy"]
        nets["privacy"] = to_host(frozen(attack.state.nets["privacy"]))
    predict = _make_inverter(networks, section.inversion_steps, section.inversion_rate)
    state = replicate(new_state(nets), run.mesh)
    found, logits, labels, indices = [], [], [], []
    for outputs, batch in decoder.over_split(
        run, method, spec, predict, state, spec.test_split, section.inversion_frames
    ):
        before = nearness(outputs["raw"], outputs["drawn"])
        found.append(nearness(outputs["raw"], outputs["changed"]))
        found[-1] |= {f"decoder_{name}": values for name, values in before.items()}
        found[-1] |= {name: outputs[name] for name in ("mismatch", "mismatch_before")}
        logits.append(outputs.get("logits"))
        labels.append(batch["attributes"])
        indices.append(batch["index"])
    means, frames = mean_over_frames(found)
    roots = {name: float(np.sqrt(means[name])) for name in ("mismatch", "mismatch_before")}
    read: dict[str, float | None] = {"cmap": None, "auroc": None}
    if attack:
        scores = split_probabilities(*map(np.concatenate, (logits, labels, indices)))
        read = {"cmap": metrics.cmap(*scores), "auroc": metrics.macro_auroc(*scores)}
    return {"steps": section.inversion_steps, "frames": frames, **means, **roots, **read}


def _make_inverter(networks: Networks, steps: int, rate: float) -> Any:
    """(state, batch) -> frames, figures and logits of one batch.

    "raw", "drawn" by the decoder and "changed" from there, [B, H, W, 3] in [0, 1];
    the squared "mismatch" [B] and that before; and, with a network "privacy", its "logits".
    """

    def anonymizer(net: NetState, frames: jax.Array) -> jax.Array:
        return networks["anonymizer"].apply(net, frames)[0]

    def predict(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
        nets, frames = state.nets, to_float(batch["image"])
        seen = anonymize(networks, without_decoder(nets), frames)
        drawn = anonymize(networks, nets, frames)
        changed = invert(
            lambda x: anonymizer(nets["anonymizer"], x), seen, drawn, steps=steps, rate=rate
        )
        found = {"raw": to_float(batch["raw"]), "drawn": drawn, "changed": changed}
        for name, x in (("mismatch_before", drawn), ("mismatch", changed)):
            found[name] = squared_mismatch(anonymizer(nets["anonymizer"], x), seen)
        if "privacy" in nets:
            (found["logits"], _), _ = networks["privacy"].apply(nets["privacy"], changed)
        return found

    return jax.jit(predict)
