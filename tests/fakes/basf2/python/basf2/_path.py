"""Paths of modules."""

from basf2._modules import Module, register_module


class AfterConditionPath:
    """What follows when a condition has led to another path."""

    END, CONTINUE = "END", "CONTINUE"


class Path:
    """Modules in their order."""

    def __init__(self):
        self._modules = []

    def add_module(self, module, logLevel=None, debugLevel=None, **params):
        """Add a module, or make it by its name."""
        if not isinstance(module, Module):
            module = register_module(module)
        if params:
            module.param(params)
        if logLevel is not None:
            module.set_log_level(logLevel)
        if debugLevel is not None:
            module.set_debug_level(debugLevel)
        self._modules.append(module)
        return module

    def add_path(self, path):
        """Add all modules of a path."""
        self._modules += path.modules()

    def modules(self):
        """Give the modules."""
        return list(self._modules)

    def __contains__(self, name):
        return any(module.type() == name for module in self._modules)

    def __str__(self):
        return " -> ".join(module.name() for module in self._modules)


def create_path():
    """Give an empty path."""
    return Path()
