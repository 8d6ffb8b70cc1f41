"""Reading back what a patient reported, in whatever shape it was written (clinical §3.5): a Reading.

QuestionnaireResponses of ours and of others, Observation panels, bare totals. Nothing is scored here, which is for
``care.instruments``, and nothing decided; an answer that is not understood is named in ``unreadable``, and never
counts as 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.escalation import CheckIn
from fhir_aftercare.care.instruments import GAD7, PHQ2, PHQ9, Answers, Instrument
from fhir_aftercare.care.outcome import Point
from fhir_aftercare.errors import InvalidInput, MissingZone, WrongSubject
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.answers import (
    CODES_OF,
    Gathered,
    dicts,
    form_of,
    level,
    question_of_codes,
    question_of_link,
    total_of,
)
from fhir_aftercare.fhir.faults import has_value
from fhir_aftercare.fhir.tasks import moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.fhir.answers import Question

Resource = dict[str, Any]

_RESPONSE_STATUSES = frozenset({"in-progress", "completed", "amended", "entered-in-error", "stopped"})
_COUNTED = frozenset({"completed", "amended", "final", "corrected"})
_WITHDRAWN = frozenset({"entered-in-error", "cancelled"})
_OWN_FORMS = {terms.QUESTIONNAIRE_PHQ9: PHQ9, terms.QUESTIONNAIRE_GAD7: GAD7}
_OWN_CHECK_INS = frozenset(
    {terms.QUESTIONNAIRE_CHECK_IN, terms.QUESTIONNAIRE_WEEKLY, terms.QUESTIONNAIRE_SLEEP_DRIVING}
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was reported. ``reference`` is ``QuestionnaireResponse/1`` or ``Observation/1`` if the resource has an id.

    ``questionnaire`` is the canonical without its version. ``source`` is who answered, ``author`` who wrote it down
    (references). ``answers`` are those of the PHQ-9 before the GAD-7 before the PHQ-2; ``further`` has the others if
    one form held several. ``unreadable`` names linkIds (of Observations: codes) with an answer that is not understood.
    """

    reference: str | None
    patient: str | None
    questionnaire: str | None
    version: str | None
    identifiers: tuple[tuple[str, str], ...]
    status: str
    authored: datetime
    source: str | None
    author: str | None
    answers: Answers | None
    check_in: CheckIn | None
    unreadable: tuple[str, ...] = ()
    further: tuple[Answers, ...] = ()

    @property
    def counted(self) -> bool:
        """Whether it may be scored: completed or amended, not a draft and not withdrawn (clinical §3.5)."""
        return self.status in _COUNTED

    def answers_to(self, instrument: Instrument) -> Answers | None:
        """Give the answers to one instrument."""
        given = (self.answers, *self.further)
        return next((each for each in given if each is not None and each.instrument == instrument), None)


def read_response(resource: Resource, protocol_forms: Mapping[str, Resource] | None = None) -> Reading:
    """Read a QuestionnaireResponse. ``protocol_forms`` are the Questionnaires that are known, by any key.

    Raises ``InvalidInput`` naming the field if it is no QuestionnaireResponse, its status is none of R4's, or it was
    authored at no known time; ``MissingZone`` if that time has no offset.
    """
    if resource.get("resourceType") != "QuestionnaireResponse":
        raise InvalidInput("A QuestionnaireResponse is expected.", where="resourceType")
    if resource.get("status") not in _RESPONSE_STATUSES:
        raise InvalidInput("The status is none that a QuestionnaireResponse can have.", where="status")
    if not isinstance(resource.get("authored"), str):
        raise InvalidInput("It is not said when the answers were given.", where="authored")
    authored = moment(resource["authored"])
    if authored is None:
        raise MissingZone("The time the answers were given needs a time of day and an offset.", where="authored")
    canonical, _, version = str(resource.get("questionnaire") or "").partition("|")
    found = Gathered()
    ours = canonical in _OWN_CHECK_INS or not canonical
    form = {item.get("linkId"): item for item in _walk(_form(resource, canonical, version, protocol_forms or {}))}
    found.asked |= {each.name for each in (question_of_link(str(k), v, ours=ours) for k, v in form.items()) if each}
    if canonical in _OWN_FORMS:
        found.asks(CODES_OF[_OWN_FORMS[canonical].key])
    for item in _walk(resource):
        found.take(item, form.get(item.get("linkId")), ours=ours)
    read = found.answers()
    return Reading(
        reference=_reference(resource),
        patient=_who(resource.get("subject")),
        questionnaire=canonical or None,
        version=version or None,
        identifiers=_identifiers(resource),
        status=resource["status"],
        authored=authored,
        source=_who(resource.get("source")),
        author=_who(resource.get("author")),
        answers=read[0] if read else None,
        check_in=CheckIn(**found.check_in) if found.check_in or canonical in _OWN_CHECK_INS else None,
        unreadable=tuple(dict.fromkeys(found.unreadable)),
        further=tuple(read[1:]),
    )


def read_panel(panel: Resource, members: Sequence[Resource]) -> Reading:
    """Read an Observation panel with the Observations it names as members, or with components (clinical §3.5, shape 2).

    Of ``members`` only those count that the panel names and nobody withdrew. Raises ``InvalidInput`` if the panel is
    none of an instrument we know, ``MissingZone`` if its time has no offset, ``WrongSubject`` if a member is another
    patient's.
    """
    question = _question_of(panel)
    if question is None or question.kind != "panel":
        raise InvalidInput("The Observation is no panel of a known instrument.", where="code")
    named = [each for each in members if _names(panel, each) and each.get("status") not in _WITHDRAWN]
    subjects = {_who(each.get("subject")) for each in (panel, *named)} - {None}
    if len(subjects) > 1:
        raise WrongSubject("A member of the panel is another patient's.", where="hasMember")
    found = Gathered()
    found.asks(form_of(question))
    for part in (*dicts(panel.get("component")), *named):
        asked = _question_of(part)
        if asked is not None and asked.kind != "panel" and has_value(part):
            found.put(asked, part, asked.name)
    stated = _stated_total(panel)
    if stated is not None:
        found.numbers.setdefault(total_of(form_of(question)).name, stated[1])
    return _observed(panel, found.answers(), tuple(found.unreadable))


def read_total(observation: Resource) -> Reading:
    """Read one Observation that holds a total, or item 9 alone (clinical §3.5, shape 3).

    Totals are seen under the panel's code, too, and under that of item 9: there a value above 3 is a total, and never
    item 9. With a total alone item 9 is not known. Raises ``InvalidInput`` if the Observation is neither,
    ``MissingZone`` if its time has no offset.
    """
    question = _question_of(observation)
    if question is None or not (question.kind in {"total", "panel"} or _is_item9(question)):
        raise InvalidInput("The Observation is no score of a known instrument.", where="code")
    if question.kind == "panel" and observation.get("component") and not has_value(observation):
        return read_panel(observation, ())
    form = form_of(question)
    items: list[int | None] = [None] * len(form.items)
    stated = _stated_total(observation)
    if stated is None and question.kind == "frequency":
        items[-1] = level(observation, question)
    understood = stated is not None or items[-1] is not None or not has_value(observation)
    read = Answers(form.instrument, tuple(items), stated_total=stated[1] if stated else None)
    return _observed(observation, [read], () if understood else (question.name,))


def read_score_points(observations: Sequence[Resource]) -> list[Point]:
    """Give the PHQ-9 and GAD-7 totals among Observations, whoever wrote them, in the order given.

    Only final, amended and corrected ones whose value and time can be read; the others are no points of a trend. Item 9
    is added from the Observation of the same answers, else of the same instant.
    """
    counted = [each for each in observations if each.get("status") in _COUNTED]
    item9 = _item9_by_place(counted)
    points = []
    for each in counted:
        at, stated = _observed_at(each), _stated_total(each)
        if at is None or stated is None or stated[0] == PHQ2:
            continue
        known = [item9[place] for place in _places(each, at) if place in item9] if stated[0] == PHQ9 else []
        points.append(Point(at, stated[1], stated[0].key, _reference(each), item9=known[0] if known else None))
    return points


# --- QuestionnaireResponse -------------------------------------------------------------------------------------------
def _form(resource: Resource, canonical: str, version: str, forms: Mapping[str, Resource]) -> Resource:
    """Give the Questionnaire, of this version if it is there; an empty one if it is not known."""
    if canonical.startswith("#"):
        contained = dicts(resource.get("contained"))
        return next((each for each in contained if each.get("id") == canonical[1:]), {})
    named = [each for each in forms.values() if canonical and each.get("url") == canonical]
    exact = [each for each in named if each.get("version") == version]
    return next(iter([*exact, *reversed(named)]), {})


def _walk(node: Resource) -> Iterator[Resource]:
    """Give all items of a Questionnaire or of a response, whatever they hang on, in order."""
    waiting = dicts(node.get("item"))[::-1]
    while waiting:
        item = waiting.pop()
        yield item
        below = [sub for answer in dicts(item.get("answer")) for sub in dicts(answer.get("item"))]
        waiting.extend([*dicts(item.get("item")), *below][::-1])


# --- Observation -----------------------------------------------------------------------------------------------------
def _observed(observation: Resource, read: Sequence[Answers], unreadable: tuple[str, ...]) -> Reading:
    at = _observed_at(observation)
    if at is None:
        timed = any(name.startswith("effective") for name in observation)
        if timed:
            raise MissingZone("The time of the Observation needs a time of day and an offset.", where="effective")
        raise InvalidInput("It is not said when this was observed.", where="effective")
    if not isinstance(observation.get("status"), str):
        raise InvalidInput("The Observation has no status.", where="status")
    performers = dicts(observation.get("performer"))
    return Reading(
        reference=_reference(observation),
        patient=_who(observation.get("subject")),
        questionnaire=None,
        version=None,
        identifiers=_identifiers(observation),
        status=observation["status"],
        authored=at,
        source=None,
        author=_who(performers[0]) if performers else None,
        answers=read[0] if read else None,
        check_in=None,
        unreadable=unreadable,
        further=tuple(read[1:]),
    )


def _observed_at(observation: Resource) -> datetime | None:
    """Give when it was observed; of a bare date the time it was issued, if that is the same day or next to it."""
    dates = observation.get("effectivePeriod")
    period = dates if isinstance(dates, dict) else {}
    given = (observation.get("effectiveDateTime"), observation.get("effectiveInstant"), period.get("end"))
    at = next((found for found in map(moment, given) if found is not None), None)
    issued = moment(observation.get("issued"))
    if at is not None or issued is None:
        return at
    try:
        day = date.fromisoformat(str(observation.get("effectiveDateTime")))
    except ValueError:  # no bare date either: it has no time that we can use
        return None
    return issued if abs(issued.date() - day) <= timedelta(days=1) else None


def _question_of(element: Resource) -> Question | None:
    code = element.get("code")
    return question_of_codes(code.get("coding")) if isinstance(code, dict) else None


def _is_item9(question: Question) -> bool:
    return question.name == terms.PHQ9_ITEM9.code


def _stated_total(observation: Resource) -> tuple[Instrument, int] | None:
    """Give the total an Observation states, itself or in a component."""
    question = _question_of(observation)
    if question is None:
        return None
    form = form_of(question) if question.kind in {"total", "panel", "frequency"} else None
    if form is None or (question.kind == "frequency" and not _is_item9(question)):
        return None
    found = level(observation, total_of(form))
    if found is not None and (question.kind != "frequency" or found > form.instrument.max_answer):
        return form.instrument, found
    parts = dicts(observation.get("component")) if question.kind == "panel" else []
    totals = (level(each, total_of(form)) for each in parts if _asks(each, "total"))
    return next(((form.instrument, each) for each in totals if each is not None), None)


def _asks(element: Resource, kind: str) -> bool:
    question = _question_of(element)
    return question is not None and question.kind == kind


def _item9_by_place(observations: Sequence[Resource]) -> dict[str, int]:
    """Give item 9 by the answers it comes from and by its instant; of several the highest."""
    found: dict[str, int] = {}
    for each in observations:
        at = _observed_at(each)
        for part in (each, *dicts(each.get("component"))):
            question = _question_of(part)
            if at is None or question is None or not _is_item9(question):
                continue
            value = level(part, question)
            if value is not None:
                found |= {place: max(value, found.get(place, 0)) for place in _places(each, at)}
    return found


def _places(observation: Resource, at: datetime) -> list[str]:
    """Give by what an Observation belongs to others: the answers it is derived from, then its instant."""
    sources = [_who(each) for each in dicts(observation.get("derivedFrom"))]
    return [*(each for each in sources if each), at.astimezone(UTC).isoformat()]


def _names(panel: Resource, member: Resource) -> bool:
    """Tell whether a panel has this member, by reference or by business identifier."""
    own = str(member.get("id") or "")
    targets = (f"Observation/{own}", f"urn:uuid:{own}")
    identifiers = _identifiers(member)
    for each in dicts(panel.get("hasMember")):
        reference = _who(each) or ""
        if own and (reference in targets or reference.endswith("/" + targets[0])):
            return True
        if any(pair in identifiers for pair in _identifiers(each)):
            return True
    return False


# --- both ------------------------------------------------------------------------------------------------------------
def _reference(resource: Resource) -> str | None:
    return f"{resource['resourceType']}/{resource['id']}" if resource.get("id") else None


def _who(reference: Any) -> str | None:
    """Give the target of a Reference, without a version."""
    target = reference.get("reference") if isinstance(reference, dict) else None
    return target.partition("/_history/")[0] if isinstance(target, str) and target else None


def _identifiers(element: Resource) -> tuple[tuple[str, str], ...]:
    """Give (system, value) of the identifiers of a resource or a Reference; a response has one, others a list."""
    given = element.get("identifier")
    listed = [given] if isinstance(given, dict) else dicts(given)
    pairs = ((each.get("system"), each.get("value")) for each in listed)
    return tuple((str(system), str(value)) for system, value in pairs if system and value)
