"""Modules: what is done with each event."""

import copy


class Param:
    """A parameter of a module."""

    def __init__(self, name, default):
        self.name = name
        self.default = default
        self.values = copy.deepcopy(default)
        self.setInSteering = False


class Module:
    """Base class of modules, also of those that a steering file writes in Python."""

    PARAMS = {}

    def __init__(self):
        self._type = ""
        self._name = type(self).__name__
        self._params = {name: Param(name, default) for name, default in self.PARAMS.items()}
        self._conditions = []
        self.value = 0

    def type(self):
        """Give the name under which it is registered; empty for a module in Python."""
        return self._type or "PyModule"

    def name(self):
        """Give its name."""
        return self._name

    def set_name(self, name):
        """Give it another name: that of the folder of its objects, too."""
        self._name = name

    def param(self, name, value=None):
        """Set a parameter, or several of them."""
        for key, each in (name if isinstance(name, dict) else {name: value}).items():
            if key not in self._params:
                raise AttributeError(f"Parameter '{key}' of the module '{self._name}' is not known")
            self._params[key].values = each
            self._params[key].setInSteering = True

    def available_params(self):
        """Give all parameters."""
        return list(self._params.values())

    def get(self, name):
        """Give the value of a parameter."""
        return self._params[name].values

    def return_value(self, value):
        """Set what conditions look at."""
        self.value = int(value)

    def if_value(self, expression, path, after="END"):
        """Go on with another path where the return value is as the expression says."""
        self._conditions.append((expression, path, after))

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

    def initialize(self):
        pass

    def beginRun(self):
        pass

    def event(self):
        pass

    def endRun(self):
        pass

    def terminate(self):
        pass


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
