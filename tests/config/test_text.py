"""Words for people: singular and plural."""

import pytest

from config.text import counted, plural


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("clip", "clips"),
        ("speech", "speeches"),
        ("class", "classes"),
        ("mix", "mixes"),
        ("family", "families"),
        ("key", "keys"),
        ("noise", "noises"),
    ],
)
def test_plural_follows_the_spelling(noun: str, expected: str) -> None:
    assert plural(noun) == expected
    assert [counted(number, noun) for number in (0, 1, 2)] == [
        f"0 {expected}",
        f"1 {noun}",
        f"2 {expected}",
    ]
