"""The sentences of a report about stronger attacks, people, frames and cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from anon_jax.report.formats import decimal, percent

INTERVALS = (
    "Intervals are of the bootstrap over the test clips, whole groups (people or films) drawn: how "
    "far a figure depends on who was tested. How far it depends on the seed only several runs tell."
)
ATTACKS = (
    "Direct attackers learn from anonymized images; those of the reconstruction learn from what a "
    "decoder draws of them; the white box knows f_A's weights, and changes what the decoder has "
    "drawn until f_A makes of it what was seen. Each method faces the same attackers with the same "
    "budget. The worst case is the largest cMAP of all, put between the same chance and the same "
    "raw cMAP as the direct attack. More attackers can only raise it."
)
RECONSTRUCTION = (
    "Means over test frames against the raw ones: the higher the PSNR and the SSIM, the more of "
    "the frame is back. What the decoder does not add to the anonymized frame itself was never "
    "hidden."
)
WHITE_BOX = (
    "From the decoder's image to the one found by gradient descent through f_A, on the same "
    "frames. Mismatch is the RMS between what f_A makes of the image and what was seen."
)
IDENTITY = (
    "A network that learned to tell the people of the training split apart looks for clips of the "
    "same person among people whom it has never seen. The lower, the better a person is hidden; "
    "chance is a random order."
)
FRAMES = (
    "Flicker is the mean change between successive frames where the raw clip stands still; a "
    "ratio of 1 is no more than in the raw clip. Distance is the RMS from the raw clip, pixels in "
    "[0, 1]. PSNR and SSIM are against the raw frame: here the higher, the less was changed."
)


def worst_case(own: Mapping[str, Any]) -> list[str]:
    """Names the strongest attack of a method where it reads more than the direct one."""
    worst = own["worst_case"]
    if worst is None or worst["attack"] == "direct":
        return []
    ways = {
        "reconstruction": "reading frames that a decoder has reconstructed",
        "white_box": "reading frames that were reconstructed with the weights of f_A",
    }
    way = ways.get(worst["attack"], str(worst["attack"]))
    who = worst["attacker"] or "an attacker"
    sentence = f"In the worst case, {who} {way}, the cMAP is {percent(worst['cmap'])}"
    if worst["normalised_leakage"] is None:
        return [f"{sentence}."]
    return [f"{sentence} and the normalised leakage {decimal(worst['normalised_leakage'], 2)}."]


def boxes(methods: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of the methods that hide people and faces: how often one was found."""
    return [
        detected(row["method"], row["frames_with_boxes"])
        for row in methods
        if row["frames_with_boxes"] is not None
    ]


def detected(name: str, share: float) -> str:
    """What a share of frames with a box means for those without."""
    return (
        f"{name}: somebody was detected in {percent(share)} of the frames; the others passed "
        "unchanged."
    )
