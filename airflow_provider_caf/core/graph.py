"""The order of calibrations that depend on one another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.suggestions import check_word


def order_calibrations(depends: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Sort calibrations so that each comes after those that it depends on.

    Apart from that the order is the one in which they are defined.

    :param depends: for each calibration, those that it depends on.
    :raises DefinitionError: if one depends on a calibration that does not exist, or if there is a cycle.
    """
    edges = _read_edges(depends)
    sorter = TopologicalSorter(edges)
    try:
        sorter.prepare()
    except CycleError as error:
        raise _build_cycle_error(error.args[1], edges) from None
    places = {name: place for place, name in enumerate(edges)}
    order: list[str] = []
    ready: set[str] = set()
    while sorter.is_active():
        ready.update(sorter.get_ready())
        order.append(min(ready, key=places.__getitem__))
        ready.remove(order[-1])
        sorter.done(order[-1])
    return tuple(order)


def find_ancestors(depends: Mapping[str, Iterable[str]], name: str) -> tuple[str, ...]:
    """Return all calibrations that one depends on, directly or not, nearest first.

    The distance is that of the longest way, so a calibration always comes before those that it was itself
    made with: its payloads are the newer ones. Those at one distance come in the order in which they are
    defined.

    :param depends: for each calibration, those that it depends on.
    :raises DefinitionError: if `name` or one that is depended on does not exist, or if there is a cycle.
    """
    edges = _read_edges(depends)
    check_word(name, edges, f"There is no calibration {name!r}.", "calibrations")
    distance = {name: 0}
    for calibration in reversed(order_calibrations(edges)):
        if calibration in distance:
            for needed in edges[calibration]:
                distance[needed] = max(distance.get(needed, 0), distance[calibration] + 1)
    del distance[name]
    # The sort is stable: at one distance the order is that of the definition.
    return tuple(sorted(filter(distance.__contains__, edges), key=distance.__getitem__))


def _read_edges(depends: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    edges = {name: tuple(needed) for name, needed in depends.items()}
    for name, dependencies in edges.items():
        for needed in dependencies:
            check_word(
                needed, edges, f"Calibration {name!r} depends on {needed!r}, which does not exist.", "calibrations"
            )
    return edges


def _build_cycle_error(cycle: list[str], edges: Mapping[str, tuple[str, ...]]) -> DefinitionError:
    # graphlib gives each before the one that needs it; "a → b" is to be read as "a depends on b".
    ring = list(reversed(cycle))[:-1]
    names = list(edges)
    start = min(range(len(ring)), key=lambda index: names.index(ring[index]))
    ring = ring[start:] + ring[:start]
    return DefinitionError(
        f"The calibrations depend on one another in a circle: {' → '.join([*ring, ring[0]])}.",
        hint="Each depends on the next. Take one of these dependencies out.",
    )
