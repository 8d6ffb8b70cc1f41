"""The answers behind a score in words: item 9 first where it is above 0, then what was asked, answered and comes of it.

Wording and order only; scoring is ``care.instruments``'. What the chart says and what the answers come to stand side by
side, and a difference is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.answers import CODES_OF

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from fhir_aftercare.flows.open_answers import AnswersView
    from fhir_aftercare.ui.work_lines import Names

Resource = dict[str, Any]

_AMENDED: Final = {
    "amended": "amended after it was first given",
    "corrected": "corrected after it was first given",
    "entered-in-error": "entered in error: it does not count",
    "cancelled": "cancelled: it does not count",
    "preliminary": "preliminary: it does not count yet",
}


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """One item: its number, what was asked, the answer in words, its value (empty: none). ``marked``: look here."""

    number: str
    text: str
    answer: str
    value: str
    marked: bool = False


@dataclass(frozen=True, slots=True)
class AnswersPage:
    """The page. ``differs``: the chart's total is not what the answers come to. ``facts`` are label and text."""

    name: str
    day: str
    total: str
    computed: str
    differs: bool
    item9: str | None
    lines: tuple[AnswerLine, ...]
    facts: tuple[tuple[str, str], ...]
    gap: bool


def score_answers(view: AnswersView, zone: ZoneInfo, names: Names) -> AnswersPage:
    """Give the page of a score; times are in ``zone``."""
    computed, at = view.computed, wording.short_text(view.reading.authored, zone, with_zone=True)
    differs = view.total is not None and computed.total is not None and view.total != computed.total
    answered = any(each is not None for each in view.answers.items)
    return AnswersPage(
        name=computed.instrument.key.upper(),
        day=at,
        total=_total(view),
        computed=_computed(view, differs=differs) if answered else "",
        differs=differs or (answered and computed.stated_total_differs),
        item9=_item9(view),
        lines=tuple(_lines(view)) if answered else (),
        facts=tuple(_facts(view, at, names)),
        gap=view.gap,
    )


def _total(view: AnswersView) -> str:
    total = view.total if view.total is not None else view.computed.total
    if total is None:
        return "no total"
    return f"{total} of {view.computed.instrument.max_total}, {view.computed.instrument.band(total).name}"


def _computed(view: AnswersView, *, differs: bool) -> str:
    computed = view.computed
    if computed.total is None:
        return f"cannot be computed: {computed.incomplete_reason}"
    said = [str(computed.total), f"but the chart says {view.total}" if differs else "the same as in the chart"]
    if view.total is None:
        said[1:] = ["the chart says no total"]
    if computed.prorated:
        asked = len(computed.instrument.items)
        said.append(f"prorated from {asked - len(computed.missing)} of {asked} items")
    if computed.stated_total_differs and not differs:
        said.append(f"the form itself says {view.answers.stated_total}")
    return ", ".join(said)


def _item9(view: AnswersView) -> str | None:
    computed = view.computed
    if computed.instrument.safety_item is None:
        return None
    if computed.item9 is None:
        return "Item 9 is not known. Somebody must ask."
    return f"Item 9 answered {computed.item9} of {computed.instrument.max_answer}" if computed.item9 else None


def _lines(view: AnswersView) -> Iterator[AnswerLine]:
    answers, instrument = view.answers, view.computed.instrument
    codes = CODES_OF[instrument.key].items
    lines = []
    for number, (text, value, code) in enumerate(zip(instrument.items, answers.items, codes, strict=True), start=1):
        unread = any(each.rpartition("/")[2] == code.code for each in view.reading.unreadable)
        missing = "answered in a way that is not understood" if unread else "not answered"
        words = missing if value is None else str(terms.FREQUENCY_ANSWERS[value].display)
        safety = number == instrument.safety_item and bool(value)
        lines.append(AnswerLine(str(number), text, words, "" if value is None else str(value), safety))
    yield from sorted(lines, key=lambda each: not each.marked)
    if answers.difficulty is not None:
        asked = "How difficult it made work, things at home, or getting along with people (not scored)"
        yield AnswerLine("", asked, str(terms.DIFFICULTY_ANSWERS[answers.difficulty].display), str(answers.difficulty))


def _facts(view: AnswersView, at: str, names: Names) -> Iterator[tuple[str, str]]:
    reading, status = view.reading, str(view.observation.get("status"))
    yield "Answered", at
    yield "Reported by", names.of(reading.source or reading.author) or "not known"
    if reading.source and reading.author and reading.author != reading.source:
        yield "Written down by", names.of(reading.author)
    if status in _AMENDED:
        yield "Status", _AMENDED[status]
    place = location_of(reading.reference)
    form = f", form version {reading.version}" if reading.version else ""
    yield "Source", f"{place.reference}{form}" if place else "not known"
