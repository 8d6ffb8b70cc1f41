"""Simulate: what would be written for a course of infusions, and when it is all due, with no server and no patient.

The decisions are those of the flows themselves (``record_infusion``, then ``discharge``), each made on a chart that
holds what the ones before it wrote: what is shown is what is written. Nobody answers a form or does a Task in between.
What is measured is made up, so that the patient is ready to leave, and given to the flows as somebody else's record.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from fhir_aftercare.care.infusion import Check, Dissociation, InfusionRecord, InfusionStatus
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.check import check_bundle
from fhir_aftercare.fhir.course import Course, propose_course
from fhir_aftercare.fhir.facts import text_in
from fhir_aftercare.fhir.observations import from_record
from fhir_aftercare.fhir.setting import Setting
from fhir_aftercare.flows import discharge, record_infusion
from fhir_aftercare.flows.begin_plan import start_facts
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.flows.context import ClinicContext
from fhir_aftercare.flows.discharge import DischargeRequest
from fhir_aftercare.flows.record_infusion import RecordRequest
from fhir_aftercare.flows.simulated_chart import PATIENT, SimulatedServer
from fhir_aftercare.flows.situation import children, is_task

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.care.plan import Episode
    from fhir_aftercare.care.timing import Offset
    from fhir_aftercare.ehr.client import FhirClient
    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.fhir.definitions import Protocol
    from fhir_aftercare.fhir.identifiers import Identifiers

Resource = dict[str, Any]
EscortAtLeaving = Literal["present", "left-alone", "not-recorded"]
State = Literal["open", "done", "failed", "superseded", "in force", "coming"]

MOST_INFUSIONS: Final = 40
# What somebody has to do, or must not do.
_SHOWN: Final = ("Task/", "ServiceRequest/")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated. ``end`` is the first infusion's end, ``every`` how long after it the next one ends.

    ``zone`` is where the patient sleeps. ``lasts`` is how long an infusion runs. Not ``ready``: nothing was recorded
    when the patient left. Raises ``InvalidInput`` naming the field.
    """

    end: datetime
    zone: ZoneInfo
    infusions: int = 1
    every: Offset | None = None
    lasts: timedelta = timedelta(minutes=40)
    language: str | None = None
    escort: EscortAtLeaving = "present"
    ready: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.infusions <= MOST_INFUSIONS:
            raise InvalidInput(f"From 1 to {MOST_INFUSIONS} infusions can be simulated.", where="infusions")
        if self.infusions > 1 and (self.every is None or self.every.value <= 0):
            raise InvalidInput("Several infusions need the time from one to the next.", where="every")

    def ends(self) -> list[datetime]:
        """Give the end of each infusion, in the patient's zone."""
        found = [local(self.end, self.zone)]
        for number in range(1, self.infusions):
            step = cast("Offset", self.every)
            found.append(replace(step, value=step.value * number).after(self.end, self.zone))
        return found


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is asked: of whom, when it opens, is due and is over. ``resource`` is None for what is coming."""

    what: str
    who: str
    opens: datetime | None
    due: datetime | None
    expires: datetime | None
    state: State
    priority: str = "routine"
    resource: Resource | None = None


@dataclass(frozen=True, slots=True)
class SimulatedInfusion:
    """One infusion, when the patient left, and what was written for it, in the state it has in the end."""

    number: int
    start: datetime
    end: datetime
    left_at: datetime
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Simulation:
    """What would be on the server after the last discharge: all of it, and the forms that come later."""

    infusions: tuple[SimulatedInfusion, ...]
    coming: tuple[Row, ...]
    bundle: Resource = field(repr=False)


def simulate(clinic: Clinic, protocol: Protocol, identifiers: Identifiers, scenario: Scenario) -> Simulation:
    """Give what the flows would write for a scenario. Pure.

    Raises ``ProtocolFault`` where the flows would write nothing of the protocol, ``CheckFailed`` where they would not
    send what they made.
    """
    clock = SettableClock(scenario.end)
    # The decisions of the flows are pure: nothing here asks a server.
    context = ClinicContext(clinic, cast("FhirClient", None), protocol, identifiers, clock)
    simulator = _Simulator(context, clock, scenario, SimulatedServer())
    written = [simulator.infusion(number, end) for number, end in enumerate(scenario.ends(), start=1)]
    infusions = tuple(
        SimulatedInfusion(each.number, each.start, each.end, each.left_at, simulator.rows(each.references))
        for each in written
    )
    return Simulation(infusions, simulator.coming(written[-1]), simulator.server.bundle())


@dataclass(frozen=True, slots=True)
class _Written:
    """What one infusion's two decisions wrote, as references."""

    number: int
    start: datetime
    end: datetime
    left_at: datetime
    references: tuple[str, ...]
    episode: Episode
    course: str
    request: RecordRequest


@dataclass(frozen=True, slots=True)
class _Simulator:
    context: ClinicContext
    clock: SettableClock
    scenario: Scenario
    server: SimulatedServer

    def infusion(self, number: int, end: datetime) -> _Written:
        """Record an infusion when it has ended, and discharge the patient as soon as may be."""
        scenario, context = self.scenario, self.context
        start = (utc(end) - scenario.lasts).astimezone(scenario.zone)
        encounter = self.server.add_encounter(number, start)
        left_at = (utc(end) + self._stay()).astimezone(scenario.zone)
        record = InfusionRecord(start, end, InfusionStatus.COMPLETED)
        recording = RecordRequest(PATIENT, encounter, record, zone=scenario.zone.key, language=scenario.language)
        self.clock.move_to(end)
        recorded = record_infusion.decide(context, recording, self.server.chart(encounter))
        if recorded.fault is not None:
            raise recorded.fault
        written = self._write(recorded.transaction)
        if scenario.ready:
            self._measure(encounter, record, left_at)
        self.clock.move_to(left_at)
        leaving = self._leaving(encounter, record, left_at)
        discharged = discharge.decide(context, leaving, self.server.chart(encounter))
        if discharged.fault is not None:
            raise discharged.fault
        written += self._write(discharged.transaction)
        course = self.server.reference(discharged.activation.course or "")
        return _Written(
            number, start, end, left_at, tuple(dict.fromkeys(written)), discharged.episode, course, recording
        )

    def _leaving(self, encounter: str, record: InfusionRecord, at: datetime) -> DischargeRequest:
        scenario = self.scenario
        return DischargeRequest(
            PATIENT,
            encounter,
            at,
            escort=None if scenario.escort == "not-recorded" else scenario.escort,
            start=record.start,
            end=record.end,
            zone=scenario.zone.key,
            language=scenario.language,
        )

    def _write(self, transaction: Transaction) -> list[str]:
        if not transaction.empty:
            check_bundle(transaction.bundle(), transaction.existing)
        return self.server.write(transaction)

    def _stay(self) -> timedelta:
        policy = self.context.clinic.policy
        escorted = self.scenario.escort == "present"
        return policy.min_observation_with_escort if escorted else policy.min_observation_without_escort

    def _measure(self, encounter: str, record: InfusionRecord, at: datetime) -> None:
        """Give the chart what somebody measured: everything is as it must be to leave, but for the escort."""
        check = Check(
            at=at, systolic=118, diastolic=76, heart_rate=72, respiratory_rate=14, spo2=99, moaa_s=5, nausea=0,
            vomiting=0, dissociation=Dissociation.ABSENT, oriented=True, walks_unaided=True,
            no_acute_suicidal_intent=True, written_instructions=True, emergency_contact=True,
        )  # fmt: skip
        setting = Setting(self.context.clinic, self.context.identifiers, PATIENT, encounter, ("given", encounter))
        self.server.add_given(from_record(replace(record, checks=(check,)), setting))

    # What is shown

    def rows(self, references: tuple[str, ...]) -> tuple[Row, ...]:
        """Give the Tasks and restrictions among these, as they are in the end, in order of time."""
        found = [self._row(self.server.resources[each]) for each in references if each.startswith(_SHOWN)]
        return tuple(sorted(found, key=_when))

    def _row(self, resource: Resource) -> Row:
        if resource["resourceType"] == "ServiceRequest":
            (canonical,) = resource["instantiatesCanonical"]
            held = resource["occurrencePeriod"]
            return Row(
                self._title(canonical), "patient", tasks.moment(held["start"]), None, tasks.moment(held["end"]),
                "in force", resource["priority"], resource,
            )  # fmt: skip
        opens, due, expires = tasks.window_of(resource)
        canonical = resource.get("instantiatesCanonical")
        what = self._title(canonical) if canonical else resource["description"]
        who = (self.context.protocol.activity(canonical).owner_role or "nurse") if canonical else "patient"
        return Row(what, who, opens, due, expires, _state(resource), resource["priority"], resource)

    def _title(self, canonical: str) -> str:
        return text_in(self.context.protocol.activity(canonical).titles, self._language)

    @property
    def _language(self) -> str:
        return self.scenario.language or self.context.clinic.language

    def coming(self, last: _Written) -> tuple[Row, ...]:
        """Give the forms that are not Tasks yet: they open beyond the clinic's horizon."""
        context, plan = self.context, self.server.resources[last.course]
        chart = self.server.chart(str(last.request.encounter))
        facts = replace(
            start_facts(context, last.request, chart, last.episode), patient_has_left=True, course_active=True
        )
        course = Course(
            key=("course", plan["identifier"][0]["value"]),
            reference=last.course,
            start=tasks.moment(plan["period"]["start"]) or last.end,
            last_end=last.end,
            last_key=last.episode.infusion_key,
        )
        there = [each for each in children(chart, plan) if is_task(each)]
        proposal = propose_course(context.protocol, context.protocol.course, facts, course, there)
        zone = self.scenario.zone
        return tuple(
            Row(each.title, "patient", local(each.opens, zone), local(each.due, zone), None, "coming")
            for each in proposal.coming
        )


def _state(task: Resource) -> State:
    if tasks.is_open(task):
        return "open"
    business = task["businessStatus"]["coding"][0]["code"]
    if business == terms.BUSINESS_STATUSES["superseded"].code:
        return "superseded"
    return "done" if task["status"] == "completed" else "failed"


def _when(row: Row) -> tuple[datetime, ...]:
    return tuple(utc(each) for each in (row.opens, row.due, row.expires) if each is not None)
