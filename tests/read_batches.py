"""A process that reads batches and says who its workers are, for the tests of the worker processes.

Arguments: folder of the datasets, number of workers, number of batches, file of the iterator's
state, "exit", "close" or "hang". It starts from the state where the file is there, and leaves it.
"""

import json
import multiprocessing
import sys
import time
import zlib
from pathlib import Path

from input_pipeline.loader import train_stream, with_workers, zip_streams
from input_pipeline.records import RecordSource
from input_pipeline.specs import load_spec
from input_pipeline.transforms import Augmentation, TrainClip, TrainImage


def stream(data_dir, num_workers):
    """Clips, large enough for shared memory, in epochs of 9 batches and a rest; images in 6."""
    view = Augmentation((0.8, 1.0), jitter=0.1, flip=0.5)
    options = {"seed": 1, "num_threads": 2, "prefetch": 2}
    clips, images = (
        RecordSource(load_spec(f"moving_figures/tiny_{name}", data_dir), "train")
        for name in ("videos", "images")
    )
    parts = {
        "clip": train_stream(clips, TrainClip(4, 2, 64, view), batch_size=5, **options),
        "image": train_stream(images, TrainImage(16, view), batch_size=8, **options),
    }
    return with_workers(zip_streams(parts), num_workers)


def digest(batch):
    """One number for all arrays of a batch."""
    parts = (part[name].tobytes() for _, part in sorted(batch.items()) for name in sorted(part))
    return zlib.crc32(b"".join(parts))


def _main():
    data_dir, num_workers, count, file, end = sys.argv[1:]
    iterator = iter(stream(data_dir, int(num_workers)))
    if Path(file).exists():
        iterator.set_state(json.loads(Path(file).read_text()))
    digests = [digest(next(iterator)) for _ in range(int(count))]
    Path(file).write_text(json.dumps(iterator.get_state()))
    pids = [child.pid for child in multiprocessing.active_children()]
    if end == "close":
        iterator.close()
    print(json.dumps({"digests": digests, "pids": pids}), flush=True)
    while end == "hang":
        digest(next(iterator))
        time.sleep(0.01)


if __name__ == "__main__":
    _main()
