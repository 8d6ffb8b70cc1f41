"""What the patient takes home on paper: facts of one plan → sections of sentences, in the patient's language (ui §4.6).

The chart's own instructions are printed as they are; what belongs under which heading is decided here, and what else
must stand there: crisis lines, telephones, that nobody watches the answers (clinical §4.3, §4.4). No name but first
names, no dose, no drug, no score. The escort's copy asks nothing of the patient's forms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final, Literal

from fhir_aftercare.care import reading_grade, wording
from fhir_aftercare.care.texts import texts_in
from fhir_aftercare.care.timing import utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.care.texts import Texts

Copy = Literal["patient", "escort"]
# Who releases the driving: the time, or the clinic. "no": the restriction is not about driving.
Driving = Literal["no", "time", "clinic"]

# Those of the first week, as a rule: a sheet is no calendar.
MOST_FORMS: Final = 3
_BY_RELEASE: Final = ("release",)
_BY_CRISIS: Final = ("crisis",)


@dataclass(frozen=True, slots=True)
class Restriction:
    """What must not be done, in the chart's words, and until when.

    ``until`` None: the words are nobody's whom we know and say themselves how long, so nothing is added to them.
    """

    text: str
    until: datetime | None = None
    driving: Driving = "no"


@dataclass(frozen=True, slots=True)
class AskedForm:
    """A form the patient will fill in: its title, and from when on."""

    title: str
    opens: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one patient's way home. Words of the chart are in ``language``, as far as they can be.

    ``day`` is when the infusion ended, ``zone`` the patient's. ``taught`` are the restrictions as they were taught.
    ``calls`` are the windows of the calls that are still to be made. ``draft``: the plan is not signed.
    """

    clinic: Clinic
    language: str
    zone: ZoneInfo
    day: datetime
    now: datetime
    name: str | None = None
    escort: str | None = None
    restrictions: Sequence[Restriction] = ()
    taught: Sequence[str] = ()
    self_care: Sequence[str] = ()
    warnings: Sequence[str] = ()
    calls: Sequence[tuple[datetime | None, datetime]] = ()
    forms: Sequence[AskedForm] = ()
    draft: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """One point: what stands out (a number, a time), and its sentences, line by line."""

    lines: tuple[str, ...]
    lead: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with its points. ``key`` tells the sections apart."""

    key: str
    heading: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Handout:
    """The whole sheet. ``crisis`` is always there; ``draft`` is empty if the plan is signed."""

    language: str
    title: str
    sections: tuple[Section, ...]
    crisis: Section
    whom: str = ""
    notes: tuple[str, ...] = ()
    draft: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that is read as sentences: not names of forms, hours and headings."""
        told = (each for each in (*self.sections, self.crisis) if each.key not in {"forms", "phones"})
        lines = (line for section in told for point in section.points for line in point.lines)
        return (*filter(None, (self.draft, *self.notes)), *lines)

    @property
    def grade(self) -> float | None:
        """The years of school it needs; None in a language that the formula is not made for."""
        return reading_grade.grade(self.sentences) if self.language == "en" else None


def write(facts: Facts, copy: Copy = "patient") -> Handout:
    """Give the handout for the patient, or the copy for the escort.

    Raises ``InvalidInput`` for a language that we have no words in.
    """
    texts = texts_in(facts.language)
    name = facts.name or texts.say("escort.unnamed")
    advice = (_do_not(facts, texts), _feel(facts, texts), *_warnings(facts, texts))
    notes = _times(facts, texts)
    end: tuple[Section, ...] = (_phones(facts, texts),)
    if copy == "escort":
        title, start = texts.say("escort.title", name=name), _escort(texts, name)
        notes = (*notes, texts.say("escort.told", name=name))
    else:
        title, start = texts.say("handout.title"), _today(facts, texts)
        end = (_we_call(facts, texts), _forms(facts, texts), *end, _watched(texts))
    return Handout(
        language=facts.language,
        title=title,
        sections=tuple(each for each in (start, *advice, *end) if each.points),
        crisis=_crisis(facts, texts),
        whom=_whom(facts, texts, facts.escort if copy == "escort" else facts.name),
        notes=notes,
        draft=texts.say("handout.draft") if facts.draft else "",
    )


def reach(facts: Facts, title: str) -> Handout:
    """Give whom to reach, where there is no handout: under a title that says so.

    Raises ``InvalidInput`` for a language that we have no words in.
    """
    texts = texts_in(facts.language)
    return Handout(facts.language, title, (_phones(facts, texts), _watched(texts)), _crisis(facts, texts))


def _whom(facts: Facts, texts: Texts, name: str | None) -> str:
    day = wording.day_text(facts.day, facts.zone, facts.language)
    return texts.say("handout.whom", name=name, day=day) if name else _capital(day)


def _times(facts: Facts, texts: Texts) -> tuple[str, ...]:
    same = facts.zone.key == facts.clinic.zone.key
    return () if same else (texts.say("handout.times", place=_place(facts.zone)),)


def _place(zone: ZoneInfo) -> str:
    return zone.key.rpartition("/")[2].replace("_", " ")


def _today(facts: Facts, texts: Texts) -> Section:
    home = texts.say("today.escort", escort=facts.escort) if facts.escort else texts.say("today.nobody_named")
    care = (each for each in facts.self_care if not _is_feeling(each, texts))
    return Section("today", texts.say("today.heading"), _points((home, *care)))


def _escort(texts: Texts, name: str) -> Section:
    said = (texts.say("escort.tasks", name=name), texts.say("escort.watch", name=name))
    return Section("today", texts.say("escort.heading"), _points(said))


def _do_not(facts: Facts, texts: Texts) -> Section:
    """The chart's restrictions, driving first, each with its end; then what else was taught.

    What says the same in other words is said once: the words that were taught, with the end of the order.
    """
    driving = [each for each in facts.restrictions if each.driving != "no"]
    taught = [each for each in facts.taught if not (driving and texts.twice.get(each) == _BY_RELEASE)]
    points = [Point((each.text,), _lead(each, facts, texts)) for each in driving]
    for each in facts.restrictions:
        if each.driving == "no":
            same = texts.twice.get(each.text, ())
            words = same if same and set(same) <= set(taught) else (each.text,)
            points.append(Point(words, _lead(each, facts, texts)))
            taught = [text for text in taught if text not in words]
    return Section("restrictions", texts.say("restrictions.heading"), (*points, *_points(taught)))


def _lead(restriction: Restriction, facts: Facts, texts: Texts) -> str:
    if restriction.driving == "clinic":
        return texts.say("restrictions.driving_by_clinic")
    if restriction.until is None:
        return ""
    if restriction.driving == "time":
        before = wording.before_text(restriction.until, facts.zone, facts.language)
        return texts.say("restrictions.driving", before=before)
    return _capital(wording.until_text(restriction.until, facts.zone, facts.language))


def _feel(facts: Facts, texts: Texts) -> Section:
    found = [each for each in facts.self_care if _is_feeling(each, texts)] or [texts.say("feel.usual")]
    return Section("feel", texts.say("feel.heading"), _points(found))


def _is_feeling(text: str, texts: Texts) -> bool:
    return text.startswith(texts.say("feel.begins"))


def _warnings(facts: Facts, texts: Texts) -> tuple[Section, Section]:
    """Warning signs by whom to call; the crisis line's stand with the crisis lines."""
    signs = _signs(facts, texts)
    return (
        Section("danger", texts.say("danger.heading"), _points(signs["danger"])),
        Section("call_us", texts.say("call_us.heading"), _points(signs["us"])),
    )


def _signs(facts: Facts, texts: Texts) -> dict[str, list[str]]:
    """Give the warning signs by the number they name: of danger, of the crisis line, or none (us)."""
    found: dict[str, list[str]] = {"danger": [], "line": [], "us": []}
    for each in facts.warnings:
        named = (kind for kind in ("danger", "line") if re.search(rf"\b{texts.say(f'crisis.{kind}_number')}\b", each))
        found[next(named, "us")].append(each)
    return found


def _we_call(facts: Facts, texts: Texts) -> Section:
    said = [
        texts.say("we_call.late")
        if utc(due) < utc(facts.now)
        else texts.say("we_call.when", when=wording.window_text(opens, due, facts.zone, facts.language))
        for opens, due in facts.calls
    ]
    return Section("we_call", texts.say("we_call.heading"), _points(dict.fromkeys(said)))


def _forms(facts: Facts, texts: Texts) -> Section:
    """The next forms, those that open on the same day together."""

    def day(form: AskedForm) -> str:
        return texts.say("forms.from", day=wording.day_text(form.opens, facts.zone, facts.language))

    forms = sorted(facts.forms, key=lambda each: (utc(each.opens), each.title))
    groups = [Point(tuple(each.title for each in group), opens) for opens, group in groupby(forms, key=day)]
    more = _points((texts.say("forms.more"),)) if len(groups) > MOST_FORMS else ()
    return Section("forms", texts.say("forms.heading"), (*groups[:MOST_FORMS], *more))


def _phones(facts: Facts, texts: Texts) -> Section:
    clinic = facts.clinic
    hours = wording.hours_text(clinic.call_hours, facts.language)
    if hours and facts.zone.key != clinic.zone.key:
        hours = (*hours, texts.say("phones.clinic_time", place=_place(clinic.zone)))
    closed = (
        Point((texts.say("phones.closed"),), clinic.after_hours_phone)
        if clinic.after_hours_phone
        else Point((texts.say("phones.nobody_answers"),))
    )
    return Section("phones", texts.say("phones.heading"), (Point((clinic.name, *hours), clinic.phone), closed))


def _watched(texts: Texts) -> Section:
    return Section("watched", "", _points((texts.say("watched.text"),)))


def _crisis(facts: Facts, texts: Texts) -> Section:
    """The lines of clinical §4.4 word for word, and what the chart says of them in other words."""
    told = (each for each in _signs(facts, texts)["line"] if texts.twice.get(each) != _BY_CRISIS)
    lines = (Point(texts.lines(f"crisis.{kind}"), texts.say(f"crisis.{kind}_number")) for kind in ("line", "danger"))
    points = (*lines, *_points(told))
    return Section("crisis", texts.say("crisis.heading"), points)


def _points(texts: Iterable[str]) -> tuple[Point, ...]:
    return tuple(Point((each,)) for each in texts)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
