"""Facts of one infusion for the tests of what a protocol makes of them: plain values, no server.

``facts()`` is the usual discharge: an infusion that ended at 13:40 on a Wednesday in New York, the patient left 90
minutes later with an escort, everything measured. Tests change what they are about.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from fhir_aftercare.bootstrap import shipped_protocol
from fhir_aftercare.care.plan import Anchor, Episode
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.fhir import careplan, provenance, tasks
from fhir_aftercare.fhir.bundles import Transaction
from fhir_aftercare.fhir.check import check_bundle, warm
from fhir_aftercare.fhir.course import Course, CourseProposal, propose_course, propose_goals
from fhir_aftercare.fhir.facts import Facts, Wanted
from fhir_aftercare.fhir.identifiers import Identifiers
from world import END, NEW_YORK, START, make_clinic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.fhir.apply import Proposal
    from fhir_aftercare.fhir.definitions import Action, Plan, Protocol

Resource = dict[str, Any]

warm()  # the first check builds all models: no test should wait for that

PROTOCOL = shipped_protocol()
IDENTIFIERS = Identifiers("https://clinic.example.com")
CLINIC = make_clinic("Organization/harbor")
EPISODE = Episode("harbor", "e1")
PLAN = IDENTIFIERS.full_url("plan", *EPISODE.key)
COURSE = IDENTIFIERS.full_url("plan", "harbor", "ana", "course", "1")


def facts(end: datetime | None = END, **more: Any) -> Facts:
    """Give the facts when the patient has left; ``end`` is E, 40 minutes after the start."""
    start = local(utc(end) - timedelta(minutes=40), NEW_YORK) if end else START
    values: dict[str, Any] = {
        "clinic": CLINIC,
        "identifiers": IDENTIFIERS,
        "episode": EPISODE,
        "patient": "Patient/ana",
        "encounter": "Encounter/e1",
        "anchor": Anchor(start, end),
        "zones": (NEW_YORK,),
        "language": "en",
        "now": utc(end or start) + timedelta(minutes=90),
        "requester": "Practitioner/nurse",
        "patient_has_left": True,
        "escort": "present",
        "phq9_baseline": True,
        "gad7_baseline": True,
        **more,
    }
    return Facts(**values)


def still_here(**more: Any) -> Facts:
    """Give the facts while the infusion runs: no end yet, no scores, the escort named."""
    values = {"patient_has_left": False, "escort": "named", "phq9_baseline": False, "gad7_baseline": False}
    return facts(None, **{"now": START + timedelta(minutes=5), **values, **more})


def course(given: Facts, **more: Any) -> Course:
    """Give a new course, which this infusion begins."""
    end = given.anchor.end or given.anchor.start
    values = {"start": end, "last_end": end, "last_key": given.episode.infusion_key, **more}
    return Course(key=("course", "1"), reference=COURSE, **values)


def whole(given: Facts, proposal: Proposal, forms: CourseProposal | None, goals: Sequence[Wanted]) -> Transaction:
    """Give the transaction a discharge would send, signed, after it has passed the check before writing."""
    transaction = Transaction()
    for each in [*proposal.wanted, *(forms.wanted if forms else ()), *goals]:
        transaction.create(each.resource, each.urn)
    device = provenance.add_device(transaction, IDENTIFIERS, "1.0.0")
    for kind, wanted, urn in (("infusion", proposal.wanted, PLAN), ("course", forms.wanted if forms else (), COURSE)):
        if kind == "course" and forms is None:
            continue
        says = careplan.PlanFacts(
            kind=kind,  # type: ignore[arg-type]
            identifier=IDENTIFIERS.identifier("plan", urn),
            canonical=proposal.plan.canonical,
            title="Aftercare",
            patient=given.patient,
            author=device,
            zone=given.zone.key,
            created=given.now,
            start=given.anchor.end or given.anchor.start,
            goals=[each.urn for each in goals] if kind == "course" else (),
            activities=[each.urn for each in wanted] if kind == "infusion" else (),
            part_of=COURSE if kind == "infusion" and forms is not None else None,
            lines=[each.line for each in wanted],
            active=given.patient_has_left,
        )
        transaction.create(careplan.make_plan(says), urn)
    author = provenance.Author(CLINIC.organization, "1.0.0", "Practitioner/nurse")
    provenance.sign(transaction, IDENTIFIERS, author, at=given.now, policy=[proposal.plan.canonical])
    check_bundle(transaction.bundle(), transaction.existing)
    return transaction


def course_of(given: Facts, protocol: Protocol = PROTOCOL, **more: Any) -> tuple[CourseProposal, list[Wanted]]:
    """Give the forms and goals of a new course."""
    new = course(given, **more)
    return propose_course(protocol, protocol.course, given, new), propose_goals(protocol.course, given, new)


def with_action(protocol: Protocol, plan: Plan, name: str, **changes: Any) -> Protocol:
    """Give the protocol with one action of a plan changed: as no file could say it, or no loader would take it."""

    def changed(action: Action) -> Action:
        return replace(action, **changes) if action.id == name else action

    edited = replace(plan, actions=tuple(changed(each) for each in plan.actions))
    return replace(protocol, plans={**protocol.plans, plan.canonical: edited})


def stored(resource: Resource, id_: str, version: str = "1") -> Resource:
    """Give a resource as a server gives it back."""
    return {**resource, "id": id_, "meta": {**resource.get("meta", {}), "versionId": version}}


def window(wanted: Wanted) -> tuple[datetime, datetime, datetime]:
    """Give when a Task opens, is due and expires."""
    opens, due, expires = tasks.window_of(wanted.resource)
    assert opens is not None
    assert due is not None
    assert expires is not None
    return opens, due, expires
