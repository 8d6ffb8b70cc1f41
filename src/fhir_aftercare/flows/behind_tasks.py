"""What stands behind Tasks on a list: the reasons of a review read back, the PHQ-9 that raised it, who has taken it.

    Tasks → one batch (owners by their id, the scores of the instants at which was answered) → what people read

Data only. What cannot be read is left out here and told as ``gap``; a Task stands on its list without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.timing import utc
from fhir_aftercare.ehr import urls
from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.errors import InvalidInput, MissingZone
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.responses import read_total
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.task_facts import owner_of, patient_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

# As ``review`` and ``call_attempt`` write it: words [source] (answered 2026-09-23T13:05:00-04:00; key).
_REASON: Final = re.compile(
    r"(?P<words>.*?)\s*(\[(?P<source>[^\]]*)\])?\s*(\((answered )?(?P<at>[^();]*); ?(?P<key>[\w-]+)\))?",
    re.DOTALL,
)
_PHQ9: Final = "phq9-"  # what the keys of reasons begin with that a PHQ-9 is behind (``care.escalation_rules``)
_TOTALS: Final = (terms.PHQ9_TOTAL, terms.PHQ9_TOTAL_SNOMED, terms.PHQ9_PANEL)
_PERSON: Final = "Practitioner"


@dataclass(frozen=True, slots=True)
class ReviewReason:
    """Why somebody is asked to look: the rule's words, its source and key, and when what it rests on came about."""

    words: str
    source: str = ""
    key: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ScoreBehind:
    """A PHQ-9 (``Observation/1``); its total is None if it could not be computed."""

    source: str
    total: int | None


@dataclass(frozen=True, slots=True)
class Behind:
    """``persons`` by their reference; ``gap``: scores were looked for and could not be read."""

    persons: Mapping[str, Resource] = field(default_factory=dict)
    scores: Mapping[tuple[str, datetime], ScoreBehind] = field(default_factory=dict)
    gap: bool = False

    def score(self, patient: str | None, reason: ReviewReason) -> ScoreBehind | None:
        """Give the score that a reason of a patient's review rests on; None if there is none, or none was read."""
        if patient is None or reason.at is None or not reason.key.startswith(_PHQ9):
            return None
        return self.scores.get((patient, _second(reason.at)))


def reasons_of(task: Resource) -> Iterator[ReviewReason]:
    """Give why a Task was raised, in the order in which it came about."""
    for each in task.get("input") or ():
        words = each.get("valueString") or (each.get("valueReference") or {}).get("display")
        if words and tasks.has_code({"code": each.get("type")}, terms.INPUT_REASON):
            found = _REASON.fullmatch(str(words))
            if found is None:
                yield ReviewReason(str(words))
            else:
                yield ReviewReason(found["words"], found["source"] or "", found["key"] or "", tasks.moment(found["at"]))


async def behind(context: ClinicContext, listed: Sequence[Resource], *, known: Collection[str] = ()) -> Behind:
    """Read what stands behind Tasks in one round trip, or in none if there is nothing to read.

    ``known`` are the references of persons that need not be read. Raises what a failure of the whole batch becomes.
    """
    persons = sorted({each for task in listed if (each := _person(task)) is not None} - set(known))
    search = _search(listed)
    queries = [*(urls.path(*each.split("/")) for each in persons), *([search] if search else ())]
    answers = await context.fhir.batch(queries)
    read = {reference_of(each.resource): each.resource for each in answers[: len(persons)] if each.resource is not None}
    if search is None:
        return Behind(read)
    answer = answers[-1]
    if answer.resource is None or answer.error is not None:
        return Behind(read, gap=True)
    pages = await context.fhir.collect("Observation", answer.resource)
    return Behind(read, dict(_scores(pages.matches)))


def _person(task: Resource) -> str | None:
    owner = location_of(owner_of(task))
    return owner.reference if owner is not None and owner.type == _PERSON else None


def _search(listed: Sequence[Resource]) -> str | None:
    """Give the search for the scores behind reviews: of their patients, from the first answers to the last."""
    answered = [
        (patient, reason.at)
        for task in listed
        if (patient := patient_of(task)) is not None
        for reason in reasons_of(task)
        if reason.at is not None and reason.key.startswith(_PHQ9)
    ]
    if not answered:
        return None
    times = sorted((at for _, at in answered), key=utc)
    return urls.query(
        "Observation",
        {
            "patient": ",".join(sorted({patient for patient, _ in answered})),
            "code": ",".join(f"{each.system}|{each.code}" for each in _TOTALS),
            "date": [f"ge{tasks.instant(times[0])}", f"le{tasks.instant(times[-1])}"],
            "_count": "200",
        },
    )


def _scores(observations: Sequence[Resource]) -> Iterator[tuple[tuple[str, datetime], ScoreBehind]]:
    """Give scores by patient and instant; where a total and its panel stand for the same answers, the total is last."""
    found = []
    for each in observations:
        try:
            reading = read_total(each)
        except (InvalidInput, MissingZone):  # other software's, which is no score to us
            continue
        subject = location_of((each.get("subject") or {}).get("reference"))
        if subject is not None and reading.answers is not None and reading.counted:
            place = (subject.reference, _second(reading.authored))
            found.append((place, ScoreBehind(reference_of(each), reading.answers.stated_total)))
    return iter(sorted(found, key=lambda each: each[1].total is not None))


def _second(moment: datetime) -> datetime:
    """A reason tells when was answered to the second."""
    return utc(moment).replace(microsecond=0)
