import re

import pytest

from semreid.data.times import LATEST, may_be_period, seconds, time_code
from semreid.errors import SemreidError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90.5", 90.5),
        ("-5", -5.0),
        ("1969", 1969.0),
        ("2025.0", 2025.0),
        ("+20250101", 20250101.0),
        ("1714564800", 1714564800.0),  # of our time, since 1970
        ("1714564800.25", 1714564800.25),
        ("20240331T000000", 1711843200.0),
        ("2024-03-31T02:00:00+02:00", 1711843200.0),
        ("32503680000", LATEST),
        ("", None),
    ],
)
def test_seconds_stay_seconds_and_dates_are_in_utc(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "date"),
    [("2025", "2025-01-01"), ("202412", "2024-12-01"), ("20240501", "2024-05-01"), ("20240501.0", "2024-05-01")],
)
def test_digits_that_may_be_a_date_are_refused_with_both_ways_out(text, date):
    with pytest.raises(SemreidError, match="may be a date or a number of seconds") as caught:
        seconds(text)
    assert f"as {date}, or" in caught.value.fix
    assert seconds(caught.value.fix.split()[-1]) == float(text)
    assert seconds(date) > 1.7e9
    assert ("+" in caught.value.fix) == (len(text) > 6)  # of a year, a number that also forms take


@pytest.mark.parametrize(
    "text", ["20240501123000", "20240501123000.0", "1714564800000", "1.7e12", "-1714564800000", "1" * 5000]
)
def test_milliseconds_and_stamps_of_digits_are_no_seconds(text):
    with pytest.raises(SemreidError, match="beyond the year 3000"):
        seconds(text)
    with pytest.raises(SemreidError, match="beyond the year 3000"):
        seconds(text, alone=False)


@pytest.mark.parametrize("text", ["3000-01-01T00:00:00.1Z", "9999-12-31", "0024-05-01", "0001-01-01T00:00+14:00"])
def test_dates_that_were_mistyped_are_refused(text):
    with pytest.raises(SemreidError, match=f"the time {re.escape(repr(text))} is beyond the year 3000, or as"):
        seconds(text)


def test_among_other_times_a_year_is_seconds_and_a_day_is_not():
    assert may_be_period("2025")
    assert seconds("2025", alone=False) == 2025.0
    with pytest.raises(SemreidError, match="may be a date"):
        seconds("20250101", alone=False)


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (1714746127.0, "2024-05-03T14:22:07Z"),
        (1714746127.25, "2024-05-03T14:22:07.250000Z"),
        (83.5, "83.5"),
        (-83.0, "-83.0"),
        (2025.0, "2025.0"),
        (LATEST, "3000-01-01T00:00:00Z"),
    ],
)
def test_a_time_is_written_as_it_can_be_given(time, text):
    assert time_code(time) == text
    assert seconds(text) == time


def test_milliseconds_of_earlier_versions_are_shown_as_they_are():
    assert time_code(1714564800000.0) == "1714564800000.0"


@pytest.mark.parametrize("text", ["yesterday", "2024-13-01", "2024-05", "nan", "inf"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(SemreidError, match="cannot read the time"):
        seconds(text)
