"""Modules: what is done with each event."""

import enum
import operator
import re

from basf2._logging import B2FATAL
from basf2._params import Param

AfterConditionPath = enum.IntEnum("AfterConditionPath", {"END": 0, "CONTINUE": 1})
AfterConditionPath.__doc__ = "What follows when a condition has led to another path."

_OPERATORS = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
ConditionOperator = enum.IntEnum("ConditionOperator", {sign: number for number, sign in enumerate(_OPERATORS)})
"""How a return value is compared: paths are written with these numbers."""

_EXPRESSION = re.compile(r"([^0-9-]+)(-?[0-9]+)")

_MISSING = object()


class ModuleCondition:
    """Where the path goes on, if the return value is as the expression says."""

    def __init__(self, expression, path, after):
        found = _EXPRESSION.fullmatch(expression.replace(" ", ""))
        sign = found and {"=": "=="}.get(found[1], found[1])
        if sign not in _OPERATORS:
            raise RuntimeError(f"Invalid condition: could not parse condition: '{expression.replace(' ', '')}'!")
        self._operator, self._value = ConditionOperator[sign], int(found[2])
        self._path, self._after = path, AfterConditionPath(after)

    def get_value(self):
        """Give the number with which it compares."""
        return self._value

    def get_operator(self):
        """Give how it compares."""
        return self._operator

    def get_path(self):
        """Give the path that is taken."""
        return self._path

    def get_after_path(self):
        """Give what follows behind that path."""
        return self._after

    def holds(self, value):
        """Tell whether a return value is as the expression says."""
        return _OPERATORS[self._operator.name](value, self._value)

    def __str__(self):
        return f"(? {self._operator.name}{self._value}{self._path} )"


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
        # In the order of their names, as in a `std::map`.
        self._params = {name: Param(name, default) for name, default in sorted(self.PARAMS.items())}
        self._conditions = []
        self.logging = ModuleLogging()
        self.value = None
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
                raise RuntimeError(
                    f"Could not find the parameter with the name '{key}'! The value of the parameter could NOT be set."
                )
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

    def if_value(self, expression, path, after=AfterConditionPath.END):
        """Go on with another path where the return value is as the expression says."""
        self._conditions.append(ModuleCondition(expression, path, after))

    def if_true(self, path, after=AfterConditionPath.END):
        """Go on with another path for a value of at least 1."""
        self.if_value(">=1", path, after)

    def if_false(self, path, after=AfterConditionPath.END):
        """Go on with another path for a value below 1."""
        self.if_value("<1", path, after)

    def has_condition(self):
        """Tell whether there is one."""
        return bool(self._conditions)

    def get_all_conditions(self):
        """Give all conditions."""
        return list(self._conditions)

    def get_all_condition_paths(self):
        """Give the paths of the conditions."""
        return [condition.get_path() for condition in self._conditions]

    def find_condition(self):
        """Give the first condition that holds, or None."""
        if self._conditions and self.value is None:
            B2FATAL(f"A condition was set for '{self._name}', but the module did not set a return value!")
        return next((condition for condition in self._conditions if condition.holds(self.value)), None)

    def has_properties(self, flags):
        """Tell whether it has properties: here none has any."""
        return not flags

    def __str__(self):
        return self._name + "".join(map(str, self._conditions))

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


def register_module(name_or_module, shared_lib_path=None, logLevel=None, debugLevel=None, **params):
    """Make a module by its name, or set the parameters of one."""
    from basf2._library import MODULES

    module = name_or_module
    if not isinstance(module, Module):
        if module not in MODULES:
            raise RuntimeError(f"Cannot create module {module}: The module is not known to the framework!")
        module = MODULES[name_or_module]()
        module._type = module._name = name_or_module
    if params:
        module.param(params)
    if logLevel is not None:
        module.set_log_level(logLevel)
    if debugLevel is not None:
        module.set_debug_level(debugLevel)
    return module
