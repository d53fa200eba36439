"""Phase "evaluate_privacy": how much fresh classifiers read of the private attributes."""

from typing import Any

from anon_jax.phases import attribute_attack, setup
from anon_jax.phases.attribute_attack import Attacker
from anon_jax.phases.datasets import Attacked, attacked_attributes
from anon_jax.phases.pretrained import trunks
from anon_jax.results import has_result, write_result

NAME = "evaluate_privacy"


def attackers(run: setup.Run) -> list[Attacker]:
    """All that attack each method, with equal budgets (VITA's protocol: the strongest counts)."""
    section, networks = run.config.evaluate_privacy, run.config.networks
    pairs = [
        (network, seed)
        for network in section.networks or (networks.privacy,)
        for seed in range(section.seeds)
    ]
    fresh = [
        Attacker(network, seed, f"-{network}-seed{seed}" if index else "")
        for index, (network, seed) in enumerate(pairs)
    ]
    started = [
        Attacker(networks[trunk], 0, f"-{networks[trunk]}-pretrained", trunk)
        for trunk in trunks(run.config)
    ]
    return [*fresh, *started]


def run(run: setup.Run) -> None:
    """Trains and tests the attackers of each evaluated method that have no result yet."""
    attacked = attacked_attributes(run.config, run.datasets)
    for method in run.evaluated:
        if not has_result(run.workdir, method, "privacy"):
            write_result(run.workdir, method, "privacy", _evaluate(run, method, attacked))


def _evaluate(run: setup.Run, method: str, attacked: Attacked) -> dict[str, Any]:
    def measure(attacker: Attacker) -> dict[str, Any]:
        attack = attribute_attack.train(run, method, attacked, attacker)
        return attribute_attack.report(attack, attacked)

    return attribute_attack.strongest(run, method, attackers(run), measure, folder="attackers")
