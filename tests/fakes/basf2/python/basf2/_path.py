"""Paths of modules."""

from basf2._modules import Module, register_module


class AfterConditionPath:
    """What follows when a condition has led to another path."""

    END, CONTINUE = "END", "CONTINUE"


class Path:
    """Modules in their order."""

    def __init__(self):
        self._modules = []

    def add_module(self, module, **params):
        """Add a module, or make it by its name."""
        if not isinstance(module, Module):
            module = register_module(module)
        module.param(params)
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


def create_path():
    """Give an empty path."""
    return Path()
