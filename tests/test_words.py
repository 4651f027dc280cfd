"""Words that messages and pages share."""

import pytest

from bench import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200.2, "3 min 20 s"),
        (3599.7, "1 h 0 min"),
        (7529, "2 h 5 min"),
        (7531, "2 h 6 min"),
        (86400, "24 h 0 min"),
    ],
)
def test_a_time_is_said_as_people_say_it_and_rounded_to_the_nearest(seconds, text):
    assert words.duration(seconds) == text


def test_an_unknown_name_meets_the_nearest_one_in_full_and_at_most_40_others():
    long = "a" * 80
    assert words.unknown("solver", "huen", ["heun", "euler"]) == (
        "no solver named 'huen'. Did you mean 'heun'? Known: heun, euler."
    )
    assert words.unknown("solver", "x", []) == "no solver named 'x'. Known: none."
    assert words.meant(long + "b", [long]) == f"Did you mean {long!r}?", "what is to be typed is never shortened"
    assert words.hint("zzz", map(str, range(45))).endswith("38, 39, ... (5 more).")
