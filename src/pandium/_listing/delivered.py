"""Track the keys of delivered records and the position of an iteration among them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DeliveredKeys"]


class DeliveredKeys:
    """
    The keys of the first and the latest delivered records, in listing order.

    The iteration has passed the keys before the position. The keys after the position were also
    delivered, but a later page did not contain them where they were expected. Their records were
    archived or have moved to a later position.

    During a long iteration, keys in the middle are discarded to bound memory use.

    :param head: the number of keys at the beginning that are never discarded.
    :param capacity: the minimum number of keys to keep before the position. Older keys are
        discarded once there are more than twice as many.
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

    def length_up_to_last_known(self, keys: Sequence[object]) -> int:
        """
        Return the length of the prefix that ends at the last known record. The caller skips it.

        Each record in the prefix was already delivered, or was inserted before the position.
        """
        indexes = (i for i, key in enumerate(reversed(keys)) if key in self._known)
        return len(keys) - next(indexes, len(keys))

    def are_in_order(self, keys: Sequence[object]) -> bool:
        """Return whether the known keys of a page are in the order in which they were delivered."""
        ranks = {key: rank for rank, key in enumerate(self._keys)}
        page_ranks = [ranks[key] for key in keys if key in ranks]
        return all(rank < next_rank for rank, next_rank in pairwise(page_ranks))

    def is_before_gap(self, key: object) -> bool:
        """Return whether keys that follow this one have been discarded."""
        return self.has_gap and self._keys.index(key) < self._head

    def advance(self, keys: Sequence[object], known_prefix: int) -> None:
        """
        Move the position past the last known key of a page and insert the new keys there.

        :param keys: the keys of the page.
        :param known_prefix: the result of ``length_up_to_last_known`` for these keys. If it is 0,
            the new keys are inserted at the beginning.
        """
        if known_prefix == 0:
            self.position = 0
        elif keys[known_prefix - 1] != self.anchor:
            self.position = self._keys.index(keys[known_prefix - 1]) + 1
        self._keys[self.position : self.position] = keys[known_prefix:]
        self._known.update(keys[known_prefix:])
        self.position += len(keys) - known_prefix
        self._discard_middle()

    def _discard_middle(self) -> None:
        if self.position > self._head + 2 * self.capacity:
            del self._keys[self._head : self.position - self.capacity]
            self.position = self._head + self.capacity
            self._known = set(self._keys)
            self.has_gap = True
