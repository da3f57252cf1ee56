"""What stands for the store that keeps values across the tries of a task."""

from __future__ import annotations

from typing import Any


class Store(dict[str, Any]):
    def set(self, name: str, value: Any) -> None:
        self[name] = value

    def delete(self, name: str) -> None:
        self.pop(name, None)
