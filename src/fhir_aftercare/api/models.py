"""What callers send and get that is not FHIR: small bodies, typed, in the field's own words.

Names are those of the errors' ``where``. Shapes only: ranges are told here, in the schema, and judged in ``care``, so
that every door refuses alike. Nothing is guessed from another type: text is no number, and a number is no time.
References are FHIR references relative to the clinic's server (``Patient/42``), times carry their offset.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, WithJsonSchema
from pydantic_core import PydanticCustomError

from fhir_aftercare.api.previews import ID, MOMENT_PATTERN, QUESTIONNAIRE_RESPONSE
from fhir_aftercare.care.escalation import Reason
from fhir_aftercare.care.infusion import (
    DECIMALS,
    LIMITS,
    Check,
    Dissociation,
    Escort,
    InfusionRecord,
    InfusionStatus,
    Route,
)
from fhir_aftercare.care.instruments import Score
from fhir_aftercare.care.plan import CallWish
from fhir_aftercare.care.readiness import Override, Panel
from fhir_aftercare.errors import InvalidInput, ProtocolFault
from fhir_aftercare.flows.discharge import Discharged, DischargeRequest
from fhir_aftercare.flows.receive_response import Received
from fhir_aftercare.flows.record_infusion import Recorded, RecordRequest

# RFC 3339 in the centuries that patients live in. The offset may be missing here: then it is a ``MissingZone``.
_MOMENT = re.compile(r"(?:19|20)\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?")
# The id of an encounter's administration where the caller gives none.
_ONLY_INFUSION = "1"
# More than any instrument measures, and as many as every FHIR server keeps.
_MOST_DIGITS = 40
# Not blank, and nothing that no screen shows: FHIR wants strings to say something.
_SAYS_SOMETHING = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0][^\x00-\x1f\x7f-\x9f]*$"


def _moment(value: Any) -> Any:
    if isinstance(value, datetime) or (isinstance(value, str) and _MOMENT.fullmatch(value)):
        return value
    raise PydanticCustomError("moment", "Input should be a date and time with its offset, as RFC 3339 writes them")


def _number(value: Any) -> Any:
    if isinstance(value, Decimal) and len(value.as_tuple().digits) > _MOST_DIGITS:
        raise PydanticCustomError("digits", "Input should have at most {most} digits", {"most": _MOST_DIGITS})
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("number", "Input should be a number")


def _limits(name: str, description: str) -> WithJsonSchema:
    limit = LIMITS[name]
    return WithJsonSchema(
        {
            "type": "number" if name in DECIMALS else "integer",
            "minimum": int(limit.low),
            "maximum": int(limit.high),
            "description": description,
        }
    )


PatientRef = Annotated[str, Field(pattern=f"^Patient/{ID}$", examples=["Patient/42"])]
EncounterRef = Annotated[str, Field(pattern=f"^Encounter/{ID}$", examples=["Encounter/7"])]
PersonRef = Annotated[
    str, Field(pattern=f"^(Practitioner|PractitionerRole)/{ID}$", examples=["Practitioner/9"], max_length=90)
]
ResourceId = Annotated[str, Field(pattern=f"^{ID}$")]
Words = Annotated[str, Field(min_length=1, max_length=1000, pattern=_SAYS_SOMETHING)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=_SAYS_SOMETHING)]
InfusionId = Annotated[str, Field(pattern="^[A-Za-z0-9._-]{1,64}$")]
Zone = Annotated[
    str,
    Field(pattern="^[A-Za-z0-9_+/-]{1,64}$", examples=["America/New_York"], description="IANA zone."),
]
Language = Annotated[Literal["en", "es"], Field(description="Language of what the patient reads.")]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": MOMENT_PATTERN}),
    Field(examples=["2026-09-16T13:40:00-04:00"], description="With its offset."),
]
Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[Decimal, BeforeValidator(_number)]


class Body(BaseModel):
    """A body: an unknown field is a fault, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EscortIn(Body):
    """The adult who takes the patient home."""

    name: Name | None = None
    relationship: Name | None = None
    phone: Name | None = None
    arranged: StrictBool = False

    def escort(self) -> Escort:
        """Give it as the record has it."""
        return Escort(**self.model_dump())


class CheckIn(Body):
    """One row of the sheet: everything observed at one instant. Leave out what was not observed: it is not 0."""

    at: Moment
    id: Annotated[Name, Field(max_length=64, description="Of the row, so that its time can be corrected.")] | None = (
        None
    )
    systolic: Annotated[Whole, _limits("systolic", "mm[Hg]; above the diastolic pressure")] | None = None
    diastolic: Annotated[Whole, _limits("diastolic", "mm[Hg]; both pressures or none")] | None = None
    mean_pressure: Annotated[Whole, _limits("mean_pressure", "mm[Hg]")] | None = None
    heart_rate: Annotated[Whole, _limits("heart_rate", "/min")] | None = None
    respiratory_rate: Annotated[Whole, _limits("respiratory_rate", "/min")] | None = None
    spo2: Annotated[Whole, _limits("spo2", "%")] | None = None
    oxygen_flow: Annotated[Number, _limits("oxygen_flow", "L/min; 0 is room air")] | None = None
    oxygen_concentration: Annotated[Number, _limits("oxygen_concentration", "%")] | None = None
    weight: Annotated[Number, _limits("weight", "kg")] | None = None
    temperature: Annotated[Number, _limits("temperature", "Cel")] | None = None
    dissociation: Dissociation | None = None
    cadss_total: Annotated[Whole, _limits("cadss_total", "CADSS, 23 items")] | None = None
    cadss_6: Annotated[Whole, _limits("cadss_6", "CADSS-6")] | None = None
    moaa_s: Annotated[Whole, _limits("moaa_s", "MOAA/S; 5 is awake")] | None = None
    nausea: Annotated[Whole, _limits("nausea", "0 is none")] | None = None
    vomiting: Annotated[Whole, _limits("vomiting", "Times")] | None = None
    oriented: Annotated[StrictBool, Field(description="To person, place, time and situation")] | None = None
    walks_unaided: StrictBool | None = None
    no_acute_suicidal_intent: StrictBool | None = None
    escort_present: StrictBool | None = None
    written_instructions: StrictBool | None = None
    emergency_contact: StrictBool | None = None
    recorded_by: PersonRef | None = None


class InfusionIn(Body):
    """An infusion as it was monitored. Sending it again changes nothing; another value in the same row amends it."""

    patient: PatientRef
    encounter: EncounterRef | None = None
    infusion: InfusionId | None = Field(
        default=None, description="Your id of this administration; needed where there is no encounter."
    )
    status: InfusionStatus
    start: Moment
    end: Moment | None = None
    dose_mg: (
        Annotated[
            Number, WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 1000, "description": "mg"})
        ]
        | None
    ) = None
    route: Route | None = None
    checks: Annotated[list[CheckIn], Field(max_length=200)] = Field(default_factory=list)
    escort: EscortIn | None = None
    zone: Zone | None = None
    language: Language | None = None
    recorded_by: PersonRef | None = None
    reason: Words | None = Field(default=None, description="Why values are corrected.")

    def request(self) -> RecordRequest:
        """Give it as the flow takes it. Raises ``InvalidInput`` if neither encounter nor id names the infusion."""
        if self.infusion is None and self.encounter is None:
            raise InvalidInput("Without an encounter the infusion needs an id of its own.", where="infusion")
        record = InfusionRecord(
            start=self.start,
            end=self.end,
            status=self.status,
            dose_mg=self.dose_mg,
            route=self.route,
            checks=tuple(Check(**each.model_dump()) for each in self.checks),
            escort=self.escort.escort() if self.escort else None,
            infusion=self.infusion or _ONLY_INFUSION,
            recorded_by=self.recorded_by,
        )
        return RecordRequest(
            self.patient,
            self.encounter,
            record,
            zone=self.zone,
            language=self.language,
            reason=self.reason,
            person=self.recorded_by,
        )


class Fault(BaseModel):
    """Why there is no plan: the protocol has a fault. A Task asks people to act."""

    code: str
    detail: str
    where: list[str]
    remedy: str

    @classmethod
    def of(cls, fault: ProtocolFault) -> Self:
        """Give it of an error."""
        return cls(code=fault.code, detail=fault.message, where=list(fault.where), remedy=fault.remedy)


class InfusionOut(BaseModel):
    """What is on the FHIR server now, as references. ``changed`` is false if it all was there before."""

    drug_record: str | None
    observations: list[str]
    plan: str | None
    tasks: list[str]
    changed: bool
    fault: Fault | None = None

    @classmethod
    def of(cls, recorded: Recorded) -> Self:
        """Give it of what the flow did."""
        return cls(
            drug_record=recorded.drug_record,
            observations=list(recorded.observations),
            plan=recorded.plan,
            tasks=list(recorded.tasks),
            changed=recorded.changed,
            fault=Fault.of(recorded.fault) if recorded.fault else None,
        )

    def references(self) -> list[str]:
        """Give all references."""
        return [each for each in (self.drug_record, self.plan, *self.observations, *self.tasks) if each]


class OverrideIn(Body):
    """A clinician lets a patient leave who is not ready. Recorded with name, time and reason."""

    by: PersonRef
    by_name: Name
    at: Moment
    reason: Words

    def override(self) -> Override:
        """Give it as readiness has it."""
        return Override(by=self.by, at=self.at, reason=self.reason, by_name=self.by_name)


class CallIn(Body):
    """What was agreed with the patient about the follow-up call; null is what the protocol and the chart say."""

    opens: Moment | None = Field(default=None, description="Not before the protocol's window opens.")
    due: Moment | None = Field(default=None, description="Not after it is due; somebody must work in between.")
    phone: Name | None = None

    def wish(self) -> CallWish:
        """Give it as the flow takes it."""
        return CallWish(self.opens, self.due, self.phone)


class DischargeIn(Body):
    """What is known of a patient who wants to leave, or has left."""

    patient: PatientRef
    encounter: EncounterRef | None = None
    infusion: InfusionId | None = Field(default=None, description="Needed where there is no encounter.")
    left_at: Moment
    escort: Literal["present", "left-alone"] | None = Field(default=None, description="Null: nobody said.")
    escort_person: EscortIn | None = None
    override: OverrideIn | None = None
    sedatives_given: StrictBool = False
    start: Moment | None = Field(default=None, description="Of the infusion, where no record of the drug has it.")
    end: Moment | None = Field(default=None, description="Of the infusion, where no record of the drug has it.")
    zone: Zone | None = Field(default=None, description="Where the patient sleeps tonight.")
    zone_unsure: StrictBool = False
    language: Language | None = None
    call: CallIn | None = None
    recorded_by: PersonRef | None = None

    def request(self, mode: Literal["ask", "happened"]) -> DischargeRequest:
        """Give it as the flow takes it."""
        return DischargeRequest(
            patient=self.patient,
            encounter=self.encounter,
            left_at=self.left_at,
            mode=mode,
            infusion=self.infusion,
            escort=self.escort,
            escort_person=self.escort_person.escort() if self.escort_person else None,
            override=self.override.override() if self.override else None,
            sedatives_given=self.sedatives_given,
            start=self.start,
            end=self.end,
            zone=self.zone,
            zone_unsure=self.zone_unsure,
            language=self.language,
            call=self.call.wish() if self.call else None,
            person=self.recorded_by,
        )


class CriterionOut(BaseModel):
    """One criterion of readiness: how it stands, by which rule, and the Observations it rests on."""

    criterion: str
    state: Literal["met", "not-met", "not-recorded"]
    reason: str
    rests_on: list[str]
    at: datetime | None


class ReadinessOut(BaseModel):
    """Whether the patient may leave. The software shows; people decide."""

    ready: bool
    may_leave: bool
    overridden: bool
    criteria: list[CriterionOut]

    @classmethod
    def of(cls, panel: Panel) -> Self:
        """Give it of a panel."""
        return cls(
            ready=panel.ready,
            may_leave=panel.may_leave,
            overridden=panel.override is not None,
            criteria=[
                CriterionOut(
                    criterion=each.criterion.value,
                    state=each.state.value,
                    reason=each.reason,
                    rests_on=list(each.rests_on),
                    at=each.at,
                )
                for each in panel.judged
            ],
        )


class DischargeOut(BaseModel):
    """The plan that is owed now, as references. ``changed`` is false if it all was there before."""

    plan: str | None
    course: str | None
    tasks: list[str]
    service_requests: list[str]
    goals: list[str]
    readiness_observation: str | None
    readiness: ReadinessOut
    changed: bool

    @classmethod
    def of(cls, done: Discharged) -> Self:
        """Give it of what the flow did."""
        return cls(
            plan=done.plan,
            course=done.course,
            tasks=list(done.tasks),
            service_requests=list(done.service_requests),
            goals=list(done.goals),
            readiness_observation=done.readiness,
            readiness=ReadinessOut.of(done.panel),
            changed=done.changed,
        )

    def references(self) -> list[str]:
        """Give all references."""
        given = (self.plan, self.course, self.readiness_observation, *self.tasks, *self.service_requests, *self.goals)
        return [each for each in given if each]


class ScoreOut(BaseModel):
    """The score of one instrument. ``total`` is null where it cannot be said; an unanswered item is never 0."""

    instrument: str
    total: int | None
    band: str | None
    prorated: bool
    missing: list[int]
    item9: int | None
    item9_known: bool
    stated_total_differs: bool

    @classmethod
    def of(cls, score: Score) -> Self:
        """Give it of a score."""
        return cls(
            instrument=score.instrument.key,
            total=score.total,
            band=score.band.name if score.band else None,
            prorated=score.prorated,
            missing=list(score.missing),
            item9=score.item9,
            item9_known=score.item9_known,
            stated_total_differs=score.stated_total_differs,
        )


class ReasonOut(BaseModel):
    """Why somebody must act, by when, and which rule says so."""

    key: str
    priority: str
    deadline: datetime
    text: str
    source: str

    @classmethod
    def all_of(cls, reasons: Sequence[Reason]) -> list[Self]:
        """Give them of escalation."""
        return [
            cls(key=each.key, priority=each.level.priority, deadline=each.deadline, text=each.text, source=each.source)
            for each in reasons
        ]


class ResponseOut(BaseModel):
    """What the answers say, and the Task that somebody must act on."""

    response: str
    scores: list[ScoreOut]
    observations: list[str]
    task: str | None
    review: str | None
    reasons: list[ReasonOut]
    changed: bool

    @classmethod
    def of(cls, received: Received) -> Self:
        """Give it of what the flow did."""
        return cls(
            response=received.response,
            scores=[ScoreOut.of(each) for each in received.scores],
            observations=list(received.observations),
            task=received.task,
            review=received.review,
            reasons=ReasonOut.all_of(received.reasons),
            changed=received.changed,
        )

    def references(self) -> list[str]:
        """Give all references."""
        return [each for each in (self.response, self.task, self.review, *self.observations) if each]


FhirBody = Annotated[dict[str, Any], Field(description="A FHIR R4 resource.")]
ResponseBody = Annotated[dict[str, Any], WithJsonSchema(QUESTIONNAIRE_RESPONSE)]
