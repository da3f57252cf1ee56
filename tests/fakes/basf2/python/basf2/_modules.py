"""Modules: what is done with each event."""

import copy
import operator
import re
from typing import NamedTuple

_OPERATORS = {
    "": operator.eq,
    "=": operator.eq,
    "==": operator.eq,
    "!": operator.ne,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_EXPRESSION = re.compile(r"\s*([=!<>]{0,2})\s*(-?\d+)\s*")

_TYPES = {bool: (bool, int), int: (int,), float: (int, float), str: (str,), list: (list, tuple), dict: (dict,)}
"""Type of a default → what a steering file may set instead. A default of None takes everything."""

_MISSING = object()


class Param:
    """A parameter of a module."""

    def __init__(self, name, default):
        self.name = name
        self.default = default
        self.values = copy.deepcopy(default)
        self.setInSteering = False
        self.forceInSteering = False
        self.type = type(default).__name__
        self.description = ""

    def set(self, value):
        """Set a value of the right type; what happens later to a list has no effect."""
        kind = type(self.default)
        if kind in _TYPES and not isinstance(value, _TYPES[kind]):
            raise TypeError(f"Parameter '{self.name}' takes a {kind.__name__}, not {value!r}")
        if not _is_plain(value):
            raise TypeError(f"Parameter '{self.name}' cannot be an object: {value!r}")
        self.values = list(copy.deepcopy(value)) if kind is list else copy.deepcopy(value)
        self.setInSteering = True


def _is_plain(value):
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(each) for key, each in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


class Condition(NamedTuple):
    """Where the path goes on, if the return value is as the expression says."""

    expression: str
    path: object
    after: str

    def holds(self, value):
        """Tell whether a return value is as the expression says."""
        sign, number = _EXPRESSION.fullmatch(self.expression).groups()
        return _OPERATORS[sign](value, int(number))


class ModuleLogging:
    """What a module tells; the stand-in keeps it, and does nothing with it."""

    def __init__(self):
        self.log_level = None
        self.debug_level = None

    def set_info(self, level, info):
        """Say what a message consists of."""


class Module:
    """Base class of modules, also of those that a steering file writes in Python."""

    PARAMS = {}

    def __init__(self):
        self._type = ""
        self._name = type(self).__name__
        self._params = {name: Param(name, default) for name, default in self.PARAMS.items()}
        self._conditions = []
        self.logging = ModuleLogging()
        self.value = 0
        self.world = None

    def type(self):
        """Give the name under which it is registered; another one for a module in Python."""
        return self._type or "PyModule"

    def name(self):
        """Give its name."""
        return self._name

    def set_name(self, name):
        """Give it another name: that of the folder of its objects, too."""
        self._name = name

    def package(self):
        """Give the package that it comes from."""
        return "fake" if self._type else ""

    def description(self):
        """Say what it does."""
        return type(self).__doc__ or ""

    def param(self, name, value=_MISSING):
        """Set a parameter, or several of them."""
        if value is _MISSING and not isinstance(name, dict):
            raise TypeError("param() takes a name and a value, or a dict")
        for key, each in (name if isinstance(name, dict) else {name: value}).items():
            if key not in self._params:
                raise AttributeError(f"Parameter '{key}' of the module '{self._name}' is not known")
            self._params[key].set(each)

    def available_params(self):
        """Give all parameters."""
        return list(self._params.values())

    def get(self, name):
        """Give the value of a parameter."""
        return self._params[name].values

    def return_value(self, value):
        """Set what conditions look at."""
        self.value = int(value)

    def set_log_level(self, level):
        """Tell what is at least of this level."""
        self.logging.log_level = level

    def set_debug_level(self, level):
        """Tell debug messages up to this level."""
        self.logging.debug_level = level

    def if_value(self, expression, path, after="END"):
        """Go on with another path where the return value is as the expression says."""
        found = _EXPRESSION.fullmatch(expression)
        if not found or found[1] not in _OPERATORS:
            raise ValueError(f"The condition '{expression}' of the module '{self._name}' cannot be read")
        self._conditions.append(Condition(expression, path, after))

    def if_true(self, path, after="END"):
        """Go on with another path for a value of at least 1."""
        self.if_value(">=1", path, after)

    def if_false(self, path, after="END"):
        """Go on with another path for a value below 1."""
        self.if_value("<1", path, after)

    def has_condition(self):
        """Tell whether there is one."""
        return bool(self._conditions)

    def get_all_conditions(self):
        """Give expression, path and what follows of each condition."""
        return list(self._conditions)

    def get_all_condition_paths(self):
        """Give the paths of the conditions."""
        return [condition.path for condition in self._conditions]

    def initialize(self):
        """Get ready."""

    def beginRun(self):
        """See that a run begins: its number, not yet an event."""

    def event(self):
        """See an event."""

    def endRun(self):
        """See that a run has ended."""

    def terminate(self):
        """See the end of the data."""


def register_module(name, **params):
    """Make a module by its name."""
    from basf2._library import MODULES

    if name not in MODULES:
        raise KeyError(f"The module '{name}' is not registered!")
    module = MODULES[name]()
    module._type = name
    module._name = name
    module.param(params)
    return module
