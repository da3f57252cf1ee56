"""Choose events by the trigger."""

from basf2._logging import B2FATAL
from basf2._modules import Module
from basf2._params import ListOf
from basf2._random import generator


class TriggerSkim(Module):
    """Give 1 for events that the trigger chose."""

    PARAMS = {
        "triggerLines": ListOf(str, tuple),
        "expectedResult": 1,
        "logicMode": "or",
        "useRandomNumbersForPreScale": True,
        "resultOnMissing": None,
        "skipFirstNEvents": 0,
    }

    def initialize(self):
        if self.get("logicMode") not in ("or", "and"):
            B2FATAL("You have entered an invalid parameter for logicMode.")
        if self.get("expectedResult") not in (-1, 0, 1):
            B2FATAL("You have entered an invalid parameter for expectedResult.")
        self._lines = [(line, 1) if isinstance(line, str) else tuple(line) for line in self.get("triggerLines")]
        self._counters = {}
        self._skipped = 0

    def event(self):
        if self._skipped < self.get("skipFirstNEvents"):
            self._skipped += 1
            self.return_value(0)
            return
        results = self.world.event.trigger
        missing = self.get("resultOnMissing")
        if results is None:
            if missing is None:
                B2FATAL("There are no trigger results.")
            self.return_value(missing)
            return
        # Of a list: each counter has to go on, whatever the lines before it said.
        found = [self._check(name, prescale, results) for name, prescale in self._lines]
        self.return_value(all(found) if self.get("logicMode") == "and" else any(found))

    def _check(self, name, prescale, results):
        if name not in results:
            if self.get("resultOnMissing") is None:
                B2FATAL(f"There is no trigger line {name}.")
            return bool(self.get("resultOnMissing"))
        if results[name] != self.get("expectedResult") or prescale < 1:
            return False
        if prescale == 1:
            return True
        if self.get("useRandomNumbersForPreScale"):
            return generator.randrange(prescale) == 0
        self._counters[name] = self._counters.get(name, 0) + 1
        return self._counters[name] % prescale == 1
