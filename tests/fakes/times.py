"""TIMESTAMPTZ: texts as they come in, moments as they are kept, texts in a zone as they are shown.

A time is shown as Go's RFC3339Nano writes it: fractions without zeros at their end, a zone's offset
in whole minutes. So a time before a zone's first standard offset is shown wrong by some seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_CYCLE_YEARS = 400
"""After so many years the calendar repeats itself."""


def moment(text: str, zone: str) -> datetime:
    """Reads a text; one without an offset is a time in `zone`.

    Raises:
        ValueError: it is no time.
    """
    read = datetime.fromisoformat(text)
    return read.replace(tzinfo=ZoneInfo(zone)) if read.tzinfo is None else read


def with_offset(text: str, zone: str) -> str:
    """Returns a text as it is, or with the offset of `zone` if it has none.

    Raises:
        ValueError: it is no time.

    >>> with_offset("2026-01-02 03:04:05", "Asia/Shanghai"), with_offset("2026-01-02T00:00Z", "UTC")
    ('2026-01-02T03:04:05+08:00', '2026-01-02T00:00Z')
    """
    has_offset = datetime.fromisoformat(text).tzinfo is not None
    return text if has_offset else moment(text, zone).isoformat()


def shown(when: datetime, zone: str) -> str:
    """Writes a time in a zone.

    >>> shown(datetime(1900, 1, 1, tzinfo=UTC), "Asia/Shanghai")
    '1900-01-01T08:05:43+08:05'
    >>> shown(datetime(9999, 12, 31, 23, 59, 59, 120_000, tzinfo=UTC), "Asia/Shanghai")
    '10000-01-01T07:59:59.12+08:00'
    """
    try:
        local, years = when.astimezone(ZoneInfo(zone)), 0
    except OverflowError:
        earlier = when.replace(year=when.year - _CYCLE_YEARS)
        local, years = earlier.astimezone(ZoneInfo(zone)), _CYCLE_YEARS
    fraction = f".{local.microsecond:06}".rstrip("0").rstrip(".")
    return f"{local.year + years:04}-{local:%m-%dT%H:%M:%S}{fraction}{_offset(local)}"


def _offset(local: datetime) -> str:
    minutes = (local.utcoffset() or timedelta()) // timedelta(minutes=1)
    if minutes == 0:
        return "Z"
    sign = "+" if minutes > 0 else "-"
    return f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""What stands in the place of a null."""
