"""Writing scores: the Observations that answers come to (profiles/StructureDefinition-aftercare-score-observation).

The total, item 9 of the PHQ-9 and the difficulty; by a clinic's policy all items, too, as a panel. A total or item 9
without a value says so instead of being left out: an amended form must not leave its old score standing. The scoring
itself is ``care.instruments``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.answers import CODES_OF
from fhir_aftercare.fhir.tasks import instant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.care.instruments import Answers, Score
    from fhir_aftercare.fhir.answers import FormCodes
    from fhir_aftercare.fhir.responses import Reading
    from fhir_aftercare.fhir.setting import Setting

Resource = dict[str, Any]

_SCORE_UNIT = "{score}"


def score_observations(
    score: Score,
    reading: Reading,
    setting: Setting,
    *,
    submission: tuple[str, ...],
    based_on: Sequence[str],
    response: str,
    write_all_items: bool = False,
) -> list[Resource]:
    """Give the Observations of one score: the total first, a panel last.

    ``submission`` is the key of the answers; with the code of each score it makes the identifier (design §10.2).
    ``response`` is the reference of the answers, ``based_on`` those of the plans they belong to; both may be
    ``urn:uuid``. The performer is who answered, else who wrote it down, else the clinic. Only the total, item 9 and the
    difficulty claim our profile: it is for scores. A panel names its members by identifier, which is the same before
    and after they are written. Raises ``InvalidInput`` for a draft: drafts are never scored (fhir-model §3.3).
    """
    if not reading.counted and reading.status != "entered-in-error":
        raise InvalidInput("Only completed or amended answers are scored.", where="status")
    write = _Writer(score, reading, setting, submission, based_on, response)
    found = [write.total()]
    if score.instrument.safety_item:
        found.append(write.item9())
    answers = reading.answers_to(score.instrument)
    # Two instruments in one form share the question, which is written once.
    if answers is not None and answers.difficulty is not None and answers == reading.answers:
        found.append(write.difficulty(answers.difficulty))
    if write_all_items and answers is not None and any(each is not None for each in answers.items):
        found.extend(write.items(answers))
        found.append(write.panel(found))
    return found


@dataclass(frozen=True, slots=True)
class _Writer:
    """Makes the Observations of one score; they share everything but code and value."""

    score: Score
    reading: Reading
    setting: Setting
    submission: tuple[str, ...]
    based_on: Sequence[str]
    response: str

    @property
    def codes(self) -> FormCodes:
        """The codes of the instrument."""
        return CODES_OF[self.score.instrument.key]

    def total(self) -> Resource:
        """Give the total, or why there is none."""
        total = self.score.total
        value: Resource = {"dataAbsentReason": terms.DATA_UNKNOWN.concept()}
        if total is not None:
            quantity = {"value": total, "unit": _SCORE_UNIT, "system": terms.UCUM, "code": _SCORE_UNIT}
            value = {"valueQuantity": quantity}
        return self._observation(self.codes.totals[0], value | {"method": {"text": self._method()}})

    def _method(self) -> str:
        """Always said, so that an amendment replaces what was said before."""
        score, asked = self.score, len(self.score.instrument.items)
        answered = asked - len(score.missing)
        if score.total is None:
            found = f"Not computed: {score.incomplete_reason}"
        elif not answered:
            found = "As stated, without the answers"
        elif score.prorated:
            found = f"Prorated: {answered} of {asked} items were answered"
        else:
            found = "Sum of the answers"
        return f"{found}; another total was stated" if score.stated_total_differs else found

    def item9(self) -> Resource:
        """Give item 9 as it was answered, or that it is not known."""
        if self.score.item9 is None:
            return self._observation(terms.PHQ9_ITEM9, {"dataAbsentReason": terms.DATA_UNKNOWN.concept()})
        return self._answer(terms.PHQ9_ITEM9, terms.FREQUENCY_ANSWERS[self.score.item9])

    def difficulty(self, level: int) -> Resource:
        """Give how difficult the problems made life: asked with the items, not scored."""
        return self._answer(terms.PHQ9_DIFFICULTY, terms.DIFFICULTY_ANSWERS[level])

    def items(self, answers: Answers) -> list[Resource]:
        """Give every answered item, item 9 excepted; what was skipped creates nothing (SDC)."""
        found = []
        for number, (code, value) in enumerate(zip(self.codes.items, answers.items, strict=True), start=1):
            if value is not None and number != self.score.instrument.safety_item:
                text = self.score.instrument.items[number - 1]
                found.append(self._answer(code, terms.FREQUENCY_ANSWERS[value], text=text, profile=False))
        return found

    def panel(self, members: Sequence[Resource]) -> Resource:
        """Give the panel of all the others."""
        named = [{"type": "Observation", "identifier": each["identifier"][0]} for each in members]
        text = self.score.instrument.key.upper()
        return self._observation(self.codes.panel, {"hasMember": named}, text=text, profile=False)

    def _answer(
        self, code: terms.Code, answer: terms.Code, *, text: str | None = None, profile: bool = True
    ) -> Resource:
        return self._observation(code, {"valueCodeableConcept": answer.concept()}, text=text, profile=profile)

    def _observation(
        self, code: terms.Code, value: Resource, *, text: str | None = None, profile: bool = True
    ) -> Resource:
        reading, setting = self.reading, self.setting
        resource: Resource = {
            "resourceType": "Observation",
            "meta": {"profile": [terms.PROFILE_SCORE]} if profile else None,
            "identifier": [setting.identifiers.identifier("observation", *self.submission, code.code)],
            "basedOn": [{"reference": each} for each in self.based_on] or None,
            "status": "final" if reading.counted else "entered-in-error",
            "category": [terms.SURVEY.concept()],
            "code": code.concept(text=text),
            "subject": {"reference": setting.patient},
            "encounter": {"reference": setting.encounter} if setting.encounter else None,
            "effectiveDateTime": instant(reading.authored),
            "performer": [{"reference": self._performer()}],
            "derivedFrom": [{"reference": self.response}],
            **value,
        }
        return {name: each for name, each in resource.items() if each is not None}

    def _performer(self) -> str:
        """A Device may write answers down, but R4 lets none perform an Observation."""
        named = (self.reading.source, self.reading.author)
        able = (each for each in named if each is not None and "Device/" not in each)
        return next(able, self.setting.performer)
