"""The one dataclass flavour of `core`: frozen, and slotted and keyword-only where Python can do it.

`core` travels with the job and has to run on Python 3.9, whose dataclasses know neither of the two.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

_T = TypeVar("_T")

if TYPE_CHECKING:
    from typing import dataclass_transform  # novm

    @dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
    def record(cls: type[_T]) -> type[_T]:
        """Make a frozen, slotted, keyword-only dataclass."""

elif sys.version_info >= (3, 10):
    record = dataclass(frozen=True, slots=True, kw_only=True)  # novm
else:
    record = dataclass(frozen=True)
