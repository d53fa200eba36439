"""From the JPEG frames of a record to the uint8 arrays of a batch: choose, decode, crop, jitter.

One `Augmentation` says how far to go; `sample_view` draws one `View` from it, and the same view is
applied to all frames of a clip (method: "the same for all frames of a clip"). An `Obfuscator` hides
regions of the stored frame and changes what the view has left; it draws no random numbers, so the
views of all methods are the same.
"""

import dataclasses

import cv2
import grain
import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.obfuscation import RAW, Obfuscator
from input_pipeline.records import Record

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, the weights of JPEG's own grey


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far training views may differ from the frame.

    Attributes:
      crop_scale: range of the side of the square crop / short side of the frame, in (0, 1].
      jitter: brightness, contrast and saturation are multiplied by 1 +- this.
      hue: the hue is turned by +- this share of the colour circle.
      grey, flip: probabilities of a grey and of a mirrored view.
      erase: probability of each of two black rectangles of 2 to 20 % of the area.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    jitter: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    flip: float = 0.0
    erase: float = 0.0


@dataclasses.dataclass(frozen=True)
class View:
    """One crop, colour change, flip and set of erasures; boxes are (top, left, height, width)."""

    crop: tuple[int, int, int, int]
    colour: np.ndarray | None = None  # [3, 4]: RGB' = colour[:, :3] @ RGB + colour[:, 3]
    flip: bool = False
    erased: tuple[tuple[float, float, float, float], ...] = ()  # in shares of the view's side


def sample_view(
    augmentation: Augmentation, height: int, width: int, rng: np.random.Generator
) -> View:
    """Draws one view of a frame of `height` x `width`; its crop always lies inside the frame."""
    side = round(min(height, width) * rng.uniform(*augmentation.crop_scale))
    side = max(1, side)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    flip = rng.random() < augmentation.flip
    erased = tuple(_sample_box(rng) for _ in range(2) if rng.random() < augmentation.erase)
    colour = None
    if augmentation.jitter or augmentation.hue or augmentation.grey:
        spread = augmentation.jitter
        brightness, contrast, saturation = rng.uniform(1 - spread, 1 + spread, size=3)
        turn = rng.uniform(-augmentation.hue, augmentation.hue)
        if rng.random() < augmentation.grey:
            saturation = 0.0
        colour = colour_matrix(brightness, contrast, saturation, turn)
    return View((top, left, side, side), colour, bool(flip), erased)


def evaluation_view(height: int, width: int, scale: float = 1.0, crop: float = 0.5) -> View:
    """A square whose side is `scale` times the short side, centred across the longer side.

    `crop` is its position along the longer side: 0 = at the start, 0.5 = centre, 1 = at the end.
    Of a square frame the width counts as the longer side.
    """
    side = max(1, round(min(height, width) * scale))
    down, along = (crop, 0.5) if height > width else (0.5, crop)
    return View((int((height - side) * down), int((width - side) * along), side, side))


def colour_matrix(brightness: float, contrast: float, saturation: float, turn: float) -> np.ndarray:
    """The four colour changes as one affine map of RGB in [0, 255], shape [3, 4].

    Saturation blends with the luma, the hue turns about the grey axis, contrast acts about
    mid-grey (127.5): all are affine, so one pass over the pixels does them at once.
    """
    angle = 2 * np.pi * turn
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    hue = axis + np.cos(angle) * (np.eye(3) - axis) + np.sin(angle) * cross  # Rodrigues' formula
    blend = saturation * np.eye(3) + (1 - saturation) * np.ones((3, 1)) * _LUMA
    linear = contrast * brightness * blend @ hue
    offset = np.full((3, 1), 127.5 * (1 - contrast))
    return np.concatenate([linear, offset], axis=1).astype(np.float32)


def apply_view(frame: np.ndarray, view: View, resolution: int) -> np.ndarray:
    """Applies a view to one frame: uint8 [H, W, 3] -> uint8 [resolution, resolution, 3]."""
    top, left, height, width = view.crop
    image = frame[top : top + height, left : left + width]
    if image.shape[:2] != (resolution, resolution):
        shrinks = resolution < height
        image = cv2.resize(
            image,
            (resolution, resolution),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )
    if view.flip:
        image = image[:, ::-1]
    if view.colour is not None:
        image = cv2.transform(np.ascontiguousarray(image), view.colour)
    if view.erased:
        image = image.copy()
        for box in view.erased:
            top, left, height, width = (round(share * resolution) for share in box)
            image[top : top + height, left : left + width] = 0
    return np.ascontiguousarray(image)


def clip_positions(available: int, num_frames: int, stride: int, place: float) -> np.ndarray:
    """Which frames of a video make a clip: int [num_frames].

    Args:
      available: frames of the video.
      stride: distance of two frames; where the video is too short for it, 1.
      place: position of the clip in the video, 0 = first possible, 1 = last possible.

    A video shorter than the clip even so repeats its last frame; `TrainClip` and `EvaluationClip`
    refuse such a video unless they are told to repeat.
    """
    if available < (num_frames - 1) * stride + 1:
        stride = 1
    last_start = max(0, available - ((num_frames - 1) * stride + 1))
    start = min(last_start, int(place * (last_start + 1)))
    return np.minimum(start + stride * np.arange(num_frames), available - 1)


def decode_jpeg(data: bytes, record: Record) -> np.ndarray:
    """Decodes to RGB, uint8 [H, W, 3]; DataError names the record where the bytes are damaged."""
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if frame is None:
        raise DataError(
            f"A stored JPEG of '{record.id}' (record {record.index}) cannot be decoded: the "
            "dataset is damaged; put a copy back, or build it anew with --overwrite"
        )
    return frame


def _sample_box(rng: np.random.Generator) -> tuple[float, float, float, float]:
    area, ratio = rng.uniform(0.02, 0.2), np.exp(rng.uniform(np.log(0.5), np.log(2)))
    height, width = min(1.0, np.sqrt(area * ratio)), min(1.0, np.sqrt(area / ratio))
    return rng.uniform(0, 1 - height), rng.uniform(0, 1 - width), height, width


@dataclasses.dataclass(frozen=True)
class TrainClip(grain.transforms.RandomMap):
    """A random clip of a video under one random view, with its labels.

    `repeat_short` lets a video of less than `num_frames` frames repeat its last one.
    """

    num_frames: int
    stride: int
    resolution: int
    augmentation: Augmentation
    repeat_short: bool = False
    obfuscator: Obfuscator = RAW

    def random_map(self, record: Record, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Record -> frames uint8 [T, R, R, 3], action, attributes, index.

        Raises:
          DataError: the video is too short, or a frame is damaged; names the record.
        """
        _check_length(record, self.num_frames, self.repeat_short)
        positions = clip_positions(
            len(record.frames), self.num_frames, self.stride, float(rng.random())
        )
        frames = _decode_distinct(record, positions, self.obfuscator)
        height, width, _ = frames[0].shape
        view = sample_view(self.augmentation, height, width, rng)
        clip = _see(frames, view, self.resolution, self.obfuscator)
        return {"frames": clip, **_labels(record)}


@dataclasses.dataclass(frozen=True)
class TrainClipPair(grain.transforms.RandomMap):
    """Two random clips of a video, each under a random view of its own.

    `clip` makes each of them.
    """

    clip: TrainClip

    def random_map(self, record: Record, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Record -> image and view_b, uint8 [T, R, R, 3] each, attributes, index.

        Raises:
          DataError: as `TrainClip`.
        """
        first, second = (self.clip.random_map(record, rng)["frames"] for _ in range(2))
        return {"image": first, "view_b": second, **_labels(record)}


@dataclasses.dataclass(frozen=True)
class EvaluationClip(grain.transforms.Map):
    """The clip at a given place of a video, under a given crop; see `loader.evaluation_batches`.

    `repeat_short` as in `TrainClip`.
    """

    num_frames: int
    stride: int
    resolution: int
    crop_scale: float
    repeat_short: bool = False
    obfuscator: Obfuscator = RAW

    def map(self, element: tuple[Record, float, float]) -> dict[str, np.ndarray]:
        """(record, place, crop) -> frames uint8 [T, R, R, 3], action, attributes, index.

        Place and crop lie in [0, 1], as in `clip_positions` and `evaluation_view`.

        Raises:
          DataError: the video is too short, or a frame is damaged; names the record.
        """
        record, place, crop = element
        _check_length(record, self.num_frames, self.repeat_short)
        positions = clip_positions(len(record.frames), self.num_frames, self.stride, place)
        frames = _decode_distinct(record, positions, self.obfuscator)
        height, width, _ = frames[0].shape
        view = evaluation_view(height, width, self.crop_scale, crop)
        clip = _see(frames, view, self.resolution, self.obfuscator)
        return {"frames": clip, **_labels(record)}


@dataclasses.dataclass(frozen=True)
class TrainImage(grain.transforms.RandomMap):
    """A still image, or a random frame of a video, under independent random views.

    With two views the second one draws its own crop, which lies inside the image like the first.
    `raw` adds what the first view shows of the frame before the obfuscator.
    """

    resolution: int
    augmentation: Augmentation
    views: int = 1
    obfuscator: Obfuscator = RAW
    raw: bool = False

    def random_map(self, record: Record, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Record -> image uint8 [R, R, 3] (view_b and raw, the same shape), attributes, index."""
        position = np.array([rng.integers(len(record.frames))])
        frame = _decode_distinct(record, position, self.obfuscator)[0]
        height, width, _ = frame.shape
        images = {}
        for name in ("image", "view_b")[: self.views]:
            view = sample_view(self.augmentation, height, width, rng)
            images[name] = self.obfuscator.seen(apply_view(frame, view, self.resolution))
            if self.raw and name == "image":
                images["raw"] = _raw(record, position, view, self.resolution)
        return {**images, **_labels(record)}


@dataclasses.dataclass(frozen=True)
class EvaluationImage(grain.transforms.Map):
    """The frame at a given place of a record, under a given crop; `raw` as in `TrainImage`."""

    resolution: int
    crop_scale: float
    obfuscator: Obfuscator = RAW
    raw: bool = False

    def map(self, element: tuple[Record, float, float]) -> dict[str, np.ndarray]:
        """(record, place, crop) -> image uint8 [R, R, 3] (and raw), attributes, index."""
        record, place, crop = element
        positions = clip_positions(len(record.frames), 1, 1, place)
        frames = _decode_distinct(record, positions, self.obfuscator)
        height, width, _ = frames[0].shape
        view = evaluation_view(height, width, self.crop_scale, crop)
        images = {"image": _see(frames, view, self.resolution, self.obfuscator)[0]}
        if self.raw:
            images["raw"] = _raw(record, positions, view, self.resolution)
        return {**images, **_labels(record)}


def _check_length(record: Record, num_frames: int, repeat_short: bool) -> None:
    available = len(record.frames)
    if available < num_frames and not repeat_short:
        raise DataError(
            f"'{record.id}' (record {record.index}) has {available} frames, a clip {num_frames}. "
            "Lower config.data.num_frames, set config.data.repeat_short_videos=True to repeat the "
            "last frame of such videos, or leave them out of the dataset"
        )


def _decode_distinct(
    record: Record, positions: np.ndarray, obfuscator: Obfuscator
) -> list[np.ndarray]:
    decoded = {
        position: obfuscator.stored(decode_jpeg(record.frames[position], record), record, position)
        for position in set(positions.tolist())
    }
    return [decoded[position] for position in positions.tolist()]


def _see(
    frames: list[np.ndarray], view: View, resolution: int, obfuscator: Obfuscator
) -> np.ndarray:
    return np.stack([obfuscator.seen(apply_view(frame, view, resolution)) for frame in frames])


def _raw(record: Record, position: np.ndarray, view: View, resolution: int) -> np.ndarray:
    """What a view shows of one stored frame, `position` [1], without an obfuscator."""
    return apply_view(_decode_distinct(record, position, RAW)[0], view, resolution)


def _labels(record: Record) -> dict[str, np.ndarray]:
    return {
        "action": np.asarray(record.action, np.int32),
        "attributes": record.attributes,
        "index": np.asarray(record.index, np.int32),
    }
