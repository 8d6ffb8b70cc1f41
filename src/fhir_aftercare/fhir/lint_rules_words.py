"""Lint's rules of words: everything a patient reads is there in each language, and easy enough to read.

Published instruments keep their wording, so they are not graded. How hard a text is, is ``care.reading_grade``'s; the
sentences the software makes itself are ``care.wording``'s.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.reading_grade import MAX_GRADE, MAX_WORDS, grade, too_long
from fhir_aftercare.care.wording import LANGUAGES
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.elements import Element
from fhir_aftercare.fhir.expression import CHOICES, PARAMETERS, Type
from fhir_aftercare.fhir.lint_rules import Finding, Sheet, error, items_of, objects, warning
from fhir_aftercare.fhir.lint_rules_forms import instrument_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fhir_aftercare.fhir.definitions import Activity, Form
    from fhir_aftercare.fhir.expression import Expression, Value

Resource = dict[str, Any]

# A place in a file, and the words there by language.
Said = tuple[str, "Mapping[str, str]"]
_LETTERS: Final = re.compile(r"'(?:[^'\\]|\\.)*[^\W\d_](?:[^'\\]|\\.)*'")


def words(sheet: Sheet) -> Iterator[Finding]:
    """Find words that are missing in a language, sentences that are too long, definitions too hard to read."""
    for plan in sheet.protocol.plans.values():
        yield from _translated(plan.file, [("PlanDefinition.title", plan.titles)])
        for action in plan.actions:
            # Other actions are staff's work; their titles are read by staff.
            if action.definition and sheet.protocol.is_form(action.definition):
                file, path = sheet.at(plan, action, "title")
                yield from _translated(file, [(path, action.titles)])
    for activity in sheet.protocol.activities.values():
        said = [*_of_activity(activity, sheet.files[activity.file])]
        yield from _translated(activity.file, [("ActivityDefinition.title", activity.titles), *said])
        yield from _readable(activity.file, "ActivityDefinition", said)
    for form in sheet.protocol.forms.values():
        said = [*_of_form(form)]
        yield from _translated(form.file, [("Questionnaire.title", form.titles), *said])
        if instrument_of(form) is None:
            yield from _readable(form.file, "Questionnaire", said)


def _of_activity(activity: Activity, resource: Resource) -> Iterator[Said]:
    """Give what an activity tells the patient: the points that are taught, the instruction of a restriction."""
    inputs = (each for each in objects(resource, "extension") if each[1].get("url") == terms.EXT_TASK_INPUT)
    english = (
        at for at, each in inputs if any(part.get("valueCode") == "en" for _, part in objects(each, "extension"))
    )
    for index, each in zip(english, activity.inputs, strict=False):
        yield f"ActivityDefinition.extension[{index}]", each.texts
    for index, dynamic in enumerate(activity.dynamic):
        if dynamic.path == "patientInstruction" and any(_LETTERS.search(e.text) for e in dynamic.expressions.values()):
            said = {language: _spoken(each) for language, each in dynamic.expressions.items()}
            yield f"ActivityDefinition.dynamicValue[{index}].expression", said


def _spoken(expression: Expression) -> str:
    """Give an expression's words, with something in the place of each fact."""
    return str(expression.evaluate({name: _example(name) for name in expression.names}))


def _example(name: str) -> Value:
    if name in CHOICES:
        return min(CHOICES[name])
    examples: dict[Type, Value] = {
        Type.BOOLEAN: True, Type.STRING: "it", Type.INTEGER: 1, Type.DECIMAL: Decimal(1),
    }  # fmt: skip
    return examples[PARAMETERS[name]]


def _of_form(form: Form) -> Iterator[Said]:
    """Give what a form asks: the words of each item and of each answer."""
    for path, item in items_of(form.resource):
        if "text" in item:
            yield f"{path}.text", _texts(item, "text", form.file)
        for index, option in objects(item, "answerOption"):
            coding = option.get("valueCoding")
            if isinstance(coding, dict) and "display" in coding:
                yield f"{path}.answerOption[{index}].valueCoding.display", _texts(coding, "display", form.file)


def _texts(element: Resource, name: str, file: str) -> Mapping[str, str]:
    try:
        return Element(element, file).texts(name)
    except ProtocolFault:
        # A form is written as it is read; what cannot be read as a translation is none.
        return {"en": str(element[name])}


def _translated(file: str, said: list[Said]) -> Iterator[Finding]:
    for path, texts in said:
        missing = [language for language in LANGUAGES if not texts.get(language)]
        if missing:
            yield warning(
                (file, path),
                "wording",
                f"The words are not there in {', '.join(missing)}: the patient reads them in English.",
                "Add the extension translation with `lang` and `content`; for a task-input, one more in this language.",
            )


def _readable(file: str, path: str, said: list[Said]) -> Iterator[Finding]:
    english = [texts["en"] for _, texts in said]
    years = grade(english)
    if years > MAX_GRADE:
        yield error(
            (file, path),
            "reading-grade",
            f"The words for the patient need {years:.1f} years of school, not {MAX_GRADE} (Flesch-Kincaid).",
            "Use shorter words and shorter sentences.",
        )
    for where, texts in said:
        for sentence in too_long(texts["en"]):
            yield error(
                (file, where),
                "sentence-length",
                f"A sentence has {len(sentence.split())} words, not {MAX_WORDS}: {sentence}.",
                "Make two sentences of it.",
            )
