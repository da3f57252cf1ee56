"""Go through the events of a path."""

import operator

_OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


class Event:
    """What modules see of an event; one object for all."""

    exp = run = event = value = None
    trigger = None


class World:
    """What the modules of a path share."""

    def __init__(self):
        self.event = Event()
        self.histograms = None


def holds(expression, value):
    """Tell whether a return value is as an expression says."""
    sign = next(each for each in ("==", "!=", "<=", ">=", "<", ">") if expression.startswith(each))
    return _OPERATORS[sign](value, int(expression[len(sign) :]))


def list_modules(path):
    """Give the modules of a path and of the paths of its conditions, each once."""
    found = []
    for module in path.modules():
        if module not in found:
            found.append(module)
        for _, other, _ in module.get_all_conditions():
            found += [each for each in list_modules(other) if each not in found]
    return found


def run_event(path):
    """Let the modules of a path see the event."""
    for module in path.modules():
        module.event()
        for expression, other, after in module.get_all_conditions():
            if holds(expression, module.value):
                run_event(other)
                if after == "END":
                    return
                break


def run_events(path, modules, source, max_event):
    """Let the modules see all events, and where runs begin and end."""
    current = None
    event = source.world.event
    for number, _ in enumerate(source.read_events(event), start=1):
        run = (event.exp, event.run)
        if run != current:
            for module in modules if current is not None else ():
                module.endRun()
            for module in modules:
                module.beginRun()
            current = run
        run_event(path)
        if number == max_event:
            break
    if current is not None:
        for module in modules:
            module.endRun()


def process(path, max_event=0):
    """Process all events of the input."""
    world = World()
    modules = list_modules(path)
    for module in modules:
        module.world = world
    source = next((module for module in modules if hasattr(module, "read_events")), None)
    if source is None:
        raise RuntimeError("There is no module that reads events.")
    for module in modules:
        module.initialize()
    run_events(path, modules, source, max_event)
    # The file of the histograms is closed last.
    for module in sorted(modules, key=lambda module: hasattr(module, "open_file")):
        module.terminate()
