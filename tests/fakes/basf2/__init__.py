"""No basf2: the folder `tests/fakes` is on the path of tests, and the stand-in is only there after its `setup.sh`."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Tell type checkers that nothing is known of basf2."""
    raise AttributeError(name)


raise ModuleNotFoundError("No module named 'basf2'", name="basf2")
