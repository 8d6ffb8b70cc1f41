"""Lint's rules of forms: a scored instrument scores as the software does, and no answer is asked for in vain.

What an instrument is and how it is scored is ``care.instruments``'; which codes it has is ``terms``'. Words are
``lint_rules_words``'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.instruments import GAD7, PHQ2, PHQ9
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.lint_rules import Finding, Sheet, error, items_of, objects, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fhir_aftercare.care.instruments import Instrument
    from fhir_aftercare.fhir.definitions import Form

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Scored:
    """An instrument with the codes of its items in order, and of its total."""

    instrument: Instrument
    url: str | None
    items: tuple[terms.Code, ...]
    total: terms.Code


_SCORED: Final = (
    _Scored(PHQ9, terms.QUESTIONNAIRE_PHQ9, terms.PHQ9_ITEMS, terms.PHQ9_TOTAL),
    _Scored(GAD7, terms.QUESTIONNAIRE_GAD7, terms.GAD7_ITEMS, terms.GAD7_TOTAL),
    _Scored(PHQ2, None, terms.PHQ9_ITEMS[: len(PHQ2.items)], terms.PHQ2_TOTAL),
)
_TOTALS: Final = (terms.PHQ9_TOTAL, terms.GAD7_TOTAL, terms.PHQ2_TOTAL)
_SYSTEM_FREE: Final = "/"


def forms(sheet: Sheet) -> Iterator[Finding]:
    """Find instruments that would be scored otherwise than as published, and items nobody reads."""
    for form in sheet.protocol.forms.values():
        scored = instrument_of(form)
        if scored is not None:
            yield from _instrument(form, scored)
        yield from _check_in(form, is_scored=scored is not None)


def instrument_of(form: Form) -> _Scored | None:
    """Give the instrument a form is: by its address, or by the codes of its items (a clinic may have its own copy)."""
    by_url = next((each for each in _SCORED if each.url == form.url), None)
    if by_url is not None:
        return by_url
    codes = {code for _, item in items_of(form.resource) for code in _codes(item)}

    def common(scored: _Scored) -> int:
        return len(codes & {(code.system, code.code) for code in scored.items})

    # Of the PHQ-9 and the PHQ-2, which is its first two items, a form with those alone is the shorter one.
    best = max(_SCORED, key=lambda each: (common(each), -len(each.items)))
    return best if common(best) else None


def _codes(item: Resource) -> set[tuple[str, str]]:
    """Give the codes of an item: its own, or the LOINC code its linkId is."""
    own = {(str(each.get("system")), str(each.get("code"))) for _, each in objects(item, "code")}
    return own | {(terms.LOINC, str(item.get("linkId", "")).removeprefix(_SYSTEM_FREE))}


def _instrument(form: Form, scored: _Scored) -> Iterator[Finding]:
    items = [*items_of(form.resource)]
    key = scored.instrument.key
    places: list[int] = []
    for number, code in enumerate(scored.items, start=1):
        at = [index for index, (_, item) in enumerate(items) if (code.system, code.code) in _codes(item)]
        if len(at) != 1:
            yield error(
                (form.file, "Questionnaire.item"),
                "scoring",
                f"Item {number} of the {key} ({code.code}) is there {len(at)} times.",
                f"Ask all {len(scored.items)} items once: without one, the total is a guess or none.",
            )
            continue
        places.append(at[0])
        path, item = items[at[0]]
        yield from _answers(form, path, item, terms.FREQUENCY_ANSWERS, f"item {number} of the {key}")
    if places != sorted(places):
        yield error(
            (form.file, "Questionnaire.item"),
            "scoring",
            f"The items of the {key} are not in their order.",
            "Write them in the order of the published form.",
        )
    for path, item in items:
        is_total = any((code.system, code.code) in _codes(item) for code in _TOTALS)
        if is_total and item.get("readOnly") is not True:
            yield error(
                (form.file, path),
                "scoring",
                "The total can be typed in, and could differ from the answers.",
                "Write `readOnly` as true: the software computes it.",
            )


def _answers(form: Form, path: str, item: Resource, expected: Sequence[terms.Code], what: str) -> Iterator[Finding]:
    """Find answers that are not those the software scores, in their order, with weights 0, 1, 2, 3."""
    options = [each for _, each in objects(item, "answerOption")]
    given = [each.get("valueCoding") for each in options]
    codings = [each if isinstance(each, dict) else {} for each in given]
    weights = [*range(PHQ9.max_answer + 1)]
    if [(each.get("system"), each.get("code")) for each in codings] != [(each.system, each.code) for each in expected]:
        yield error(
            (form.file, f"{path}.answerOption"),
            "scoring",
            f"The answers of {what} are not those it is scored by.",
            f"Give it {', '.join(each.code for each in expected)}, in this order.",
        )
        return
    found = [
        [_decimal(option, terms.EXT_ORDINAL), _decimal(coding, terms.EXT_ITEM_WEIGHT)]
        for option, coding in zip(options, codings, strict=True)
    ]
    if found != [[weight, weight] for weight in weights]:
        yield error(
            (form.file, f"{path}.answerOption"),
            "scoring",
            f"The weights of the answers of {what} are not {', '.join(map(str, weights))}.",
            "Give each answer its weight twice: ordinalValue on the option, itemWeight on its coding.",
        )


def _decimal(element: Resource, url: str) -> Any:
    found = (each.get("valueDecimal") for _, each in objects(element, "extension") if each.get("url") == url)
    return next(found, None)


def _check_in(form: Form, *, is_scored: bool) -> Iterator[Finding]:
    """Find items whose answers would be kept and raise nothing."""
    known = {(code.system, code.code) for each in _SCORED for code in (*each.items, each.total)}
    known |= {(terms.PHQ9_DIFFICULTY.system, terms.PHQ9_DIFFICULTY.code)}
    for path, item in items_of(form.resource):
        link = item.get("linkId")
        not_asked = item.get("type") in {"display", "group"} or not isinstance(link, str)
        if not_asked or (is_scored and _codes(item) & known):
            continue
        if link not in terms.CHECK_IN_ITEMS:
            yield warning(
                (form.file, path),
                "unread-item",
                f"The software reads no answer to {link}: whatever the patient says there raises nothing.",
                f"Use a linkId it reads ({', '.join(sorted(terms.CHECK_IN_ITEMS))}), or take the item out.",
            )
        elif item.get("type") == "choice":
            yield from _answers(form, path, item, terms.SEVERITY_ANSWERS, str(link))
