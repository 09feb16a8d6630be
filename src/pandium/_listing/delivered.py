"""The keys of delivered records, and the position that a walk has reached among them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DeliveredKeys"]


class DeliveredKeys:
    """
    The keys of the first and of the latest delivered records, in the order of the listing.

    The walk has passed the keys before the position. The keys after it were delivered too, but
    were not found again where they were expected: those records were archived, or are listed
    further on.

    The keys in the middle of a long walk are discarded, so that memory is bounded.

    :param head: The number of first keys that are never discarded.
    :param capacity: The minimum number of keys kept before the position. Up to twice as many are
        kept before older ones are discarded.
    """

    def __init__(self, head: int, capacity: int) -> None:
        self.capacity = capacity
        self.position = 0
        self.has_gap = False
        self._head = head
        self._keys: list[object] = []
        self._known: set[object] = set()

    def __bool__(self) -> bool:
        return bool(self._keys)

    @property
    def anchor(self) -> object:
        """The key just before the position, with which the next page should begin."""
        return self._keys[self.position - 1]

    @property
    def count_after_position(self) -> int:
        """The number of keys after the position."""
        return len(self._keys) - self.position

    def count_known(self, keys: Sequence[object]) -> int:
        """
        Count the records of a page up to and including the last one delivered before.

        None of them is delivered: each was delivered already, or was inserted behind the walk.
        """
        indexes = (i for i, key in enumerate(reversed(keys)) if key in self._known)
        return len(keys) - next(indexes, len(keys))

    def are_in_order(self, keys: Sequence[object]) -> bool:
        """Return whether the known keys of a page have the order in which they were delivered."""
        ranks = {key: rank for rank, key in enumerate(self._keys)}
        page_ranks = [ranks[key] for key in keys if key in ranks]
        return all(rank < next_rank for rank, next_rank in pairwise(page_ranks))

    def is_before_gap(self, key: object) -> bool:
        """Return whether keys that were delivered after this one have been discarded."""
        return self.has_gap and self._keys.index(key) < self._head

    def advance(self, keys: Sequence[object], known: int) -> None:
        """
        Move the position behind the last known key of a page, and add the new keys there.

        :param keys: The keys of the page.
        :param known: How many of them ``count_known`` counted. If 0, the new keys are added at
            the beginning.
        """
        if known == 0:
            self.position = 0
        elif keys[known - 1] != self.anchor:
            self.position = self._keys.index(keys[known - 1]) + 1
        self._keys[self.position : self.position] = keys[known:]
        self._known.update(keys[known:])
        self.position += len(keys) - known
        self._discard_middle()

    def _discard_middle(self) -> None:
        if self.position > self._head + 2 * self.capacity:
            del self._keys[self._head : self.position - self.capacity]
            self.position = self._head + self.capacity
            self._known = set(self._keys)
            self.has_gap = True
