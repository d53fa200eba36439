"""The small checkpoint that comes with the package; its card is pretrained/small/MODEL_CARD.md."""

from pathlib import Path

SMALL = "small"  # what the commands call it; a folder of this name is ./small
SMALL_RESOLUTION = 32  # pixels of the short side that it was trained on


_FOLDER = Path(__file__).parent / "pretrained" / SMALL


def checkpoint_folder(name: str | Path) -> Path:
    """The folder that a user means: the package's own for SMALL, else the path as it is."""
    return _FOLDER if str(name) == SMALL else Path(name)


def is_shipped(folder: Path) -> bool:
    """Whether a folder is the package's own, which always has a manifest."""
    return folder == _FOLDER
