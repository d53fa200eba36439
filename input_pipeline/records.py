"""Random access to the records of a prepared dataset, without decoding a frame nobody asked for."""

import dataclasses
import json
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from input_pipeline.errors import DataError
from input_pipeline.specs import DatasetSpec


@dataclasses.dataclass(frozen=True)
class Record:
    """One video or still image as stored.

    Attributes:
      index: position in the split.
      id: name of the video or image.
      group: film, person or subject that may not stand in two splits; "" where unknown.
      frames: the JPEG bytes of each frame (one for a still image), RGB once decoded.
      action: class index, or -1 for a still image.
      attributes: int32 [num_attributes] in {0, 1, UNKNOWN}.
      fps: frames per second; 0 for a still image.
    """

    index: int
    id: str
    group: str
    frames: Sequence[bytes]
    action: int
    attributes: np.ndarray
    fps: float
    metadata: dict


class RecordSource:
    """The records of one split, as a random-access source for Grain.

    Args:
      spec: the dataset.
      split: "train", "validation" or "test".

    Raises:
      DataError: the dataset has no such split, or it is empty.
    """

    def __init__(self, spec: DatasetSpec, split: str):
        spec.check_split(split)
        self.spec = spec
        self.split = split
        self._source = tfds.builder_from_directory(spec.path).as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {self!r}")
        return parse_record(self.read(index), int(index))

    def read(self, index: int) -> bytes:
        """A record as it is stored, a serialised tf.train.Example.

        Raises:
          DataError: it cannot be read: a shard is cut, damaged or gone.
        """
        try:
            data: bytes = self._source[index]
        except (RuntimeError, LookupError) as error:  # what array_record raises for all of them
            raise DataError(
                f"record {index} of the split '{self.split}' of '{self.spec.name}' cannot be read: "
                f"{error}. A file in {self.spec.path} is damaged or gone; put a copy back, or "
                "build the dataset anew with --overwrite"
            ) from error
        return data

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        # Grain writes the source's repr into the iterator's checkpoint and compares it on restore.
        return f"RecordSource({self.spec.name}, {self.split}, {len(self)} records)"


class PooledSource:
    """The records of several sources as one; a record's index is its position in the pool.

    They have no attributes: datasets differ in which they have and how many, and a batch needs
    arrays of one shape.
    """

    def __init__(self, sources: Sequence[RecordSource]):
        self._sources = tuple(sources)
        self._ends = np.cumsum([len(source) for source in self._sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Record:
        which = int(np.searchsorted(self._ends, index, side="right"))
        start = self._ends[which] - len(self._sources[which])
        record = self._sources[which][index - start]
        return dataclasses.replace(record, index=int(index), attributes=np.zeros(0, np.int32))

    def __repr__(self) -> str:
        return f"PooledSource({', '.join(map(repr, self._sources))})"


def parse_record(data: bytes, index: int) -> Record:
    """The record `index` of a split from its bytes; decodes no frame."""
    feature = tf_example_pb2.Example.FromString(data).features.feature
    still = "image" in feature
    return Record(
        index=index,
        id=_text(feature, "id"),
        group=_text(feature, "group"),
        frames=feature["image" if still else "frames"].bytes_list.value,
        action=-1 if still else feature["action"].int64_list.value[0],
        attributes=np.asarray(feature["attributes"].int64_list.value, np.int32),
        fps=0.0 if still else feature["fps"].float_list.value[0],
        metadata=json.loads(_text(feature, "metadata") or "{}"),
    )


def _text(feature: dict, name: str) -> str:
    return feature[name].bytes_list.value[0].decode()
