"""config.compilation_cache: compiled programs are kept in the folder that it names."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from anon_jax import main


@pytest.fixture
def every_program_is_kept():
    """However short its compilation; afterwards the folder of the other tests is back."""
    before = jax.config.jax_compilation_cache_dir
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield before
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    compilation_cache.set_cache_dir(before)
    compilation_cache.reset_cache()


def test_compiled_programs_are_kept_in_the_folder(tmp_path, every_program_is_kept):
    main._use_compilation_cache("")
    assert jax.config.jax_compilation_cache_dir == every_program_is_kept
    folder = tmp_path / "deep" / "cache"
    main._use_compilation_cache(str(folder))
    jax.block_until_ready(jax.jit(lambda x: jnp.sin(x) * 3 + 1)(jnp.ones(7)))
    assert any(path.name.startswith("jit__lambda") for path in folder.iterdir())


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        main._use_compilation_cache(str(tmp_path / "file" / "cache"))
