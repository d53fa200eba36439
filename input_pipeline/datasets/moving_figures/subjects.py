"""The people of moving_figures: their private attributes and how these look and move."""

import dataclasses

import numpy as np

from input_pipeline.datasets.moving_figures.colours import hsv
from input_pipeline.datasets.moving_figures.figures import Looks


@dataclasses.dataclass(frozen=True)
class Subject:
    """A person.

    Attributes:
      looks: what is drawn.
      amplitude: how far this person moves, 1 for a large motion.
      companion: looks of the person who always stands by, or None.
      companion_side: -1 left or 1 right, before mirroring.
    """

    looks: Looks
    amplitude: float
    companion: Looks | None
    companion_side: float


def draw_traits(
    rng: np.random.Generator, prevalence: dict[str, float], subjects: int
) -> list[dict[str, bool]]:
    """The traits of every subject of a split.

    Each trait is held by its share of the subjects to the nearest whole number, and is dealt out
    independently of the others: small splits have the stated prevalence too.
    """
    columns = {
        trait: rng.permutation(subjects) < round(share * subjects)
        for trait, share in prevalence.items()
    }
    return [{trait: bool(column[i]) for trait, column in columns.items()} for i in range(subjects)]


def draw_subject(rng: np.random.Generator, traits: dict[str, bool]) -> Subject:
    """Draws a person who has the given traits (those left out are absent)."""
    looks = _draw_looks(rng, traits)
    bystander = {trait: bool(rng.random() < 0.5) for trait in ("skin", "warm_clothes", "fair_hair")}
    companion = _draw_looks(rng, bystander)
    side = float(rng.choice([-1.0, 1.0]))
    low, high = (0.92, 1.05) if traits.get("large_motion") else (0.56, 0.69)
    return Subject(
        looks=looks,
        amplitude=rng.uniform(low, high),
        companion=companion if traits.get("second_person") else None,
        companion_side=side,
    )


def _draw_looks(rng: np.random.Generator, traits: dict[str, bool]) -> Looks:
    """Colours and measures vary within their class from person to person."""

    def has(trait: str) -> bool:
        return traits.get(trait, False)

    skin = (
        hsv(rng.uniform(0.04, 0.07), rng.uniform(0.5, 0.6), rng.uniform(0.36, 0.5))
        if has("skin")
        else hsv(rng.uniform(0.04, 0.08), rng.uniform(0.2, 0.38), rng.uniform(0.85, 0.98))
    )
    hair = (
        hsv(rng.uniform(0.08, 0.14), rng.uniform(0.4, 0.7), rng.uniform(0.65, 0.85))
        if has("fair_hair")
        else hsv(rng.uniform(0.0, 0.1), rng.uniform(0.2, 0.6), rng.uniform(0.08, 0.25))
    )
    hue = rng.uniform(-0.05, 0.13) if has("warm_clothes") else rng.uniform(0.36, 0.68)
    shirt = hsv(hue, rng.uniform(0.65, 0.9), rng.uniform(0.45, 0.75))
    brightness = rng.uniform(0.7, 0.9) if has("light_trousers") else rng.uniform(0.2, 0.42)
    trousers = hsv(rng.uniform(), rng.uniform(0.05, 0.35), brightness)
    broad = has("broad_build")
    return Looks(
        skin=skin,
        hair=hair,
        shirt=shirt,
        stripe=hsv(rng.uniform(), rng.uniform(0.0, 0.12), 0.97) if has("stripes") else None,
        trousers=trousers,
        accent=hsv(rng.uniform(), rng.uniform(0.5, 0.9), rng.uniform(0.35, 0.9)),
        shoulder=rng.uniform(0.15, 0.165) if broad else rng.uniform(0.1, 0.115),
        trunk=rng.uniform(0.135, 0.15) if broad else rng.uniform(0.085, 0.1),
        limb=rng.uniform(0.052, 0.058) if broad else rng.uniform(0.044, 0.05),
        long_hair=has("long_hair"),
        glasses=has("glasses"),
        hat=has("hat"),
        beard=has("beard"),
        bag=has("bag"),
        bare_legs=has("bare_legs"),
    )
