"""How a patient and a day are written for staff: the patient banner, and FHIR dates of any precision.

After the NHS Common User Interface's patient banner: no colon after labels, what is not known is said in words, the
age stands beside the birth date. Reads tolerantly: a chart's demographics are other people's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.timing import local
from fhir_aftercare.fhir import tasks

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

Resource = dict[str, Any]

NOT_KNOWN: Final = "Not known"
_MEDICAL_RECORD: Final = "MR"
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Banner:
    """Who the page is about."""

    name: str
    born: str
    gender: str
    number: str
    died: str | None


def banner(patient: Resource, now: datetime, zone: ZoneInfo) -> Banner:
    """Give the banner of a Patient; the age is that of the day in ``zone``."""
    return Banner(
        name=_name(patient.get("name")),
        born=born_of(patient, now, zone),
        gender=str(patient.get("gender") or NOT_KNOWN).capitalize(),
        number=_number(patient.get("identifier")),
        died=_died(patient, zone),
    )


def when(text: Any, zone: ZoneInfo) -> str:
    """Give a FHIR date or dateTime for staff, no more precise than it is; "Not known" for none."""
    moment = tasks.moment(text)
    if moment is not None:
        return wording.short_text(moment, zone)
    day = _day(text)
    if day is not None:
        return wording.short_date(day)
    return text if isinstance(text, str) and text else NOT_KNOWN


def _day(text: Any) -> date | None:
    if not isinstance(text, str) or not _DAY.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def name_of(person: Resource | None) -> str:
    """Give the name of a Patient or a Practitioner as staff read it; "Not known" for none."""
    return _name((person or {}).get("name"))


def born_of(patient: Resource, now: datetime, zone: ZoneInfo) -> str:
    """Give the birth date with the age on the day in ``zone``; "Not known" for none."""
    return _born(patient.get("birthDate"), local(now, zone).date())


def phone_of(person: Resource) -> str:
    """Give the telephone to reach a person under: a mobile first, never one out of use; empty if there is none."""
    known = [each for each in person.get("telecom") or () if isinstance(each, dict) and each.get("system") == "phone"]
    living = [each for each in known if each.get("use") != "old" and isinstance(each.get("value"), str)]
    order = {"mobile": 0, "home": 1}
    return min(living, key=lambda each: order.get(str(each.get("use")), 2), default={"value": ""})["value"]


def _name(names: Any) -> str:
    given = [each for each in names if isinstance(each, dict)] if isinstance(names, list) else []
    if not given:
        return NOT_KNOWN
    order = {"official": 0, "usual": 1}
    best = min(given, key=lambda each: order.get(each.get("use", ""), 2))
    family, first = str(best.get("family") or ""), " ".join(map(str, best.get("given") or ()))
    prefix = " ".join(map(str, best.get("prefix") or ()))
    whole = ", ".join(part for part in (family.upper(), first) if part) or str(best.get("text") or NOT_KNOWN)
    return f"{whole} ({prefix})" if prefix else whole


def _born(text: Any, today: date) -> str:
    day = _day(text)
    if day is None:
        return text if isinstance(text, str) and text else NOT_KNOWN
    years = today.year - day.year - ((today.month, today.day) < (day.month, day.day))
    return f"{wording.short_date(day)} ({years}y)"


def _number(identifiers: Any) -> str:
    """Give the medical record number, else any identifier that the chart shows first."""
    given = [each for each in identifiers if isinstance(each, dict)] if isinstance(identifiers, list) else []
    shown = [each for each in given if isinstance(each.get("value"), str)]
    marked = [each for each in shown if _is_record_number(each)]
    return str((marked or shown or [{}])[0].get("value", NOT_KNOWN))


def _is_record_number(identifier: Resource) -> bool:
    codings = (identifier.get("type") or {}).get("coding") or ()
    return any(coding.get("code") == _MEDICAL_RECORD for coding in codings)


def _died(patient: Resource, zone: ZoneInfo) -> str | None:
    if patient.get("deceasedDateTime"):
        return when(patient["deceasedDateTime"], zone)
    return "Yes" if patient.get("deceasedBoolean") is True else None
