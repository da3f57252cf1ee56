"""Hints for words that are not known: did you mean another one?"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from airflow_provider_caf.core.errors import DefinitionError


def suggest_word(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that looks most like this one, or None if none is near."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1)
    if near:
        return near[0]
    # The distance counts a capital letter as a mistake like every other; people do not.
    folded = {known_word.casefold(): known_word for known_word in words}
    near = difflib.get_close_matches(word.casefold(), folded, n=1)
    return folded[near[0]] if near else None


def check_word(word: str, known: Collection[str], what: str, plural: str) -> None:
    """Refuse a word that is not known.

    :param what: what is wrong then, a whole sentence.
    :raises DefinitionError: with the hint of `build_word_hint`.
    """
    if word not in known:
        raise DefinitionError(what, hint=build_word_hint(word, known, plural))


def build_word_hint(word: str, known: Iterable[str], plural: str) -> str:
    """Return the hint for a word that is not known.

    :param plural: what the known words are, such as `parameters`.
    """
    words = sorted(known)
    if not words:
        return f"There are no {plural}."
    suggestion = suggest_word(word, words)
    question = "" if suggestion is None else f"Did you mean {suggestion!r}? "
    return f"{question}Known {plural}: {', '.join(words)}."
