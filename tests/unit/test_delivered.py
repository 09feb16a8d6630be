"""The keys of delivered records."""

from __future__ import annotations

from pandium._listing.delivered import DeliveredKeys


def _delivered(*pages: list[int]) -> DeliveredKeys:
    """Return the keys after pages that begin with the anchor."""
    delivered = DeliveredKeys(head=3, capacity=4)
    for page in pages:
        delivered.advance(page, delivered.length_up_to_last_known(page))
    return delivered


def test_new_keys_are_added_at_the_position() -> None:
    """The last new key becomes the anchor."""
    delivered = DeliveredKeys(head=3, capacity=4)
    assert not delivered
    delivered.advance([0, 1, 2], 0)
    delivered.advance([2, 3], 1)
    assert delivered
    assert (delivered.anchor, delivered.position, delivered.count_after_position) == (3, 4, 0)


def test_a_page_is_known_up_to_its_last_delivered_record() -> None:
    """Records before it are not new either, because they were inserted before the position."""
    delivered = _delivered([0, 1, 2])
    assert delivered.length_up_to_last_known([-1, 1, -2, 2, 3, 4]) == 4
    assert delivered.length_up_to_last_known([3, 4]) == 0
    assert delivered.length_up_to_last_known([]) == 0


def test_delivered_keys_that_are_not_found_stay_known() -> None:
    """A page that ends before the anchor moves the position back, but no key is discarded."""
    delivered = _delivered([0, 1, 2, 3], [0, 1, 10])
    assert (delivered.anchor, delivered.position, delivered.count_after_position) == (10, 3, 2)
    assert delivered.length_up_to_last_known([2, 3]) == 2


def test_order_is_checked_for_known_keys_only() -> None:
    """New keys may appear anywhere. Known keys must appear in the order of delivery."""
    delivered = _delivered([0, 1, 2])
    assert delivered.are_in_order([9, 0, 8, 2, 7])
    assert not delivered.are_in_order([2, 9, 0])


def test_keys_in_the_middle_of_a_long_walk_are_discarded() -> None:
    """The first and the latest keys are kept. Only the first ones are before the gap."""
    delivered = _delivered(list(range(11)))
    assert not any(delivered.is_before_gap(key) for key in range(11))
    delivered.advance([10, 11], 1)
    assert delivered.length_up_to_last_known(range(12)) == 12
    assert [key for key in range(12) if delivered.length_up_to_last_known([key])] == [
        0,
        1,
        2,
        8,
        9,
        10,
        11,
    ]
    assert [key for key in (0, 1, 2, 8, 9, 10, 11) if delivered.is_before_gap(key)] == [0, 1, 2]
    assert (delivered.anchor, delivered.position, delivered.count_after_position) == (11, 7, 0)
