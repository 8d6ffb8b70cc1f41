"""How times and sentences are written, for staff and for patients: the only place in the code that formats a date.

Staff read ``17-Sep-2026 07:00``, patients "07:00 on Thursday, September 17". Patients' sentences have at most 15 words
and need no more than six years of school (clinical §4.4); the clinic approves them. Texts that belong to an action of
the protocol stand in ``profiles/``. What is due when is decided in ``timing``.
"""

from __future__ import annotations

from datetime import time, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final, TypeVar

from fhir_aftercare.care.timing import local, same_local_day, utc
from fhir_aftercare.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.timing import OpenHours

Words = TypeVar("Words")

LANGUAGES: Final = ("en", "es")

_SHORT_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": (
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
    "es": (
        *("enero", "febrero", "marzo", "abril", "mayo", "junio"),
        *("julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"),
    ),
}
_WEEKDAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "es": ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
}
_DAY: Final = {"en": "{weekday}, {month} {day}", "es": "{weekday} {day} de {month}"}
_CLOCK_ON_DAY: Final = {"en": "{clock} on {day}", "es": "{clock} del {day}"}
_UNTIL: Final = {"en": "until {end}", "es": "hasta {end}"}
_BEFORE: Final = {"en": "before {end}", "es": "antes de {end}"}
_BY: Final = {"en": "by {end}", "es": "hasta {end} como máximo"}
_BETWEEN: Final = {"en": "between {start} and {end}", "es": "entre {start} y {end}"}
_FROM_TO: Final = {"en": "from {start} until {end}", "es": "desde {start} hasta {end}"}
_AND: Final = {"en": "and", "es": "y"}
_DAYS: Final = {"en": "{first} to {last}", "es": "{first} a {last}"}
_SPAN: Final = {"en": "{opens} to {closes}", "es": "de {opens} a {closes}"}

# Clinical §4.4 "Driving". No "today" and "tomorrow": nobody knows when it is read, so only the date and time say until
# when. Without a human's word (design §10.5) the time alone releases nobody.
_RELEASE: Final = {
    "en": (
        "Do not drive, cycle in traffic or use machines yet. "
        "Never do so before {release}. "
        "After that, drive only if you have slept and feel clear. "
        "If you still feel drowsy or unreal, wait. Call us: {phone}."
    ),
    "es": (
        "No conduzca ni use máquinas antes de {release}. "
        "Tampoco vaya en bicicleta entre el tráfico. "
        "Después, conduzca solo si ha dormido y tiene la mente clara. "
        "Si aún tiene sueño o se siente irreal, espere. Llámenos: {phone}."
    ),
}
_RELEASE_BY_CLINIC: Final = {
    "en": (
        "Do not drive, cycle in traffic or use machines until the clinic says you may. "
        "That will not be before {release}. "
        "Even then, drive only if you have slept and feel clear. "
        "Before you drive, call us: {phone}."
    ),
    "es": (
        "No conduzca ni use máquinas hasta que la clínica le diga que puede. "
        "Eso no será antes de {release}. "
        "Tampoco vaya en bicicleta entre el tráfico. "
        "Incluso entonces, conduzca solo si ha dormido y tiene la mente clara. "
        "Antes de conducir, llámenos: {phone}."
    ),
}


def short_date(day: date) -> str:
    """Give a day for staff: ``17-Sep-2026``, the month in letters so that nobody swaps it with the day."""
    return f"{day.day:02}-{_SHORT_MONTHS[day.month - 1]}-{day.year:04}"


def short_text(moment: datetime, zone: ZoneInfo, *, with_zone: bool = False) -> str:
    """Give an instant for staff, in ``zone``: ``17-Sep-2026 07:00``, and ``EDT`` behind it if asked.

    Raises ``MissingZone``.
    """
    there = local(moment, zone)
    text = f"{short_date(there.date())} {there.hour:02}:{there.minute:02}"
    return f"{text} {there.tzname()}" if with_zone else text


def long_text(moment: datetime, zone: ZoneInfo, language: str) -> str:
    """Give an instant for a patient, in ``zone``: "07:00 on Thursday, September 17".

    In Spanish with its article, "las 07:00 del jueves 17 de septiembre", to stand behind "antes de".
    Raises ``InvalidInput`` for a language that we have no words in, ``MissingZone``.
    """
    there = local(moment, zone)
    return _in(_CLOCK_ON_DAY, language).format(clock=_clock(there, language), day=_day(there, language))


def day_text(moment: datetime, zone: ZoneInfo, language: str) -> str:
    """Give the day of an instant for a patient, in ``zone``: "Thursday, September 17".

    Raises ``InvalidInput`` for a language that we have no words in, ``MissingZone``.
    """
    return _day(local(moment, zone), language)


def until_text(moment: datetime, zone: ZoneInfo, language: str) -> str:
    """Give the end of a restriction for a patient: "until …", never earlier than it is.

    Raises ``InvalidInput`` for a language that we have no words in, ``MissingZone``.
    """
    return _in(_UNTIL, language).format(end=long_text(_next_minute(moment), zone, language))


def before_text(moment: datetime, zone: ZoneInfo, language: str) -> str:
    """Give when something may be done at the earliest, for a patient: "before …", never earlier than it is.

    Raises ``InvalidInput`` for a language that we have no words in, ``MissingZone``.
    """
    return _in(_BEFORE, language).format(end=long_text(_next_minute(moment), zone, language))


def window_text(opens: datetime | None, due: datetime, zone: ZoneInfo, language: str) -> str:
    """Give the time of a window for a patient, in ``zone``; the day is named once if both ends are on it.

    Raises ``InvalidInput`` for a language that we have no words in, ``MissingZone``.
    """
    end = long_text(due, zone, language)
    if opens is None or utc(opens) == utc(due):
        return _in(_BY, language).format(end=end)
    if same_local_day(opens, due, zone):
        return _in(_BETWEEN, language).format(start=_clock(local(opens, zone), language), end=end)
    return _in(_FROM_TO, language).format(start=long_text(opens, zone, language), end=end)


def release_text(release: datetime, zone: ZoneInfo, language: str, *, needs_human: bool, phone: str) -> str:
    """Give the patient's instruction about driving (clinical §4.4): never before ``release``, and whom to call.

    With ``needs_human`` (design §10.5: the end unknown, sedatives given, still sedated) the patient must wait for the
    clinic's word as well. Raises ``InvalidInput`` for a language that we have no words in, ``MissingZone``.
    """
    texts = _RELEASE_BY_CLINIC if needs_human else _RELEASE
    return _in(texts, language).format(release=long_text(_next_minute(release), zone, language), phone=phone)


def hours_text(hours: OpenHours, language: str) -> tuple[str, ...]:
    """Give the hours of an ordinary week for a patient, a line for each run of days with the same ones.

    "Monday to Friday: 09:00 to 18:00". Raises ``InvalidInput`` for a language that we have no words in.
    """
    names = _in(_WEEKDAYS, language)
    lines = []
    for spans, days in groupby(range(7), key=lambda day: tuple(sorted(hours.weekly.get(day, ())))):
        run = list(days)
        if not spans:
            continue
        first, last = names[run[0]], names[run[-1]]
        which = first if len(run) == 1 else _in(_DAYS, language).format(first=first, last=last)
        said = [_in(_SPAN, language).format(opens=f"{opens:%H:%M}", closes=_closing(closes)) for opens, closes in spans]
        lines.append(f"{which[0].upper()}{which[1:]}: {list_text(said, language)}")
    return tuple(lines)


def _closing(at: time) -> str:
    """A span that closes at 00:00 goes on to the end of the day."""
    return "24:00" if at == time.min else f"{at:%H:%M}"


def list_text(items: Sequence[str], language: str = "en") -> str:
    """Give things in a row: "a, b and c"; nothing for no items. Raises ``InvalidInput`` for an unknown language."""
    and_ = _in(_AND, language)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {and_} {items[-1]}"


def _next_minute(moment: datetime) -> datetime:
    """Give the first whole minute not before ``moment``: seconds are not written, and must not be given away."""
    begun = timedelta(seconds=moment.second, microseconds=moment.microsecond)
    return utc(moment) + timedelta(minutes=1) - begun if begun else moment


def _clock(there: datetime, language: str) -> str:
    text = f"{there.hour:02}:{there.minute:02}"
    if language != "es":
        return text
    return f"la {text}" if there.hour == 1 else f"las {text}"


def _day(there: datetime, language: str) -> str:
    weekday = _in(_WEEKDAYS, language)[there.weekday()]
    month = _in(_MONTHS, language)[there.month - 1]
    return _in(_DAY, language).format(weekday=weekday, day=there.day, month=month)


def _in(texts: Mapping[str, Words], language: str) -> Words:
    try:
        return texts[language]
    except KeyError:
        raise InvalidInput(
            f"There are no texts in this language; known are {', '.join(LANGUAGES)}.", where="language"
        ) from None
