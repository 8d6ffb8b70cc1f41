"""The handout page in words: the sheet itself, and what staff see around it before they print it (ui §4.6).

Wording only: what stands on the sheet is ``care.handout``'s. Where there is no sheet the page says why, and tells a
patient whom to reach instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import handout as sheet
from fhir_aftercare.care import reading_grade
from fhir_aftercare.care.texts import texts_in
from fhir_aftercare.care.wording import LANGUAGES
from fhir_aftercare.flows.open_handout import Missing
from fhir_aftercare.ui.people import NOT_KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.care.handout import Copy, Handout
    from fhir_aftercare.flows.open_handout import HandoutView

Resource = dict[str, Any]

SIZES: Final = ("normal", "large")
COPIES: Final[tuple[Copy, ...]] = ("patient", "escort")
_WHY: Final[Mapping[Missing, str]] = {
    Missing.NO_PLAN: "No infusion of this patient has a plan here. Record the infusion first.",
    Missing.NOT_ENDED: "The infusion has no end yet, and all times hang on it. End the infusion first.",
    Missing.NOT_SIGNED: "The plan is not signed yet. Open its visit and sign the plan first.",
    Missing.NOT_READ: "The chart could not be read as a whole, and half a handout is none. Try again.",
    Missing.NOT_APPLIED: "The protocol cannot be applied to this patient. Look at the plan, where it says why.",
    Missing.NO_WORDS: "The plan in the chart holds no instructions, or the EHR did not grant reading them.",
}
# Where staff go on to make it possible.
_RECORD, _PLAN = ("record", "Open the infusion record"), ("plan", "Review the plan")
_GO: Final[Mapping[Missing, tuple[str, str]]] = {
    Missing.NO_PLAN: _RECORD,
    Missing.NOT_ENDED: _RECORD,
    Missing.NOT_SIGNED: _PLAN,
    Missing.NOT_APPLIED: _PLAN,
}
_DRAFT: Final = (
    "The plan is not signed yet, and the sheet says DRAFT. Not in it yet: an agreed time of the call, another time "
    "zone, sedatives that were given."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for. ``language`` None: the patient's."""

    language: str | None
    size: str
    copy: Copy


@dataclass(frozen=True, slots=True)
class Choice:
    """Links of which one is chosen: each with its words and the address's query."""

    label: str
    links: tuple[tuple[str, Mapping[str, str], bool], ...]


@dataclass(frozen=True, slots=True)
class HandoutPage:
    """The page. ``sheet`` None: there is none, and ``why`` says so. ``complete``: it is the handout, worth printing.

    ``notices``, ``facts`` and ``go`` (a page and its link) are for staff. All but the sheet stays on the screen.
    """

    language: str
    large: bool
    sheet: Handout | None
    complete: bool
    why: str
    notices: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    go: tuple[str, str] | None
    choices: tuple[Choice, ...]
    print: str


def asked(query: Mapping[str, str]) -> Asked:
    """Read the address; what we do not have is left aside."""
    language, size, copy = query.get("language"), query.get("size"), query.get("copy")
    return Asked(
        language if language in LANGUAGES else None,
        size if size in SIZES else SIZES[0],
        next((each for each in COPIES if each == copy), COPIES[0]),
    )


def handout(view: HandoutView, wanted: Asked, clinic: Clinic, *, staff: bool) -> HandoutPage:
    """Give the page of a handout; without ``staff`` it is the patient's, in the patient's language all through."""
    language = wanted.language or view.language
    said = texts_in(language)
    made = sheet.write(view.facts, wanted.copy) if view.facts else None
    why, shown = "", made
    if view.missing is not None and staff:
        why = _WHY[view.missing]
    elif view.missing is not None:
        key = "not_read" if view.missing is Missing.NOT_READ else "not_ready"
        nobody = sheet.Facts(clinic=clinic, language=language, zone=clinic.zone, day=view.as_of, now=view.as_of)
        shown = sheet.reach(nobody, said.say(f"page.{key}"))
    return HandoutPage(
        language=language,
        large=wanted.size == "large",
        sheet=shown,
        complete=made is not None,
        why=why,
        notices=tuple(_notices(view, made)) if staff and made else (),
        facts=tuple(_facts(view, made, clinic)) if staff and made else (),
        go=_next(view) if staff else None,
        choices=tuple(_choices(wanted, language, staff=staff)) if shown else (),
        print="Print" if staff else said.say("page.print"),
    )


def _next(view: HandoutView) -> tuple[str, str] | None:
    if view.facts is not None:
        return _PLAN if view.facts.draft else None
    return _GO.get(view.missing) if view.missing is not None else None


def chart_language(patient: Resource) -> str:
    """Give the language that a Patient asks for, as the chart writes it; "Not known" if it names none."""
    spoken = [each for each in patient.get("communication") or () if isinstance(each, dict)]
    first = next((each for each in spoken if each.get("preferred")), next(iter(spoken), None))
    language = (first or {}).get("language") or {}
    coding: Resource = next(iter(language.get("coding") or ()), {})
    return str(language.get("text") or coding.get("display") or coding.get("code") or NOT_KNOWN)


def _notices(view: HandoutView, made: Handout) -> Iterator[str]:
    if view.facts is not None and view.facts.draft:
        yield _DRAFT
    if not view.in_own_language:
        yield "The chart asks for a language that the handout does not have. Go through it with an interpreter."
    if view.as_written:
        yield (
            f"{view.as_written} of its texts stand as they are written in the chart, for the protocol here does not "
            "know them. Read them before you print: they may be in another language."
        )
    if made.grade is not None and made.grade > reading_grade.MAX_GRADE:
        yield f"It is harder to read than grade {reading_grade.MAX_GRADE}."


def _facts(view: HandoutView, made: Handout, clinic: Clinic) -> Iterator[tuple[str, str]]:
    yield "Language", texts_in(made.language).say("page.name")
    yield "Language in the chart", chart_language(view.patient)
    if made.grade is None:
        yield "Reading grade", "not computed: the formula is for English"
    else:
        yield "Reading grade", f"{max(made.grade, 0):.1f} (at most {reading_grade.MAX_GRADE})"
    if view.facts is not None:
        own = "" if view.facts.zone.key == clinic.zone.key else ", not the clinic's"
        yield "Times in", f"{view.facts.zone.key}{own}"


def _choices(wanted: Asked, language: str, *, staff: bool) -> Iterator[Choice]:
    said = texts_in("en" if staff else language)
    now = {"language": language, "size": wanted.size, "copy": wanted.copy}

    def choice(label: str, name: str, options: Mapping[str, str]) -> Choice:
        links = (((text, {**now, name: key}, now[name] == key)) for key, text in options.items())
        return Choice(label, tuple(links))

    yield choice(said.say("page.language"), "language", {each: texts_in(each).say("page.name") for each in LANGUAGES})
    yield choice(said.say("page.size"), "size", {each: said.say(f"page.{each}") for each in SIZES})
    if staff:
        yield choice("Copy for", "copy", {"patient": "Patient", "escort": "Escort"})
