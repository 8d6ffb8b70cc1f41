"""What answers say: which question a code or a linkId stands for, which number a value is, which form they make.

Tolerant of the shapes in which EHRs, form engines and we ourselves write answers (clinical §3.5), and never guessing:
what is not understood is None, not 0. Of whom, when and where they are is ``responses``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from fhir_aftercare.care.instruments import GAD7, PHQ2, PHQ9, Answers, Instrument
from fhir_aftercare.fhir import terms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Resource = dict[str, Any]

Kind = Literal["frequency", "difficulty", "total", "panel", "severity", "mood", "yes-no"]


@dataclass(frozen=True, slots=True)
class FormCodes:
    """The codes of one instrument: its panel, its totals (what we write first) and its items in order."""

    instrument: Instrument
    panel: terms.Code
    totals: tuple[terms.Code, ...]
    items: tuple[terms.Code, ...]


PHQ9_CODES = FormCodes(PHQ9, terms.PHQ9_PANEL, (terms.PHQ9_TOTAL, terms.PHQ9_TOTAL_SNOMED), terms.PHQ9_ITEMS)
GAD7_CODES = FormCodes(GAD7, terms.GAD7_PANEL, (terms.GAD7_TOTAL, terms.GAD7_TOTAL_SNOMED), terms.GAD7_ITEMS)
PHQ2_CODES = FormCodes(PHQ2, terms.PHQ2_PANEL, (terms.PHQ2_TOTAL,), terms.PHQ9_ITEMS[:2])
FORMS = (PHQ9_CODES, GAD7_CODES, PHQ2_CODES)
CODES_OF: Mapping[str, FormCodes] = {each.instrument.key: each for each in FORMS}
DIFFICULTY = (terms.PHQ9_DIFFICULTY, terms.PHQ9_DIFFICULTY_EHR)

_SEVERITIES = frozenset({"dissociation", "confusion", "nausea", "dizziness", "headache", "fatigue", "drowsiness"})


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. ``name`` is the code of an instrument's question, or the linkId of one of our check-ins."""

    kind: Kind
    name: str
    code: terms.Code

    @property
    def highest(self) -> int:
        """Give the highest number that is an answer."""
        if self.kind == "total":
            return next(each.instrument.max_total for each in FORMS if self.code in each.totals)
        return 10 if self.kind == "mood" else 3


def _instrument_questions() -> Iterator[Question]:
    for form in FORMS:
        yield Question("panel", form.panel.code, form.panel)
        for code in form.totals:
            yield Question("total", code.code, code)
        for code in form.items:
            yield Question("frequency", code.code, code)
    for code in DIFFICULTY:
        yield Question("difficulty", code.code, code)


def _check_in_kind(link_id: str) -> Kind:
    if link_id == "mood":
        return "mood"
    return "severity" if link_id in _SEVERITIES else "yes-no"


CHECK_INS: Mapping[str, Question] = {
    link_id: Question(_check_in_kind(link_id), link_id, code) for link_id, code in terms.CHECK_IN_ITEMS.items()
}
_SCORED: Mapping[str, Question] = {each.name: each for each in _instrument_questions()}
_BY_CODING: Mapping[tuple[str, str], Question] = {
    (each.code.system, each.code.code): each for each in (*_SCORED.values(), *CHECK_INS.values())
}

_LEVELS: Mapping[str, Mapping[tuple[str, str], int]] = {
    "frequency": {
        **{(each.system, each.code): level for level, each in enumerate(terms.FREQUENCY_ANSWERS)},
        (terms.MORE_DAYS_THAN_NOT.system, terms.MORE_DAYS_THAN_NOT.code): 2,
    },
    "difficulty": {(each.system, each.code): level for level, each in enumerate(terms.DIFFICULTY_ANSWERS)},
    "severity": {(each.system, each.code): level for level, each in enumerate(terms.SEVERITY_ANSWERS)},
}
_WEIGHTS = frozenset({terms.EXT_ORDINAL, terms.EXT_ITEM_WEIGHT})
_TOO_LARGE = 1000
_WHOLE = re.compile(r"\d{1,3}(\.0+)?")


def dicts(value: Any) -> list[Resource]:
    """Give the objects of a list that should hold objects; nothing if it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def total_of(form: FormCodes) -> Question:
    """Give the question for the total of a form."""
    return _SCORED[form.totals[0].code]


def form_of(question: Question) -> FormCodes:
    """Give the form whose total, panel or item a question is; of the items in two forms the longer one."""
    return next(each for each in FORMS if question.code in (each.panel, *each.totals, *each.items))


def question_of_codes(codings: Any) -> Question | None:
    """Give the question a list of Codings stands for; a coding without a system is taken for LOINC if we know it."""
    found = [_of_coding(each) for each in dicts(codings)]
    known = [each for each in found if each is not None]
    # An item coded both as a total and as something else is a total: clinical §3.5 has seen panels used for scores.
    return next((each for each in known if each.kind == "total"), known[0] if known else None)


def _of_coding(coding: Resource) -> Question | None:
    system, code = coding.get("system", terms.LOINC), coding.get("code")
    return _BY_CODING.get((system, code)) if isinstance(system, str) and isinstance(code, str) else None


def question_of_link(link_id: str, asked: Resource | None, *, ours: bool) -> Question | None:
    """Give the question of an item. ``asked`` is the Questionnaire's item, if it is known: its code decides.

    Without one, the linkId is read as LOINC writes it (``/44250-9``, ``44250-9``, or the last step of a path). A linkId
    of our check-ins counts only in a form of ours (``ours``): "mood" may mean anything elsewhere.
    """
    if asked is not None and asked.get("code"):
        return question_of_codes(asked["code"])
    return (CHECK_INS.get(link_id) if ours else None) or _SCORED.get(link_id.rpartition("/")[2])


def level(answer: Resource, question: Question, options: Sequence[Resource] = ()) -> int | None:
    """Give the number an answer stands for, 0 to ``question.highest``; None if it is not understood.

    ``answer`` is anything with one ``value[x]``: an answer of a QuestionnaireResponse, an Observation, a component.
    ``options`` are the Questionnaire's for this item: their weights tell what values of its own mean.
    """
    name = _value_name(answer)
    if name is None:
        return None
    value = answer[name]
    if name == "valueCodeableConcept":
        codings = dicts(value.get("coding")) if isinstance(value, dict) else []
    elif name == "valueCoding":
        codings = dicts([value])
    else:
        plain = number(value) if _counts_from_zero(options, question) else None
        return _within(_first(_option_weight(value, options), _weight(answer), plain), question)
    readings = [_coded(each, answer, question, options) for each in codings]
    understood = {each for each in readings if each is not None}
    return understood.pop() if len(understood) == 1 else None


def yes_or_no(answer: Resource) -> bool | None:
    """Give a boolean answer; None if it is none."""
    value = answer.get("valueBoolean")
    return value if isinstance(value, bool) and _value_name(answer) else None


def number(value: Any) -> int | None:
    """Give a whole number written as integer, decimal, string of digits or Quantity; None for anything else.

    A Quantity with a comparator ("more than 12") is no number.
    """
    if isinstance(value, dict):
        return None if "comparator" in value else number(value.get("value"))
    if isinstance(value, str):
        return int(value.strip().partition(".")[0]) if _WHOLE.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    exact = Decimal(value)
    # Limits before anything else: an exponent of a million would be worked out digit by digit.
    small = exact.is_finite() and -_TOO_LARGE < exact < _TOO_LARGE
    return int(exact) if small and exact == int(exact) else None


def _value_name(answer: Resource) -> str | None:
    """Give the one ``value[x]``; two of them contradict each other."""
    names = [name for name in answer if name.startswith("value")]
    return names[0] if len(names) == 1 else None


def _coded(coding: Resource, answer: Resource, question: Question, options: Sequence[Resource]) -> int | None:
    """LOINC's answer codes first, then the form's own weights; a bare number last."""
    official = _official(coding, question)
    plain = number(coding.get("code")) if _counts_from_zero(options, question) else None
    weights = (_option_weight(coding, options), _weight(coding), _weight(answer))
    return _within(_first(official, *weights, plain), question)


def _counts_from_zero(options: Sequence[Resource], question: Question) -> bool:
    """Tell whether bare numbers may be believed: not those of a form that counts from 1, and so beyond the highest."""
    values = [option[name] for option in options if (name := _value_name(option))]
    numbers = [number(each.get("code") if isinstance(each, dict) else each) for each in values]
    return all(each is None or each <= question.highest for each in numbers)


def _official(coding: Resource, question: Question) -> int | None:
    levels = _LEVELS.get(question.kind, {})
    system, code = coding.get("system"), coding.get("code")
    return next((found for (theirs, each), found in levels.items() if each == code and system in (theirs, None)), None)


def _option_weight(value: Any, options: Sequence[Resource]) -> int | None:
    for option in options:
        name = _value_name(option)
        if name is not None and _same(option[name], value):
            return _first(_weight(option), _weight(option[name]) if isinstance(option[name], dict) else None)
    return None


def _same(option: Any, value: Any) -> bool:
    if isinstance(option, dict) and isinstance(value, dict):
        systems = {option.get("system"), value.get("system")} - {None}
        return option.get("code") is not None and option.get("code") == value.get("code") and len(systems) < 2
    return bool(option == value)


def _weight(element: Resource) -> int | None:
    """Give what an ordinalValue or itemWeight extension of the element says."""
    for extension in dicts(element.get("extension")):
        if extension.get("url") in _WEIGHTS:
            return number(extension.get("valueDecimal"))
    return None


def _first(*found: int | None) -> int | None:
    return next((each for each in found if each is not None), None)


def _within(found: int | None, question: Question) -> int | None:
    return found if found is not None and 0 <= found <= question.highest else None


@dataclass(slots=True)
class Gathered:
    """What the answers of one form say, as they are put together. ``check_in`` has fields of ``escalation.CheckIn``."""

    numbers: dict[str, int | None] = field(default_factory=dict)
    check_in: dict[str, Any] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)

    def asks(self, form: FormCodes) -> None:
        """Note that the whole instrument was asked, also what has no answer."""
        self.asked |= {form.panel.code, *(each.code for each in form.items)}

    def take(self, item: Resource, asked: Resource | None, *, ours: bool) -> None:
        """Take one item of a response; ``asked`` is its item in the Questionnaire."""
        link_id = str(item.get("linkId"))
        question = question_of_link(link_id, asked, ours=ours)
        given = dicts(item.get("answer"))
        if question is not None:
            self.asked.add(question.name)
        if given and (question is None or question.kind == "panel"):
            self.unreadable.append(link_id)
        elif question is not None:
            for each in given:
                self.put(question, each, link_id, dicts((asked or {}).get("answerOption")))

    def put(self, question: Question, answer: Resource, name: str, options: Sequence[Resource] = ()) -> None:
        """Take one answer. Two answers to one question that differ are none."""
        self.asked.add(question.name)
        if question.name in CHECK_INS:
            where: dict[str, Any] = self.check_in
            key = question.name.replace("-", "_")
        else:
            where, key = self.numbers, question.name
        value = yes_or_no(answer) if question.kind == "yes-no" else level(answer, question, options)
        if value is None or where.get(key, value) != value:
            self.unreadable.append(name)
            value = None
        where[key] = value

    def answers(self) -> list[Answers]:
        """Give the answers of each instrument that was asked, PHQ-9 first.

        Items 1 and 2 belong to the PHQ-9 and the PHQ-2: asked together, and with nothing else of the PHQ-9, they are
        the PHQ-2.
        """
        short = self._asks_any(PHQ2_CODES) or all(each.code in self.asked for each in PHQ2_CODES.items)
        long = self.asked & {each.code for each in PHQ9_CODES.items[2:]} or self._asks_any(PHQ9_CODES)
        some = self.asked & {each.code for each in PHQ9_CODES.items}
        return [
            self._of(form)
            for form, is_asked in (
                (PHQ9_CODES, long or (some and not short)),
                (CODES_OF[GAD7.key], self._asks_any(CODES_OF[GAD7.key], items=True)),
                (PHQ2_CODES, short and not long),
            )
            if is_asked
        ]

    def _asks_any(self, form: FormCodes, *, items: bool = False) -> bool:
        own = {form.panel, *form.totals, *(form.items if items else ())}
        return any(each.code in self.asked for each in own)

    def _of(self, form: FormCodes) -> Answers:
        difficulty = next((each.code for each in DIFFICULTY if each.code in self.numbers), "")
        total = next((each.code for each in form.totals if self.numbers.get(each.code) is not None), "")
        return Answers(
            form.instrument,
            tuple(self.numbers.get(each.code) for each in form.items),
            self.numbers.get(difficulty),
            self.numbers.get(total),
        )
