"""How often modules were called, and for how long."""


class Statistics:
    """Calls and seconds of the modules that were processed."""

    def __init__(self):
        self._counts = {}

    def count(self, module, seconds):
        """Count a call."""
        calls, before = self._counts.get(module, (0, 0.0))
        self._counts[module] = (calls + 1, before + seconds)

    def clear(self):
        """Forget all of it."""
        self._counts.clear()

    @property
    def modules(self):
        """The modules, in the order in which they were first called."""
        return list(self._counts)

    def get(self, module):
        """Give the number of calls and the seconds of a module."""
        return self._counts.get(module, (0, 0.0))

    def __call__(self, *_):
        return str(self)

    def __str__(self):
        lines = [f"{module.name():20} {calls:8d} {time:10.3f} s" for module, (calls, time) in self._counts.items()]
        return "\n".join([f"{'Name':20} {'Calls':>8} {'Time':>12}", *lines])


statistics = Statistics()
