"""What all tests share: shape checks of the pure modules, eight CPU devices, a tiny dataset."""

import os
import tempfile
from pathlib import Path

# Compiling takes most of the tests' time; equal programs of one session are compiled once. By the
# environment, and before JAX reads it: the workers of pytest-xdist and the processes that tests
# start share what the first process makes here, and removes in the end.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="anon_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

import jax
import pytest
import tensorflow_datasets as tfds
from jaxtyping import install_import_hook

from anon_jax.native import library

# Before the tests import these modules, for an import hook changes nothing that is loaded already.
install_import_hook(
    ["anon_jax.losses", "anon_jax.metrics", "anon_jax.metric_reports"], "beartype.beartype"
)

# Compiled before the first test, so that no test's time and no command's output has it.
library.load()

# Before JAX starts its backend; tests that compare one device with eight take what they need.
jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(scope="session")
def tiny_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """moving_figures/tiny_videos and tiny_images: the embedded dataset with a few people."""
    from input_pipeline.datasets.moving_figures.moving_figures_dataset_builder import (
        MovingFigures,
        MovingFiguresConfig,
    )

    tfds.disable_progress_bar()
    directory = tmp_path_factory.mktemp("data")
    for name, still in (("tiny_videos", False), ("tiny_images", True)):
        config = MovingFiguresConfig(
            name=name,
            description="For tests.",
            still=still,
            frames=1 if still else 10,
            clips={"train": 48, "validation": 24, "test": 24},
            subjects={"train": 24, "validation": 12, "test": 12},
        )
        builder = MovingFigures(config=config, data_dir=directory, file_format="array_record")
        builder.download_and_prepare()
    return directory


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The optional folder of real clips: ANON_JAX_DATA, or ../shared/data beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("ANON_JAX_DATA", beside))
    if not path.is_dir():
        pytest.skip(f"no real clips in {path}; set ANON_JAX_DATA")
    return path
