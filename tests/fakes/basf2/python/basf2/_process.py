"""Go through the events of a path."""

import time

from basf2 import _options
from basf2._logging import B2INFO
from basf2._modules import AfterConditionPath
from basf2._statistics import statistics


class Event:
    """What modules see of an event; one object for all."""

    exp = run = event = value = None
    trigger = None


class World:
    """What the modules of a path share."""

    def __init__(self):
        self.event = Event()
        self.histograms = None


def list_modules(path):
    """Give the modules of a path and of the paths of its conditions, each once."""
    found = []
    for module in path.modules():
        if module not in found:
            found.append(module)
        for other in module.get_all_condition_paths():
            found += [each for each in list_modules(other) if each not in found]
    return found


def find_source(modules):
    """Give the module that reads or makes the events; one that reads comes first."""
    sources = [module for module in modules if hasattr(module, "read_events")]
    if not sources:
        raise RuntimeError("There is no module that reads events.")
    return min(sources, key=lambda module: module.makes_events)


def run_event(path):
    """Let the modules of a path see the event."""
    for module in path.modules():
        began = time.perf_counter()
        module.event()
        statistics.count(module, time.perf_counter() - began)
        condition = module.find_condition()
        if condition is not None:
            run_event(condition.get_path())
            if condition.get_after_path() == AfterConditionPath.END:
                return


def call(modules, step):
    """Call one of the steps of all modules."""
    for module in modules:
        getattr(module, step)()


def run_events(path, modules, source, event, max_event):
    """Let modules see all runs and events."""
    current = None
    for number, _ in enumerate(source.read_events(event), start=1):
        run = (event.exp, event.run)
        if run != current:
            if current is not None:
                call(modules, "endRun")
            call(modules, "beginRun")
            current = run
        run_event(path)
        if max_event and number >= max_event:
            break
    if current is not None:
        call(modules, "endRun")


def process(path, max_event=0):
    """Process all events of the input, or so many of them."""
    world = World()
    modules = list_modules(path)
    if _options.dry_run:
        B2INFO(f"Dry run: {', '.join(module.name() for module in modules)}")
        return
    source = find_source(modules)
    for module in modules:
        module.world = world
    call(modules, "initialize")
    run_events(path, modules, source, world.event, _options.max_events or max_event)
    # The file of the histograms is closed last.
    call(sorted(modules, key=lambda module: hasattr(module, "open_file")), "terminate")
