"""The month of a vote is read from a date or from the seconds since 1970."""

import re
from datetime import UTC, datetime

DATE = re.compile(r"([12]\d{3})-(0[1-9]|1[0-2])(?!\d)")
"""The beginning of a date in ISO 8601."""

SECONDS = re.compile(r"(\d{9,10})(\d{3}|\d{6}|\d{9})?(\.\d*)?", re.ASCII)
"""Seconds since 1970, perhaps with milliseconds, microseconds or nanoseconds; 9 digits begin in 1973."""


def month_of(time: str) -> str:
    """Return the month of a time as text, such as "2025-06"; "" if it is written in another way."""
    if date := DATE.match(time):
        return f"{date[1]}-{date[2]}"
    if seconds := SECONDS.fullmatch(time):
        return datetime.fromtimestamp(int(seconds[1]), UTC).strftime("%Y-%m")
    return ""
