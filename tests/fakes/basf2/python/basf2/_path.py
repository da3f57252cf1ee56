"""Paths of modules."""

from basf2._logging import B2FATAL
from basf2._modules import register_module


class Path:
    """Modules and other paths in their order."""

    def __init__(self):
        self._elements = []

    def add_module(self, module, logLevel=None, debugLevel=None, **params):
        """Add a module, or make it by its name."""
        module = register_module(module, logLevel=logLevel, debugLevel=debugLevel, **params)
        self._elements.append(module)
        return module

    def add_path(self, path):
        """Add a path; what comes into it later is in this one, too."""
        if path is self:
            B2FATAL("Attempting to add a path to itself!")
        self._elements.append(path)

    def modules(self):
        """Give the modules, also those of added paths."""
        found = []
        for element in self._elements:
            found += element.modules() if isinstance(element, Path) else [element]
        return found

    def __contains__(self, name):
        return any(module.type() == name for module in self.modules())

    def __str__(self):
        return f"[{' -> '.join(map(str, self._elements))}]"


def create_path():
    """Give an empty path."""
    return Path()
