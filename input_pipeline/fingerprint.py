"""A short name for what a prepared dataset holds, made of its index and not of its frames."""

import hashlib
import json

from input_pipeline.index import INDEX_FILE
from input_pipeline.specs import DatasetSpec

# Of these the whole content counts; of dataset_info.json the sizes of the splits alone, for the
# descriptions there change with the builder's code. A dataset may lack some of them.
_FILES = ("features.json", "metadata.json", INDEX_FILE)


def fingerprint(spec: DatasetSpec) -> str:
    """SHA-256 (hexadecimal) of features, labels, splits, the records' ids and the shards' sizes.

    Equal for two builds of the same data, and cheap: no frame is read, so one that has changed in
    place without a change in size is not noticed.
    """
    info = json.loads((spec.path / "dataset_info.json").read_text(encoding="utf-8"))
    sizes = [
        [split["name"], split.get("shardLengths", []), str(split.get("numBytes", ""))]
        for split in info["splits"]
    ]
    digest = hashlib.sha256(json.dumps([spec.path.name, sizes]).encode())
    for name in _FILES:
        path = spec.path / name
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()
