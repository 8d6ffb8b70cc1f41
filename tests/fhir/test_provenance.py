"""Each decision is signed once: by whom, on whose behalf, why, and by which version of the protocol."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from facts import IDENTIFIERS, PROTOCOL, facts, stored
from fhir_aftercare.fhir import provenance, terms
from fhir_aftercare.fhir.apply import propose
from fhir_aftercare.fhir.bundles import Transaction
from fhir_aftercare.fhir.check import check_bundle
from fhir_aftercare.fhir.provenance import Author, sign

Resource = dict[str, Any]

AT = datetime.fromisoformat("2026-09-16T15:10:00-04:00")
SYSTEM = Author("Organization/harbor", "1.0.0")
NURSE = Author("Organization/harbor", "1.0.0", "Practitioner/nurse")
POLICY = [f"{terms.PLAN_INFUSION}|1.0.0"]


def plan(identifier: str = "1", **more: Any) -> tuple[Resource, str]:
    key = ("plan", identifier)
    resource = {
        "resourceType": "Goal",
        "identifier": [IDENTIFIERS.identifier("goal", *key)],
        "lifecycleStatus": "active",
        "description": {"text": "Less"},
        "subject": {"reference": "Patient/ana"},
        **more,
    }
    return resource, IDENTIFIERS.full_url("goal", *key)


def observation(value: str, version: str = "1", **more: Any) -> Resource:
    quantity = {"value": Decimal(value), "system": terms.UCUM, "code": "kg"}
    resource = {
        "resourceType": "Observation",
        "status": "final",
        "code": terms.WEIGHT.concept(),
        "subject": {"reference": "Patient/ana"},
        "valueQuantity": quantity,
        **more,
    }
    return stored(resource, "o1", version)


def signed(transaction: Transaction, author: Author = SYSTEM, **more: Any) -> Resource:
    sign(transaction, IDENTIFIERS, author, at=AT, policy=POLICY, **more)
    check_bundle(transaction.bundle(), transaction.existing)
    (found,) = [each["resource"] for each in transaction.entries if each["resource"]["resourceType"] == "Provenance"]
    return found


def created(*given: tuple[Resource, str]) -> Transaction:
    transaction = Transaction()
    for resource, urn in given:
        transaction.create(resource, urn)
    return transaction


def updated(after: Resource, before: Resource) -> Transaction:
    transaction = Transaction()
    transaction.update(after, before)
    return transaction


def tag(transaction: Transaction, author: Author = SYSTEM) -> str:
    return str(signed(transaction, author)["meta"]["tag"][0]["code"])


# --- who, why, by what -----------------------------------------------------------------------------------------------
def test_nothing_written_is_not_signed() -> None:
    transaction = Transaction()
    sign(transaction, IDENTIFIERS, SYSTEM, at=AT, policy=POLICY)
    provenance.add_device(transaction, IDENTIFIERS, "1.0.0")
    sign(transaction, IDENTIFIERS, SYSTEM, at=AT, policy=POLICY)
    assert transaction.empty


def test_one_provenance_is_of_all_that_is_written_and_of_no_version() -> None:
    given = facts()
    proposal = propose(PROTOCOL, PROTOCOL.infusion, given, "CarePlan/1")
    transaction = created(*((each.resource, each.urn) for each in proposal.wanted))
    found = signed(transaction)
    assert [each["reference"] for each in found["target"]] == [each.urn for each in proposal.wanted]
    assert found["policy"] == POLICY
    assert found["recorded"] == "2026-09-16T15:10:00-04:00"


def test_the_software_assembles_for_the_clinic_and_a_person_is_the_author() -> None:
    alone, named = signed(created(plan())), signed(created(plan()), NURSE)
    (assembler,) = alone["agent"]
    assert assembler["who"]["reference"] == provenance.device(IDENTIFIERS, "1.0.0")[1]
    assert assembler["onBehalfOf"] == {"reference": "Organization/harbor"}
    assert [each["type"]["coding"][0]["code"] for each in named["agent"]] == ["assembler", "author"]
    assert named["agent"][1]["who"] == {"reference": "Practitioner/nurse"}
    assert named["agent"][1]["onBehalfOf"] == {"reference": "Organization/harbor"}


def test_a_clinic_that_signs_itself_acts_on_nobodys_behalf() -> None:
    found = signed(created(plan()), Author("Organization/harbor", "1.0.0", "Organization/harbor"))
    assert "onBehalfOf" not in found["agent"][1]


def test_a_persons_reason_and_what_it_rests_on_are_kept() -> None:
    found = signed(created(plan()), NURSE, reason="Goes with two adults", sources=["Observation/1"], activity="UPDATE")
    assert found["reason"] == [{"text": "Goes with two adults"}]
    assert found["entity"] == [{"role": "source", "what": {"reference": "Observation/1"}}]
    assert found["activity"]["coding"][0]["code"] == "UPDATE"
    assert not signed(created(plan())).keys() & {"reason", "entity"}


def test_the_device_is_one_for_each_release() -> None:
    first, again = provenance.device(IDENTIFIERS, "1.0.0"), provenance.device(IDENTIFIERS, "1.0.0")
    assert first == again
    assert provenance.device(IDENTIFIERS, "1.0.1")[1] != first[1]
    assert first[0]["version"] == [{"value": "1.0.0"}]


# --- the same decision, or another (design §5.3) ---------------------------------------------------------------------
def test_the_same_creates_are_the_same_decision_whoever_makes_it_when_and_with_which_release() -> None:
    first = tag(created(plan("1"), plan("2")))
    assert tag(created(plan("2"), plan("1"))) == first
    assert tag(created(plan("1", startDate="2026-09-17"), plan("2"))) == first
    assert tag(created(plan("1"), plan("2")), NURSE) == first
    assert tag(created(plan("1"), plan("2")), Author("Organization/harbor", "2.0.0")) == first


def test_the_device_may_have_been_added_before() -> None:
    transaction = created(plan("1"), plan("2"))
    provenance.add_device(transaction, IDENTIFIERS, "1.0.0")
    assert tag(transaction) == tag(created(plan("1"), plan("2")))
    devices = [each for each in transaction.entries if each["resource"]["resourceType"] == "Device"]
    assert len(devices) == 1


@pytest.mark.parametrize("others", [["1"], ["1", "3"], ["1", "2", "3"]])
def test_other_creates_are_another_decision(others: list[str]) -> None:
    assert tag(created(*map(plan, others))) != tag(created(plan("1"), plan("2")))


def test_the_same_change_of_the_same_version_is_the_same_decision() -> None:
    first = tag(updated(observation("72.50"), observation("72.0")))
    after = dict(reversed(observation("72.50").items()))
    assert tag(updated(after, observation("72.0"))) == first


def test_other_content_or_another_version_is_another_decision() -> None:
    tags = [
        tag(updated(observation("72.5"), observation("72.0"))),
        tag(updated(observation("72.50"), observation("72.0"))),
        tag(updated(observation("72.5", note=[{"text": "again"}]), observation("72.0"))),
        tag(updated(observation("72.5", version="2"), observation("72.0", version="2"))),
        tag(created(plan())),
    ]
    assert len(set(tags)) == len(tags)
