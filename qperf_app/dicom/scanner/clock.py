"""Times of a simulated study as DICOM writes them. Its date is nobody's."""

from __future__ import annotations

STUDY_DATE = "20000101"
#: Start of the study, s of the day: ten o'clock.
STUDY_START = 36_000.0


def time_of_day(seconds: float, decimals: int = 6) -> str:
    """Value of the representation TM of a time in s of the day."""
    whole, part = divmod(round(seconds * 10**decimals), 10**decimals)
    text = f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}"
    return f"{text}.{part:0{decimals}d}" if decimals else text


def date_time(seconds: float) -> str:
    """Value of the representation DT of a time in s of the day of the study."""
    return STUDY_DATE + time_of_day(seconds)
