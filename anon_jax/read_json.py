"""Reading of JSON files that others may have written, without trust in their size and depth."""

import json
from pathlib import Path
from typing import Any

# The largest one that this project writes, the manifest of a checkpoint of many files, takes less
# than a megabyte; parsed values take up to about thirty times as many bytes as their text.
MAX_JSON_BYTES = 32 * 2**20


def read_json(path: Path) -> Any:
    """The value of a JSON file in UTF-8 of at most MAX_JSON_BYTES.

    Raises:
      ValueError: it is larger, nested too deeply, or no JSON; the message does not name the file.
      OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise ValueError(f"it has {size} bytes; at most {MAX_JSON_BYTES} are read")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
