"""The two worlds of moving_figures as a table: actions, labelled traits, prevalence, background."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Domain:
    """A world of its own: what people do there, what is labelled of them, how it looks.

    Attributes:
      manifolds: rows of `actions.MANIFOLDS`; each gives two actions.
      attributes: labelled traits in column order.
      prevalence: trait -> share of the subjects that have it; those left out never occur.
      background: row of `scenes.BACKGROUNDS`.
    """

    manifolds: tuple[str, ...]
    attributes: tuple[str, ...]
    prevalence: dict[str, float]
    background: str


# What a 1 means is written in README.md. A row's place is part of its seeds: add at the end.
DOMAINS = {
    "a": Domain(
        manifolds=("one_arm_wave", "two_arm_wave", "squat", "drum"),
        attributes=(
            "skin",
            "glasses",
            "stripes",
            "warm_clothes",
            "long_hair",
            "broad_build",
            "second_person",
            "large_motion",
        ),
        prevalence={
            "skin": 0.5,
            "glasses": 0.35,
            "stripes": 0.3,
            "warm_clothes": 0.4,
            "long_hair": 0.45,
            "broad_build": 0.3,
            "second_person": 0.2,
            "large_motion": 0.4,
            "fair_hair": 0.3,
        },
        background="room",
    ),
    "b": Domain(
        manifolds=("march", "side_bend", "kick", "hand_roll"),
        attributes=("fair_hair", "hat", "beard", "bag", "bare_legs", "light_trousers"),
        prevalence={
            "fair_hair": 0.5,
            "hat": 0.3,
            "beard": 0.35,
            "bag": 0.3,
            "bare_legs": 0.45,
            "light_trousers": 0.4,
            "skin": 0.5,
            "warm_clothes": 0.4,
            "long_hair": 0.3,
            "broad_build": 0.3,
            "large_motion": 0.5,
        },
        background="street",
    ),
}
