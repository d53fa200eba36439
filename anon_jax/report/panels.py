"""Which curves a report shows of each phase."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Panel:
    """What one chart of a phase shows.

    Attributes:
      metrics: name in the metrics files -> label of its line ("" where it is the only one).
      reference: (name of a level, label) of a horizontal line.
      share: whether the values are shares, drawn on an axis from 0 to 100 %.
      beside: only of the files that have this metric too: a phase may train networks of two kinds,
        with scores of one name.
    """

    title: str
    unit: str
    metrics: Mapping[str, str]
    reference: tuple[str, str] | None = None
    share: bool = False
    beside: str = ""


_TOP1_CHANCE = ("top1", "chance")


def make_panels(distance_unit: str, privacy_unit: str) -> dict[str, tuple[Panel, ...]]:
    """The charts of each phase in the order of a run; one whose metrics are absent is not drawn.

    Args:
      distance_unit: of "penalty/distance", which depends on the penalty's space.
      privacy_unit: of the privacy loss in the minimax training, which depends on the method.
    """
    return {
        "reconstruct": (
            Panel(
                "Reconstruction loss of f_A",
                "mean |x - f_A(x)|, x in [0, 1]",
                {"anonymizer/loss": ""},
            ),
        ),
        "pretrain_privacy": (
            Panel(
                "Loss of f_B",
                "NT-Xent (nats)",
                {"privacy/loss": ""},
                ("pretrain_privacy/nt_xent", "chance"),
            ),
        ),
        "minimax": (
            Panel("Loss of f_A, all weighted terms", "L_A", {"anonymizer/loss": ""}),
            Panel(
                "Action loss",
                "cross entropy (nats)",
                {"anonymizer/action_loss": "step 1 (f_A)", "action/loss": "step 2 (f_T)"},
            ),
            Panel(
                "Privacy loss",
                privacy_unit,
                {"anonymizer/privacy_loss": "step 1 (f_A)", "privacy/loss": "step 2 (f_B)"},
                ("minimax/nt_xent", "chance"),
            ),
            Panel(
                "Top-1 on the training batches",
                "Top-1 (%)",
                {"anonymizer/top1": "step 1 (f_A)", "action/top1": "step 2 (f_T)"},
                _TOP1_CHANCE,
                share=True,
            ),
            Panel(
                "Distance of anonymized from raw",
                distance_unit,
                {"penalty/distance": ""},
                ("budget", "budget B"),
            ),
            Panel("Penalty active", "steps (%)", {"penalty/active": ""}, share=True),
            Panel("Multiplier of the penalty", "weight", {"penalty/multiplier": ""}),
        ),
        "evaluate_action": (
            Panel("Training loss", "cross entropy (nats)", {"action/loss": ""}),
            Panel(
                "Top-1 on the training batches",
                "Top-1 (%)",
                {"action/top1": ""},
                _TOP1_CHANCE,
                share=True,
            ),
            Panel(
                "Top-1 on the validation split",
                "Top-1 (%)",
                {"validation/score": ""},
                _TOP1_CHANCE,
                share=True,
            ),
        ),
        "evaluate_privacy": (
            Panel("Training loss", "binary cross entropy (nats)", {"privacy/loss": ""}),
            Panel("cMAP on the validation split", "cMAP (%)", {"validation/score": ""}, share=True),
        ),
        "evaluate_reconstruction": (
            Panel("Loss of the decoder", "mean |x - drawn|, x in [0, 1]", {"decoder/loss": ""}),
            Panel(
                "PSNR on the validation split",
                "PSNR (dB)",
                {"validation/score": ""},
                beside="decoder/loss",
            ),
            Panel(
                "Training loss of the attackers",
                "binary cross entropy (nats)",
                {"privacy/loss": ""},
            ),
            Panel(
                "cMAP of the attackers on the validation split",
                "cMAP (%)",
                {"validation/score": ""},
                share=True,
                beside="privacy/loss",
            ),
        ),
        "evaluate_identity": (
            Panel("Training loss", "cross entropy (nats)", {"privacy/loss": ""}),
            Panel(
                "People told apart in the training batches",
                "Top-1 (%)",
                {"privacy/top1": ""},
                share=True,
            ),
            Panel("mAP on the validation split", "mAP (%)", {"validation/score": ""}, share=True),
        ),
    }
