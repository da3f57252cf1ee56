"""Choose events by the results of the high-level trigger, as basf2's module of the same name does.

The results of an event are a map from the names of trigger lines to 1 (accept), 0 (no result) or -1 (reject).
In a tree they are a `std::map<std::string,int>`. Python takes some 6 µs an event to read one; a small function
that ROOT compiles is several times faster and gives one byte for each line. Few different rows of such bytes
occur, so the decision of most events is one look-up.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from inspect import signature
from pathlib import PurePosixPath
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.suggestions import build_word_hint, check_word
from airflow_provider_caf.worker.collect.columns import build_read_error
from airflow_provider_caf.worker.collect.events import EventFile
from airflow_provider_caf.worker.collect.tree_reader import load_reader
from airflow_provider_caf.worker.root import declare, load_root

RESULTS = (-1, 0, 1)
MODES = ("or", "and")

_OTHER, _EXPECTED, _MISSING = 0, 1, 2
"""What a byte of a row says of one line."""

_HINT = "If that may be, set resultOnMissing to 0 or 1."

_CLASS = "map<string,int>"

_READER = """
#include <map>
#include <string>
#include <vector>
#include <TBranch.h>
#include <TTree.h>
namespace airflow_provider_caf {
// Give how many entries were read; each wrote one byte per line.
Long64_t read_trigger_lines(TTree *tree, TBranch *branch, const std::vector<std::string> &lines, int expected,
                            const Long64_t *entries, Long64_t count, unsigned char *rows) {
  std::map<std::string, int> results;
  auto *pointer = &results;
  if (branch->GetReadEntry() < 0) drop_empty_baskets(branch);
  branch->SetAddress(&pointer);
  Long64_t done = 0;
  for (; done < count; ++done) {
    if (tree->LoadTree(entries[done]) < 0 || branch->GetEntry(entries[done]) <= 0) break;
    for (const auto &line : lines) {
      const auto found = results.find(line);
      *rows++ = found == results.end() ? 2 : found->second == expected;
    }
  }
  branch->ResetAddress();
  return done;
}
}
"""


class TriggerSkim:
    """Decide by the trigger results of an event whether it is chosen.

    Each line that has the expected result counts, but one with a prescale N only once in N times. With the mode
    `or` one line that counts is enough; with `and` all have to. As in basf2, the prescale holds for whatever
    result is expected, not only for 1; with `and` the prescales multiply.

    The choice of a random prescale is made by a hash of the line's name, the file's name, the run and the
    number of the event in the file. So a repeated subjob chooses the same events, and it does not matter which
    files are read together. A counter keeps the first of N events with the expected result, then every N-th;
    it begins anew in each subjob, so the choice does depend on what that reads.

    :param triggerLines: names of lines, or pairs of a name and its prescale.
    :param expectedResult: 1, 0 or -1.
    :param logicMode: `or` or `and`.
    :param useRandomNumbersForPreScale: whether chance decides; else a counter for each line.
    :param resultOnMissing: 0 or 1: the decision where an event has no results, and what a line counts as that
        is not among them; None: both are errors.
    :raises DefinitionError: if one of them is wrong.
    """

    def __init__(
        self,
        triggerLines: Sequence[Any],
        expectedResult: int = 1,
        logicMode: str = "or",
        useRandomNumbersForPreScale: bool = True,
        resultOnMissing: int | None = None,
    ) -> None:
        on_missing = int(resultOnMissing) if isinstance(resultOnMissing, bool) else resultOnMissing
        self.lines = _parse_lines(triggerLines)
        self.expected = _check("expectedResult", expectedResult, RESULTS)
        self.mode = _check("logicMode", logicMode, MODES)
        self.is_random = _check("useRandomNumbersForPreScale", useRandomNumbersForPreScale, (True, False))
        self.on_missing = _check("resultOnMissing", on_missing, (None, 0, 1))
        self.seen = 0
        self.chosen = 0
        self._counters = dict.fromkeys(self.lines, 0)
        self._known: dict[bytes, bool | None] = {}

    @classmethod
    def from_setting(cls, value: Any, what: str) -> TriggerSkim:
        """Make one of a setting: the parameters as a mapping, or a finished one.

        :param what: whose setting it is to the reader, such as `collector 'Hits'`.
        :raises DefinitionError: if it is neither, or a parameter is unknown, missing or wrong.
        """
        if isinstance(value, TriggerSkim):
            return value
        if not isinstance(value, Mapping):
            raise DefinitionError(
                f"The trigger_skim of the {what} is {value!r}.",
                hint="Give its parameters, such as {'triggerLines': ['mumu', ['bhabha', 10]]}.",
            )
        known = list(signature(TriggerSkim).parameters)
        for name in value:
            check_word(str(name), known, f"The trigger_skim of the {what} has no parameter {name!r}.", "parameters")
        if "triggerLines" not in value:
            raise DefinitionError(
                f"The trigger_skim of the {what} has no triggerLines.", hint="Name the trigger lines that count."
            )
        return TriggerSkim(**value)

    def restart(self) -> None:
        """Begin anew with counting."""
        self.seen = self.chosen = 0
        self._counters = dict.fromkeys(self.lines, 0)

    def is_chosen(self, results: Mapping[str, int] | None, event: str) -> bool:
        """Decide about one event.

        :param results: line → result; None: the event has none.
        :param event: which event it is; a random prescale depends on it and on nothing else.
        :raises InputError: if results are missing and `resultOnMissing` is None.
        """
        if results is None:
            return self.decide_without_results(1, event)
        row = bytes(_code(results.get(line), self.expected) for line in self.lines)
        try:
            chosen = self._is_row_chosen(row, event)
        except KeyError as error:
            raise self.build_line_error(error.args[0], results, event) from None
        self.seen += 1
        self.chosen += chosen
        return chosen

    def choose(self, rows: bytes, events: Sequence[int], prefix: str) -> Sequence[int]:
        """Return those of some events that are chosen.

        :param rows: one byte per event and line.
        :param prefix: makes of the number of an event what `is_chosen` needs to know of it.
        :raises KeyError: with the name of a line that is missing, where that is an error.
        """
        width, known, chosen = len(self.lines), self._known, []
        for number, event in enumerate(events):
            row = rows[number * width : number * width + width]
            # Most events end here, without a call.
            decision = known.get(row)
            if decision is None:
                decision = self._is_row_chosen(row, f"{prefix}{event}")
            if decision:
                chosen.append(event)
        self.seen += len(events)
        self.chosen += len(chosen)
        # A range is the faster of the two for who reads arrays.
        return chosen if len(chosen) < len(events) else events

    def decide_without_results(self, count: int, where: str) -> bool:
        """Decide about events that have no trigger results.

        :param count: how many they are.
        :raises InputError: if `resultOnMissing` is None.
        """
        if self.on_missing is None:
            raise InputError(f"There are no trigger results: {where}.", hint=_HINT)
        self.seen += count
        self.chosen += count * self.on_missing
        return bool(self.on_missing)

    def build_line_error(self, line: str, results: Mapping[str, int], where: str) -> InputError:
        """Return the error of a line that an event does not have."""
        hint = build_word_hint(line, results, "lines of this event")
        return InputError(f"The trigger line {line!r} is missing: {where}.", hint=f"{hint} {_HINT}")

    def _is_row_chosen(self, row: bytes, event: str) -> bool:
        chosen = self._known[row] if row in self._known else self._decide_plainly(row)
        if chosen is None:
            chosen = self._join([self._counts(code, line, event) for code, line in zip(row, self.lines)])
        return chosen

    def _decide_plainly(self, row: bytes) -> bool | None:
        """Decide for all events with such a row, or return None where a prescale decides."""
        if self.on_missing is None and _MISSING in row:
            raise KeyError(list(self.lines)[row.index(_MISSING)])
        is_open = any(code == _EXPECTED and prescale > 1 for code, prescale in zip(row, self.lines.values()))
        self._known[row] = (
            None if is_open else self._join([self._counts(code, line, "") for code, line in zip(row, self.lines)])
        )
        return self._known[row]

    def _counts(self, code: int, line: str, event: str) -> bool:
        if code != _EXPECTED:
            return code == _MISSING and bool(self.on_missing)
        prescale = self.lines[line]
        if prescale == 1:
            return True
        if self.is_random:
            digest = blake2b(f"{line}:{event}".encode(), digest_size=8).digest()
            return int.from_bytes(digest, "big") % prescale == 0
        self._counters[line] += 1
        return self._counters[line] % prescale == 1

    def _join(self, counts: Sequence[bool]) -> bool:
        # Of a list: each counter has to go on, whatever the lines before it said.
        return all(counts) if self.mode == "and" else any(counts)


class TriggerColumn:
    """The trigger results in the tree of one input file.

    :param file: the input file, open.
    :param name: the branch.
    :param skim: who decides.
    :raises InputError: if the branch is not there, and nothing was said for that; or it is something else.
    """

    def __init__(self, file: EventFile, name: str, skim: TriggerSkim) -> None:
        self._file = file
        self._name = name
        self._skim = skim
        self._source = PurePosixPath(file.path).name
        if file.tree is None:
            raise InputError(
                f"The trigger results in {file.path} cannot be read: it holds an RNTuple.",
                hint="Write the events as a tree; or leave trigger_skim away, and decide in collect(event).",
            )
        self._branch = file.tree.GetBranch(name)
        where = file.build_where(name)
        if not self._branch:
            if skim.on_missing is None:
                known = build_word_hint(name, file.list_branches(), "branches")
                raise InputError(
                    f"There are no trigger results: there is no {where}.",
                    hint=f"{known} Set `trigger_branch` of the collector. {_HINT}",
                )
            return
        if str(self._branch.GetClassName()) != _CLASS:
            raise InputError(
                f"There are no trigger results in {where}: it is no std::map<std::string,int>.",
                hint="Set `trigger_branch` of the collector.",
            )
        self._where = where
        self._lines = load_root().std.vector["std::string"](list(skim.lines))

    def choose(self, run: object, entries: Sequence[int]) -> Sequence[int]:
        """Return those of some entries of one run that are chosen.

        :raises InputError: if one cannot be read, or a line is missing and nothing was said for that.
        """
        if not self._branch:
            return entries if self._skim.decide_without_results(len(entries), f"no branch {self._name!r}") else ()
        rows = self._read(entries)
        try:
            return self._skim.choose(rows, entries, f"{self._source}:{run}:")
        except KeyError as error:
            raise self._build_error(error.args[0], entries, rows) from None

    def _read(self, entries: Sequence[int]) -> bytes:
        rows = array("B", bytes(len(entries) * len(self._skim.lines)))
        load_reader()  # has a function that this code calls
        read = declare(_READER).read_trigger_lines
        numbers = array("q", entries)
        done = read(self._file.tree, self._branch, self._lines, self._skim.expected, numbers, len(numbers), rows)
        if done < len(numbers):
            raise build_read_error(self._where, numbers[done])
        return rows.tobytes()

    def _build_error(self, line: str, entries: Sequence[int], rows: bytes) -> InputError:
        entry = entries[rows.index(_MISSING) // len(self._skim.lines)]
        results = {str(key): int(value) for key, value in self._file.get_column(self._name).read(entry)}
        return self._skim.build_line_error(line, results, f"{self._where}, entry {entry}")


def check_trigger_skim(value: Any, branch: Any, what: str) -> None:
    """Refuse wrong trigger settings of a collector.

    :param value: its `trigger_skim`.
    :param branch: its `trigger_branch`.
    :param what: what it is to the reader, such as `collector 'Hits'`.
    :raises DefinitionError: if one of them is wrong.
    """
    if not isinstance(branch, str) or not branch:
        raise DefinitionError(f"The trigger_branch of the {what} is {branch!r}.", hint="Give the name of a branch.")
    if value is not None:
        TriggerSkim.from_setting(value, what)


def find_results(event: Any, branch: str) -> Mapping[str, int] | None:
    """Return the trigger results of an event that comes from no tree, or None if it has none.

    :raises InputError: if they are no map.
    """
    found = event.get(branch) if isinstance(event, Mapping) else getattr(event, branch, None)
    if found is None or isinstance(found, Mapping):
        return found
    try:
        return {str(line): int(result) for line, result in found}
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The trigger results {branch!r} of an event are {found!r}.", hint="Give a map from line to result."
        ) from error


def _parse_lines(lines: Any) -> dict[str, int]:
    if isinstance(lines, (str, bytes)) or not isinstance(lines, Sequence) or not lines:
        raise DefinitionError(
            f"The triggerLines of a TriggerSkim are {lines!r}.", hint="Give a list with at least one name."
        )
    parsed: dict[str, int] = {}
    for item in lines:
        name, prescale = item if isinstance(item, (list, tuple)) and len(item) == 2 else (item, 1)
        if not isinstance(name, str) or not name:
            raise DefinitionError(
                f"A TriggerSkim has the trigger line {item!r}.", hint="Give a name, or a pair of a name and a prescale."
            )
        if isinstance(prescale, bool) or not isinstance(prescale, int) or prescale < 1:
            raise DefinitionError(
                f"The prescale of the trigger line {name!r} is {prescale!r}.",
                hint="Give a whole number ≥ 1: N lets one in N events count.",
            )
        if name in parsed:
            raise DefinitionError(f"A TriggerSkim has the trigger line {name!r} twice.", hint="Name each line once.")
        parsed[name] = prescale
    return parsed


def _check(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    is_flag = allowed == (True, False)
    # 1.0 and True equal 1: a type that is not the one meant is a mistake, too.
    if value not in allowed or isinstance(value, float) or isinstance(value, bool) != is_flag:
        words = ", ".join(map(repr, allowed))
        raise DefinitionError(f"The {name} of a TriggerSkim is {value!r}.", hint=f"Use one of {words}.")
    return value


def _code(result: Any, expected: int) -> int:
    if result is None:
        return _MISSING
    return _EXPECTED if int(result) == expected else _OTHER
