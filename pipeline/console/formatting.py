"""Formats numbers, sizes and times for people, the same in the progress display and reports."""

from __future__ import annotations

from datetime import UTC, datetime

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def number(value: int) -> str:
    """Returns a count with thousands separators.

    >>> number(21968)
    '21,968'
    """
    return f"{value:,}"


def plural(value: int, noun: str, nouns: str = "") -> str:
    """Returns a count with its noun.

    >>> plural(1, "range"), plural(2000, "range"), plural(2, "copy", "copies")
    ('1 range', '2,000 ranges', '2 copies')
    """
    return f"{value:,} {noun if value == 1 else nouns or noun + 's'}"


def size(value_bytes: float) -> str:
    """Returns bytes in decimal units with three digits.

    >>> size(0), size(61_234_567), size(999_999)
    ('0 B', '61.2 MB', '1.00 MB')
    """
    scaled, unit = float(value_bytes), 0
    while round(scaled, 1) >= 1000 and unit < len(_SIZES) - 1:
        scaled, unit = scaled / 1000, unit + 1
    return f"{scaled:.0f} B" if unit == 0 else f"{_digits(scaled)} {_SIZES[unit]}"


def _digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def duration(seconds: float) -> str:
    """Returns a duration in its two largest units.

    >>> duration(0.04), duration(4.21), duration(102), duration(7_500), duration(273_600)
    ('0.04 s', '4.2 s', '1 min 42 s', '2 h 05 min', '3 d 4 h')
    """
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 0.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def about(seconds: float) -> str:
    """Returns an estimated duration, without digits that would jump.

    >>> about(0.2), about(42.4), about(100), about(7_500)
    ('1 s', '42 s', '2 min', '2 h 05 min')
    """
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 3570 else duration(seconds)


def clock(seconds: float) -> str:
    """Returns the elapsed time as a running clock.

    >>> clock(42), clock(7_502)
    ('0:42', '2:05:02')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def per_second(amount: float, seconds: float) -> int:
    """Returns an amount per second, rounded; 0 if no time passed."""
    return round(amount / seconds) if seconds > 0 else 0


def timestamp(at: datetime) -> str:
    """Returns a time in UTC, to the second.

    >>> timestamp(datetime(2026, 3, 1, 22, 14, 5, tzinfo=UTC))
    '2026-03-01 22:14:05 UTC'
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def timestamp_ms(at: datetime) -> str:
    """Returns a time in UTC, to the millisecond.

    >>> timestamp_ms(datetime(2026, 3, 1, 22, 14, 5, 678_901, tzinfo=UTC))
    '2026-03-01 22:14:05.678 UTC'
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def listed(items: list[str], *, most: int) -> str:
    """Joins names; of more than `most`, it counts the rest.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    if len(items) <= most:
        return ", ".join(items)
    return f"{', '.join(items[:most])} and {len(items) - most:,} more"
