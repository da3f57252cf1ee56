"""Add objects only where they fit together, and prove that the sum has all that was added.

ROOT adds objects that do not fit: a branch that one tree lacks takes its entries with it, a `THnSparse` of other bins
is left out, a `TH1S` stops at 32767. It says so in a line of the log, or not at all. So every object that is to be
added to others is described before (`describe_object`), and so is the sum:

=================  =====================================================  =========================================
class              its signature, equal in all that are added             what the sum keeps
=================  =====================================================  =========================================
all                class
TTree, TNtuple     branches with leaves, types, lengths, class versions;  entries of tree, branches and index;
                   aliases, friends, index, user information, weight      largest values of the counters
TH1, TH2, TH3      bins, edges and labels of the axes; functions; the     entries, bins, their moments along the
                   bit of averages                                        axes, squared errors, sums of w, wx, wx², …
TProfile (1-3 D)   the same; option of the errors, limits of the values   the same, and the bins' entries
TH2Poly,           outlines of the bins, functions                        entries, bins, squared errors or sums of
TProfile2Poly                                                             the values
THn, THnSparse     bins, edges and labels of the axes; functions          entries, bins, moments, squared errors
TEfficiency        statistic option, confidence level, prior              passed and total, as histograms
TGraph…            functions                                              points, sums of coordinates and errors
TParameter         merge mode                                             what the mode says
TStatistic                                                                entries, sums of w, w², wx; extremes
lists, THStack     number of items, the signature of each                 what each item keeps
=================  =====================================================  =========================================

The sum has to have the signature of what was added, too. An axis that grows (alphanumeric labels, `SetCanExtend`), or
whose range is not found yet, fits every range; its labels keep their content instead of its bins their place. Of
another class it is not known what the sum keeps: then ROOT must have reported nothing at all, no warning either. What
ROOT adds wrongly is refused where there is more than one: averages, `TGraphMultiErrors`, trees with friends.

Rounding is the only excuse for a difference. Adding n objects rounds n times, each time by at most half a unit in the
last place of what is there: n · 2⁻⁵³ of the sum of absolute values for doubles, n · 2⁻²⁴ for floats. So a loss is
larger, or it cannot be told from rounding. Counts and whole numbers have to come out exactly, in floats as well: a
`TH1F` that has counted to 16777216 = 2²⁴ stays there, and what is added is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.worker.collect.describe_object import Description, Key

_SHOWN = 120

ANY = "any"
"""The value of an aspect that fits every other."""

_ROUNDING = {"sum": 2.0**-52, "product": 2.0**-52, "float sum": 2.0**-24, "float product": 2.0**-24}
"""For each addition, a part of the sum of absolute values. Others are exact, as long as a double has the digits."""

_NEAR = 1e-9
"""For quantities that ROOT keeps as quotients only, such as means, and that are multiplied out again."""

_FOLDS: Mapping[str, Callable[[float, float], float]] = {
    "largest": max,
    "smallest": min,
    "product": lambda before, value: before * value,
    "float product": lambda before, value: before * value,
    "first": lambda before, value: before,
    "last": lambda before, value: value,
}
"""All other rules add."""

_STRENGTH = ("total", "sum", "float sum", "near sum", "unknown")
"""Rules of one quantity, from strict to lax. The laxest that was met counts; `unknown` checks nothing."""

_HINT = "Objects of one name need one class, the same branches, axes and functions, wherever they are made."
_NOT_ADDED = "ROOT does not add such objects as they are. What it says is in the log above. Collect another form."
_PROFILE_HINT = "Call Sumw2() on a profile with weights before it is filled: ROOT merges it as the first file has it."
_LOST_HINT = "Take a class with more room (TH1D holds all that TH1C, TH1S, TH1I and TH1F cannot), and collect again."

Quantity = tuple[str, float, float]
"""Rule, value, and the sum of the absolute values of what was added up."""


class Tally:
    """What was put under one name so far.

    :param name: the object, for messages, such as `object 'mass'`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._aspects: dict[str, tuple[str, str]] = {}
        self._forms: set[str] = set()
        self._sums: dict[str, Quantity] = {}
        self._first = ""
        self.count = 0
        self.is_known = True

    def add(self, description: Description, source: str) -> None:
        """Count an object in.

        :param source: where it is, for messages.
        :raises InputError: if it does not fit those before, or had lost content before it came here.
        """
        check_faults(description, f"{self._name} in {source}")
        # Nearly all forms are equal, letter by letter.
        if description.form not in self._forms:
            self._add_aspects({name: (value, source) for name, value in _read_form(description.form)}, source)
            self._forms.add(description.form)
        self._add_sums(_read_sums(description.sums))
        self.count += 1
        self.is_known = self.is_known and description.is_known

    def check(self, result: Description) -> None:
        """Find out whether the sum of all is what was added.

        :raises InputError: if it has another signature, lacks something, or has reached the limit of its type.
        """
        check_faults(result, f"sum of {self.count} parts of the {self._name}")
        for name, before, after in self._compare({name: (value, "") for name, value in _read_form(result.form)}, ""):
            raise InputError(
                f"The {self._name} changed as {self.count} parts were added: {name} is {after[0]}, "
                f"it was {before[0]} in {before[1]}.",
                hint=_NOT_ADDED,
            )
        found = dict(_read_sums(result.sums))
        for name, expected in self._sums.items():
            self._check_quantity(name, expected, found.get(name, (expected[0], 0.0, 0.0)))

    def to_json(self) -> dict[str, Any]:
        """Give what a tally in another process can count in."""
        return {
            "aspects": self._aspects,
            "sums": self._sums,
            "first": self._first,
            "count": self.count,
            "is_known": self.is_known,
        }

    def add_json(self, value: Mapping[str, Any]) -> None:
        """Count in what a tally in another process has.

        :raises InputError: if it does not fit.
        """
        self._add_aspects({name: (text, source) for name, (text, source) in value["aspects"].items()}, value["first"])
        self._add_sums((name, (rule, one, size)) for name, (rule, one, size) in value["sums"].items())
        self.count += value["count"]
        self.is_known = self.is_known and value["is_known"]

    def _add_aspects(self, aspects: Mapping[str, tuple[str, str]], source: str) -> None:
        if not self.count:
            self._aspects, self._first = dict(aspects), source
            return
        for name, before, after in self._compare(aspects, source):
            raise InputError(
                f"The {self._name} cannot be merged: {name} is {before[0]} in {before[1]}, but {after[0]} in "
                f"{after[1]}.",
                hint=_HINT,
            )
        # A growing axis fits all; another that does not grow has to fit the next.
        self._aspects.update({name: pair for name, pair in aspects.items() if self._aspects[name][0] == ANY})

    def _compare(
        self, others: Mapping[str, tuple[str, str]], source: str
    ) -> Iterator[tuple[str, tuple[str, str], tuple[str, str]]]:
        """Give the aspects that differ, cut to where they do."""
        for name in {**self._aspects, **others}:
            before = self._aspects.get(name, ("none", self._first))
            after = others.get(name, ("none", source))
            if before[0] != after[0] and ANY not in (before[0], after[0]):
                first, second = _cut_to_difference(before[0], after[0])
                yield name, (first, before[1]), (second, after[1])

    def _add_sums(self, quantities: Iterable[tuple[str, Quantity]]) -> None:
        for name, (rule, value, size) in quantities:
            if rule == "alone" and self.count:
                raise InputError(f"The {self._name} cannot be merged: {name}.", hint="Collect another form.")
            so_far = self._sums.get(name)
            if so_far is None:
                self._sums[name] = (rule, value, size)
            elif rule in _FOLDS:
                self._sums[name] = (rule, _FOLDS[rule](so_far[1], value), max(size, so_far[2]))
            else:
                laxer = rule if rule == so_far[0] else max(rule, so_far[0], key=_STRENGTH.index)
                self._sums[name] = (laxer, so_far[1] + value, so_far[2] + size)

    def _check_quantity(self, name: str, expected: Quantity, found: Quantity) -> None:
        rule, value, size = expected
        if rule == "unknown" or found[0] == "unknown" or value == found[1]:
            return
        if math.isnan(value) and math.isnan(found[1]):
            return
        part = _NEAR if rule == "near sum" else _ROUNDING.get(rule, 0.0) * (self.count + 2)
        slack = max(part, _ROUNDING["sum"]) * (abs(value) if rule.endswith("product") else max(size, found[2]))
        # Not `>`: what is no number is larger than none.
        if not abs(value - found[1]) <= slack:
            raise InputError(
                f"The {self._name} lost content as {self.count} parts were added: {name} is {found[1]:.17g}, "
                f"but {value:.17g} was put in.",
                hint=self._find_hint(),
            )

    def _find_hint(self) -> str:
        kind = self._aspects["class"][0]
        if kind.startswith("TProfile"):
            return _PROFILE_HINT
        return _LOST_HINT if kind.startswith("TH") else _NOT_ADDED


class FileTally:
    """What some files that are merged into one have, key by key."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}
        self._kept: dict[str, tuple[str, int]] = {}

    @property
    def is_known(self) -> bool:
        """Whether it is known of all objects what their sum has to keep."""
        return all(tally.is_known for tally in self._tallies.values())

    def add(self, keys: Iterable[Key], path: str) -> None:
        """Count a file in.

        :raises InputError: if an object of it does not fit those before, or has lost content.
        """
        for key in keys:
            if key.description is not None:
                self._get_tally(key.place).add(key.description, path)
            elif not key.is_folder:
                self._add_kept(key.place, key.type, key.cycles)

    def to_json(self) -> dict[str, Any]:
        """Give what a tally in another process can count in."""
        return {"objects": {place: one.to_json() for place, one in self._tallies.items()}, "kept": self._kept}

    def add_json(self, value: Mapping[str, Any]) -> None:
        """Count in what a tally in another process has.

        :raises InputError: if it does not fit.
        """
        for place, one in value["objects"].items():
            self._get_tally(place).add_json(one)
        for place, (type_name, cycles) in value["kept"].items():
            self._add_kept(place, type_name, cycles)

    def check(self, keys: Iterable[Key], indexed: Container[str]) -> None:
        """Find out whether a merged file has all.

        :param indexed: the places of objects that algorithms ask for: there can be one only.
        :raises InputError: if a key is missing or differs from the sum of what was put in.
        """
        found = {key.place: key for key in keys if not key.is_folder}
        for place, tally in self._tallies.items():
            if place not in found or (description := found[place].description) is None:
                raise InputError(f"The object {place!r} is missing in the merged file.", hint=_NOT_ADDED)
            tally.check(description)
        for place, (type_name, cycles) in self._kept.items():
            if place not in found or found[place].cycles != cycles:
                raise InputError(f"The {type_name} {place!r} is missing in the merged file.", hint=_NOT_ADDED)
            if cycles > 1 and place in indexed:
                raise InputError(
                    f"The object {place!r} is in several files, and ROOT cannot merge a {type_name}.",
                    hint="Collect a tree, a histogram, a graph or another class with Merge().",
                )

    def _get_tally(self, place: str) -> Tally:
        if place not in self._tallies:
            self._tallies[place] = Tally(f"object {place!r}")
        return self._tallies[place]

    def _add_kept(self, place: str, type_name: str, cycles: int) -> None:
        self._kept[place] = (type_name, cycles + self._kept.get(place, ("", 0))[1])


def check_faults(description: Description, what: str) -> None:
    """Refuse an object that has lost content.

    :param what: what it is, for the message.
    :raises InputError: if it shows so.
    """
    if description.faults:
        raise InputError(f"The {what} has lost content: {description.faults[0]}.", hint=_LOST_HINT)


def _read_form(form: str) -> list[tuple[str, str]]:
    """Give the aspects, numbered where a name comes twice."""
    seen: dict[str, int] = {}
    aspects = []
    for line in form.split("\n")[:-1]:
        name, _, value = line.partition("\t")
        seen[name] = seen.get(name, 0) + 1
        aspects.append((name if seen[name] == 1 else f"{name} ({seen[name]})", value))
    return aspects


def _read_sums(sums: str) -> Iterator[tuple[str, Quantity]]:
    for line in sums.split("\n")[:-1]:
        rule, name, value, size = line.split("\t")
        yield name, (rule, float(value), float(size))


def _cut_to_difference(first: str, second: str) -> tuple[str, str]:
    """Cut two long texts to the place where they differ."""
    if max(len(first), len(second)) <= _SHOWN:
        return first, second
    same = next((at for at, (one, two) in enumerate(zip(first, second)) if one != two), min(len(first), len(second)))
    start = max(same - _SHOWN // 2, 0)
    cut = [f"{'…' if start else ''}{text[start : start + _SHOWN]}" for text in (first, second)]
    return cut[0], cut[1]
