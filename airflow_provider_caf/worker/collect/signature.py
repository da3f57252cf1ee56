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
TH1, TH2, TH3      bins, edges and labels of the axes; functions; the     entries, bins, the sum of bin times place,
                   bit of averages                                        squared errors, sums of w, wx, wx², …
TProfile (1-3 D)   the same; option of the errors, limits of the values   the same, and the bins' entries
TH2Poly,           outlines of the bins, functions                        entries, bins, squared errors or sums of
TProfile2Poly                                                             the values
THn, THnSparse     bins, edges and labels of the axes; functions          entries, bins, bin times place, errors
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
last place of what is there: n · 2⁻⁵³ of the sum of absolute values for doubles, n · 2⁻²⁴ for floats; summing up the
cells of one rounds by up to 2⁻⁴⁷. So a loss is larger, or it cannot be told from rounding. Counts and whole numbers
have to come out exactly, in floats as well: a `TH1F` that has counted to 16777216 = 2²⁴ stays there, and what is added
is lost.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from typing import Any

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.worker.collect.describe_object import Description, load_describer, read_description

_SHOWN = 120

ANY = "any"
"""The value of an aspect that fits every other."""

_ROUNDING = {"sum": 2.0**-52, "product": 2.0**-52, "float sum": 2.0**-24, "float product": 2.0**-24}
"""For each addition, a part of the sum of absolute values. Others are exact, as long as a double has the digits."""

_DIGITS = 2.0**-52

_SUMMED = 2.0**-46
"""What is rounded as the cells of an object are summed up: 64 in one double, on either side of the comparison."""

_NEAR = 1e-9
"""For quantities that ROOT keeps as quotients only, such as means, and that are multiplied out again."""

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
        self.content = load_describer().Tally()
        """What is counted in C++."""
        self._known: dict[str, tuple[str, str]] = {}
        self._first = ""

    @property
    def is_known(self) -> bool:
        """Whether it is known what the sum has to keep."""
        return bool(self.content.known)

    def add(self, item: Any, source: str) -> None:
        """Count an object in.

        :param source: where it is, for messages.
        :raises InputError: if it does not fit those before, or had lost content before it came here.
        """
        if said := str(self.content.add(item, source)):
            self.fit(read_description(said), source)

    def fit(self, description: Description, source: str) -> None:
        """Compare an object with those before.

        :raises InputError: as `add`.
        """
        check_faults(description, f"{self._name} in {source}")
        self._fit_form(description.form, source)
        self._check_alone()

    def check(self, item: Any) -> None:
        """Find out whether the sum of all is what was added.

        :raises InputError: if it has another signature, lacks something, or has reached the limit of its type.
        """
        if description := str(self.content.check(item)):
            self.judge(description)

    def judge(self, description: str) -> None:
        """Find out whether what differs between the sum and what was added is an error.

        :param description: what the tally in C++ says of the sum.
        :raises InputError: as `check`.
        """
        count = self.content.count
        described, _, different = description.partition("\x1e")
        if described:
            result = read_description(described)
            check_faults(result, f"sum of {count} parts of the {self._name}")
            for name, before, after in self._compare(_read_aspects(result.form, ""), ""):
                raise InputError(
                    f"The {self._name} changed as {count} parts were added: {name} is {after[0]}, "
                    f"it was {before[0]} in {before[1]}.",
                    hint=_NOT_ADDED,
                )
        quantities = list(_read_quantities(different))
        for (name, expected), (_, found) in zip(quantities[::2], quantities[1::2]):
            self._check_quantity(name, expected, found)

    def add_text(self, text: str) -> None:
        """Count in the text of the `content` of a tally in another process.

        :raises InputError: if it does not fit.
        """
        for source, form in _read_forms(str(self.content.add_text(text))):
            self._fit_form(form, source)
        self._check_alone()

    def _check_alone(self) -> None:
        if self.content.count > 1 and (reason := str(self.content.get_alone()).partition("\n")[0]):
            raise InputError(f"The {self._name} cannot be merged: {reason}.", hint="Collect another form.")

    @property
    def _aspects(self) -> dict[str, tuple[str, str]]:
        """What the first object has, read when another one differs."""
        if not self._known:
            self._first, form = next(_read_forms(str(self.content.get_forms())))
            self._known = _read_aspects(form, self._first)
        return self._known

    def _fit_form(self, form: str, source: str) -> None:
        aspects = _read_aspects(form, source)
        for name, before, after in self._compare(aspects, source):
            raise InputError(
                f"The {self._name} cannot be merged: {name} is {before[0]} in {before[1]}, but {after[0]} in "
                f"{after[1]}.",
                hint=_HINT,
            )
        # A growing axis fits all; another that does not grow has to fit the next.
        self._known.update({name: pair for name, pair in aspects.items() if self._aspects[name][0] == ANY})

    def _compare(
        self, others: Mapping[str, tuple[str, str]], source: str
    ) -> Iterator[tuple[str, tuple[str, str], tuple[str, str]]]:
        """Yield the aspects that differ, cut to where they do."""
        for name in {**self._aspects, **others}:
            before = self._aspects.get(name, ("none", self._first))
            after = others.get(name, ("none", source))
            if before[0] != after[0] and ANY not in (before[0], after[0]):
                texts = _cut_to_difference(before[0], after[0])
                yield name, (texts[0], before[1]), (texts[1], after[1])

    def _check_quantity(self, name: str, expected: Quantity, found: Quantity) -> None:
        rule, value, size = expected
        if rule == "unknown" or found[0] == "unknown" or value == found[1]:
            return
        if math.isnan(value) and math.isnan(found[1]):
            return
        part = _NEAR if rule == "near sum" else _ROUNDING.get(rule, 0.0) * (self.content.count + 2)
        least = _DIGITS if rule == "total" and size < 1 / _DIGITS else _SUMMED
        slack = max(part, least) * (abs(value) if rule.endswith("product") else max(size, found[2]))
        # Not `>`: what is no number is larger than none.
        if not abs(value - found[1]) <= slack:
            raise InputError(
                f"The {self._name} lost content as {self.content.count} parts were added: {name} is {found[1]:.17g}, "
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

    def __getitem__(self, place: str) -> Tally:
        """Return the tally of what is at a place."""
        if place not in self._tallies:
            self._tallies[place] = Tally(f"object {place!r}")
        return self._tallies[place]

    @property
    def is_known(self) -> bool:
        """Whether it is known of all objects what their sum has to keep."""
        return all(tally.is_known for tally in self._tallies.values())

    def keep(self, place: str, type_name: str, cycles: int) -> None:
        """Count in what is not merged, but kept."""
        self._kept[place] = (type_name, cycles + self._kept.get(place, ("", 0))[1])

    def to_json(self) -> dict[str, Any]:
        """Return what a tally in another process can count in."""
        return {"objects": {place: str(one.content.text()) for place, one in self._tallies.items()}, "kept": self._kept}

    def add_json(self, value: Mapping[str, Any]) -> None:
        """Count in what a tally in another process has.

        :raises InputError: if it does not fit.
        """
        for place, one in value["objects"].items():
            self[place].add_text(one)
        for place, (type_name, cycles) in value["kept"].items():
            self.keep(place, type_name, cycles)

    def check(self, cycles: Mapping[str, int], indexed: Container[str]) -> None:
        """Find out whether a merged file has all keys.

        :param cycles: how many there are of each key, by its path.
        :param indexed: the places of objects that algorithms ask for: there can be one only.
        :raises InputError: if a key is missing.
        """
        for place in self._tallies:
            if place not in cycles:
                raise InputError(f"The object {place!r} is missing in the merged file.", hint=_NOT_ADDED)
        for place, (type_name, count) in self._kept.items():
            if cycles.get(place) != count:
                raise InputError(f"The {type_name} {place!r} is missing in the merged file.", hint=_NOT_ADDED)
            if count > 1 and place in indexed:
                raise InputError(
                    f"The object {place!r} is in several files, and ROOT cannot merge a {type_name}.",
                    hint="Collect a tree, a histogram, a graph or another class with Merge().",
                )


def check_faults(description: Description, what: str) -> None:
    """Refuse an object that has lost content.

    :param what: what it is, for the message.
    :raises InputError: if it shows so.
    """
    if description.faults:
        raise InputError(f"The {what} has lost content: {description.faults[0]}.", hint=_LOST_HINT)


def _read_aspects(form: str, source: str) -> dict[str, tuple[str, str]]:
    """Return the values of the aspects with their source; where a name comes twice, it is numbered."""
    seen: dict[str, int] = {}
    aspects = {}
    for line in form.split("\n")[:-1]:
        name, _, value = line.partition("\t")
        seen[name] = seen.get(name, 0) + 1
        aspects[name if seen[name] == 1 else f"{name} ({seen[name]})"] = value, source
    return aspects


def _read_forms(text: str) -> Iterator[tuple[str, str]]:
    for one in text.split("\x1e")[:-1]:
        source, _, form = one.partition("\x1f")
        yield source, form


def _read_quantities(text: str) -> Iterator[tuple[str, Quantity]]:
    for line in text.split("\n")[:-1]:
        rule, name, value, size = line.split("\t")
        yield name, (rule, float.fromhex(value), float.fromhex(size))


def _cut_to_difference(first: str, second: str) -> tuple[str, str]:
    """Cut two long texts to the place where they differ."""
    if max(len(first), len(second)) <= _SHOWN:
        return first, second
    same = next((at for at, (one, two) in enumerate(zip(first, second)) if one != two), min(len(first), len(second)))
    start = max(same - _SHOWN // 2, 0)
    cut = [f"{'…' if start else ''}{text[start : start + _SHOWN]}" for text in (first, second)]
    return cut[0], cut[1]
