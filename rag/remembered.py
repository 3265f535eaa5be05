"""What was found out a moment ago, each with the time until which it may be believed."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """A bounded memory; the oldest entries make room for new ones."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        """Whether something is known of a key, or was a moment ago."""
        return key in self._entries

    def get(self, key: K) -> tuple[float, V] | None:
        """The value and the monotonic time it ends at; None when there is none, or no more."""
        found = self._entries.get(key)
        return found if found and time.monotonic() < found[0] else None

    def keep(self, key: K, value: V, until: float) -> None:
        """Believe a value until a monotonic time."""
        self._entries[key] = (until, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def forget(self, key: K) -> None:
        """Drop what is known of a key, if anything."""
        self._entries.pop(key, None)
