"""What of moving_figures can be chosen: the config of its TFDS builder."""

import dataclasses

import tensorflow_datasets as tfds

from input_pipeline.datasets.moving_figures import actions, domains
from input_pipeline.specs import SPLITS


@dataclasses.dataclass(eq=False, kw_only=True)
class MovingFiguresConfig(tfds.core.BuilderConfig):
    """One dataset to generate.

    Attributes:
      domain: row of `domains.DOMAINS`: actions, labelled attributes, background.
      still: single images instead of clips.
      clips: number of clips or images per split.
      subjects: number of people per split; they appear in turn.
      resolution: height and width in pixels.
      frames: frames of a clip.
      seed: of everything; another seed gives other people.
      pair: row of `actions.PAIRS`: how the two actions of a manifold differ, in "tempo" or, which
        is hard, in the "direction" of time.
      attribute_action_correlation: probability in [0, 1] that a clip's action is the one that the
        subject's attributes prescribe (`clips.habitual_action`) instead of a balanced one.

    Raises:
      ValueError: a field that no dataset can be generated from.
    """

    domain: str = "a"
    still: bool = False
    clips: dict[str, int] = dataclasses.field(
        default_factory=lambda: {"train": 2400, "validation": 300, "test": 600}
    )
    subjects: dict[str, int] = dataclasses.field(
        default_factory=lambda: {"train": 240, "validation": 75, "test": 150}
    )
    resolution: int = 32
    frames: int = 16
    seed: int = 0
    pair: str = "tempo"
    attribute_action_correlation: float = 0.0

    def __post_init__(self) -> None:
        if self.domain not in domains.DOMAINS:
            raise ValueError(f"Unknown domain '{self.domain}'; known: {', '.join(domains.DOMAINS)}")
        if unknown := set(self.clips) - set(SPLITS):
            raise ValueError(f"clips: unknown split {sorted(unknown)}; known: {', '.join(SPLITS)}")
        for split, clips in self.clips.items():
            people = self.subjects.get(split, 0)
            if clips and not 1 <= people <= clips:
                raise ValueError(
                    f"subjects['{split}'] = {people} must lie between 1 and the number of clips, "
                    f"{clips}: every subject appears"
                )
        if self.still and self.frames != 1:
            raise ValueError(f"frames = {self.frames}, but a still image has 1")
        if not 0 <= self.attribute_action_correlation <= 1:
            raise ValueError(
                "attribute_action_correlation is a probability in [0, 1], not "
                f"{self.attribute_action_correlation}"
            )
        if not self.actions:
            raise ValueError(f"No manifold of domain '{self.domain}' can run as '{self.pair}'")

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the actions in label order."""
        return actions.action_names(domains.DOMAINS[self.domain].manifolds, self.pair)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the labelled attributes in column order."""
        return domains.DOMAINS[self.domain].attributes
