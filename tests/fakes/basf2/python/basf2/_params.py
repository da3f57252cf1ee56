"""Parameters of modules: the values of steering files become values of C++ types.

`PyObjConvUtils::convertPythonObject` has the rules: a list takes a single value, too, and a tuple is no list; whole
numbers are true or false, and numbers with a point, but not the other way round.
"""

import copy


class ListOf(list):
    """The default of a list parameter, with the types of its items."""

    def __init__(self, *kinds, default=()):
        super().__init__(default)
        self.kinds = kinds


_TAKES = {bool: (bool, int, type(None)), int: (int,), float: (int, float), str: (str,), tuple: (tuple,)}
"""Type → what a steering file may set instead."""


class Param:
    """A parameter of a module. A default of None takes every value that is no object."""

    def __init__(self, name, default):
        self.name = name
        self.default = default
        self.values = list(default) if isinstance(default, list) else copy.deepcopy(default)
        self.setInSteering = False
        self.forceInSteering = False
        self.type = _name_type(default)
        self.description = ""

    def set(self, value):
        """Set a value of the right type; what happens later to a list has no effect.

        :raises RuntimeError: if it has another type.
        """
        if isinstance(self.default, list):
            items = value if isinstance(value, list) else [value]
            self.values = [_convert(item, self.default.kinds) for item in items]
        elif isinstance(self.default, dict):
            self.values = copy.deepcopy(value)
        elif self.default is None:
            self.values = _convert(value, (bool, int, float, str))
        else:
            self.values = _convert(value, (type(self.default),))
        self.setInSteering = True


def _convert(value, kinds):
    for kind in kinds:
        if isinstance(value, _TAKES[kind]):
            return copy.deepcopy(value) if kind is tuple else kind(value)
    expected = ", ".join(kind.__name__ for kind in kinds)
    raise RuntimeError(f"Could not convert value: Expected type '{expected}' instead of '{type(value).__name__}'.")


def _name_type(default):
    if isinstance(default, list):
        return f"list({', '.join(kind.__name__ for kind in default.kinds)})"
    return type(default).__name__
