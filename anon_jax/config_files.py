"""The flag --config: a file of the user's, or one of the configs that come with the package."""

import re
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections.config_flags import config_flags

# Beside this package, in a checkout as in site-packages. Not by import: a folder `configs` of the
# user's would be taken instead.
_SHIPPED = Path(__file__).parents[1] / "configs"
_NOT_RUNS = ("__init__", "base")  # base names no dataset


def find_config(argument: str) -> str:
    """The file that --config means: a path as it is, else `NAME` or `configs/NAME.py` of ours.

    So the same commands work in a checkout and wherever the package is installed.

    Args:
      argument: what was given; what follows a colon goes to the file's `get_config`.

    Raises:
      ValueError: there is no such file; the message lists the names that are known.
    """
    path, colon, parameter = argument.partition(":")
    if Path(path).is_file():
        return argument
    named = re.fullmatch(r"(?:configs/)?(\w+)(?:\.py)?", path)
    shipped = {file.stem: file for file in sorted(_SHIPPED.glob("*.py"))}
    if named and named[1] in shipped:
        return f"{shipped[named[1]]}{colon}{parameter}"
    known = ", ".join(name for name in shipped if name not in _NOT_RUNS)
    raise ValueError(f"there is no config file {path}. Give the path of one, or a name of: {known}")


def define_config(help_string: str) -> flags.FlagHolder[Any]:
    """Defines --config, with --config.FIELD=VALUE for each field, on absl's global flags."""
    holder = config_flags.DEFINE_config_file("config", help_string=help_string)
    flags.FLAGS["config"].parser = _Parser("config")
    return holder


class _Parser(config_flags.ConfigFileFlagParser):
    """Loads what `find_config` finds."""

    def parse(self, path: str) -> Any:
        return super().parse(find_config(path))
