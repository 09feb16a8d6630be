"""Remember the way of a walk through a listing: keys in the listing's order, and a place there."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Trail"]


class Trail:
    """
    The keys of the records that were delivered first and last, in the order of the listing.

    What lies behind the place was passed on the way to it. What lies beyond was delivered too,
    but was not met again where it should have come: it is gone, or comes later. At least the first
    ``head`` keys and the last ``capacity`` behind the place are kept, at most ``capacity`` more.
    """

    def __init__(self, head: int, capacity: int) -> None:
        self._head = head
        self._capacity = capacity
        self._keys: list[object] = []
        self._known: set[object] = set()
        self.place = 0
        self.has_forgotten = False

    def __bool__(self) -> bool:
        return bool(self._keys)

    @property
    def anchor(self) -> object:
        """The key at the place, which the next page is to begin with."""
        return self._keys[self.place - 1]

    @property
    def beyond(self) -> int:
        """How many keys lie beyond the place."""
        return len(self._keys) - self.place

    def known(self, keys: Sequence[object]) -> int:
        """
        Count the records of a page up to the last one that was delivered before.

        All of them have been delivered, or have come in behind the walk.
        """
        behind = (i for i, key in enumerate(reversed(keys)) if key in self._known)
        return len(keys) - next(behind, len(keys))

    def is_in_order(self, keys: Sequence[object]) -> bool:
        """Whether what is known of a page comes in the order in which it came before."""
        ranks = {key: rank for rank, key in enumerate(self._keys)}
        met = [ranks[key] for key in keys if key in ranks]
        return all(one < other for one, other in pairwise(met))

    def is_before_a_gap(self, key: object) -> bool:
        """Whether records that were delivered after this one are forgotten."""
        return self.has_forgotten and self._keys.index(key) < self._head

    def go_on(self, keys: Sequence[object], known: int) -> None:
        """Move behind the last of the known keys, to the beginning if none is, and add the rest."""
        if known == 0:
            self.place = 0
        elif keys[known - 1] != self.anchor:
            self.place = self._keys.index(keys[known - 1]) + 1
        self._keys[self.place : self.place] = keys[known:]
        self._known.update(keys[known:])
        self.place += len(keys) - known
        self._forget()

    def _forget(self) -> None:
        if self.place > self._head + 2 * self._capacity:
            del self._keys[self._head : self.place - self._capacity]
            self.place = self._head + self._capacity
            self._known = set(self._keys)
            self.has_forgotten = True
