"""What the official lists of action datasets say: which videos there are, and their splits."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ListedVideo:
    """One row of an official list.

    Attributes:
      action: class name, one of `VideoList.actions`.
      file: file name as the list writes it, without folder. The file on disk may be written
        otherwise: `files.VideoIndex` finds it.
      group: the film or the recording that the clip was cut from. No group may stand in two splits.
      split: "train", "test", or "unused": part of the dataset, but of neither.
    """

    action: str
    file: str
    group: str
    split: str


@dataclasses.dataclass(frozen=True)
class VideoList:
    """A checked list.

    Attributes:
      actions: class names in label order, the first has label 0.
      videos: the rows, training videos first where the dataset has two lists.
    """

    actions: tuple[str, ...]
    videos: tuple[ListedVideo, ...]
