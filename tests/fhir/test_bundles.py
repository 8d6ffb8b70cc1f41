"""One decision, one transaction: what goes into it, whether there is anything to send, and where it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from facts import IDENTIFIERS, stored
from fhir_aftercare.errors import CheckFailed
from fhir_aftercare.fhir import provenance
from fhir_aftercare.fhir.bundles import Transaction

Resource = dict[str, Any]
URN = "urn:uuid:0b6e1b5c-6a55-5e0e-9a3e-3f6d3b5a1c01"
OTHER = "urn:uuid:0b6e1b5c-6a55-5e0e-9a3e-3f6d3b5a1c02"


@dataclass
class Place:
    reference: str


@dataclass
class Answer:
    created: bool
    location: Place | None


def goal(value: str = "g1", **more: Any) -> Resource:
    return {
        "resourceType": "Goal",
        "identifier": [{"system": "https://clinic.example.com/id/goal", "value": value}],
        **more,
    }


def task(version: str = "3", **more: Any) -> Resource:
    return stored({"resourceType": "Task", "status": "requested", **more}, "t1", version)


def put(transaction: Transaction) -> list[Resource]:
    return [each for each in transaction.entries if each["request"]["method"] == "PUT"]


# --- creates ---------------------------------------------------------------------------------------------------------
def test_a_create_is_conditional_on_the_business_identifier() -> None:
    transaction = Transaction()
    assert transaction.create(goal(), URN) == URN
    (entry,) = transaction.bundle()["entry"]
    assert entry["fullUrl"] == URN
    assert entry["request"] == {
        "method": "POST",
        "url": "Goal",
        "ifNoneExist": "identifier=https://clinic.example.com/id/goal|g1",
    }


def test_an_answer_has_one_identifier_and_a_provenance_a_tag() -> None:
    transaction = Transaction()
    transaction.create({"resourceType": "QuestionnaireResponse", "identifier": {"system": "s", "value": "v"}}, URN)
    transaction.create({"resourceType": "Provenance", "meta": {"tag": [{"system": "s", "code": "c"}]}}, OTHER, tag=True)
    asked = [entry["request"]["ifNoneExist"] for entry in transaction.entries]
    assert asked == ["identifier=s|v", "_tag=s|c"]


@pytest.mark.parametrize("identifier", [None, [], {}])
def test_a_create_without_an_identifier_is_refused(identifier: Any) -> None:
    with pytest.raises(CheckFailed) as refused:
        Transaction().create({"resourceType": "Goal", "identifier": identifier}, URN)
    assert refused.value.where == ("Goal",)


def test_creating_the_same_again_adds_nothing() -> None:
    transaction = Transaction()
    transaction.create(goal(), URN)
    transaction.create(goal(), URN)
    assert len(transaction.entries) == 1


# --- updates ---------------------------------------------------------------------------------------------------------
def test_an_update_is_guarded_by_the_version_that_was_read() -> None:
    transaction, before = Transaction(), task()
    after = {**before, "status": "accepted"}
    assert transaction.update(after, before) == "Task/t1"
    (entry,) = transaction.bundle()["entry"]
    assert entry == {"resource": after, "request": {"method": "PUT", "url": "Task/t1", "ifMatch": 'W/"3"'}}
    assert transaction.existing == {"Task/t1": before}


def test_an_update_without_a_version_is_refused() -> None:
    with pytest.raises(CheckFailed):
        Transaction().update({"resourceType": "Task", "id": "t1"}, {"resourceType": "Task", "id": "t1"})


def test_a_second_update_builds_on_the_first_and_is_one_write_of_the_version_read() -> None:
    transaction, before = Transaction(), task()
    transaction.create(goal(), URN)
    transaction.update({**before, "status": "accepted"}, before)
    transaction.create(goal("g2"), OTHER)
    current = transaction.current(before)
    assert current["status"] == "accepted"
    transaction.update({**current, "priority": "asap"}, before)
    (entry,) = put(transaction)
    assert (entry["resource"]["status"], entry["resource"]["priority"]) == ("accepted", "asap")
    assert entry["request"]["ifMatch"] == 'W/"3"'
    assert transaction.existing == {"Task/t1": before}
    assert [each["fullUrl"] for each in transaction.entries] == [URN, "Task/t1", OTHER]


def test_an_update_that_changes_nothing_is_not_sent() -> None:
    transaction = Transaction()
    assert transaction.update(task(), task()) == "Task/t1"
    assert transaction.empty


def test_what_is_not_in_the_transaction_is_as_it_was_read() -> None:
    assert Transaction().current(task()) == task()


# --- whether there is anything to send -------------------------------------------------------------------------------
def test_nothing_and_the_device_alone_are_nothing_to_send() -> None:
    transaction = Transaction()
    assert transaction.empty
    provenance.add_device(transaction, IDENTIFIERS, "1.0.0")
    assert transaction.empty
    assert transaction.written() == []
    transaction.create(goal(), URN)
    assert not transaction.empty
    assert [reference for reference, _ in transaction.written()] == [URN]


# --- where it went ---------------------------------------------------------------------------------------------------
def sent(*, goal_created: bool = True, device_created: bool = True) -> Any:
    transaction = Transaction()
    device = provenance.add_device(transaction, IDENTIFIERS, "1.0.0")
    transaction.create(goal(), URN)
    transaction.update({**task(), "status": "accepted"}, task())
    answers = [
        Answer(device_created, Place("Device/1")),
        Answer(goal_created, Place("Goal/7")),
        Answer(False, Place("Task/t1")),
    ]
    return transaction, device, transaction.places(answers)


def test_places_tell_where_everything_is() -> None:
    _, device, places = sent()
    assert places.references == {device: "Device/1", URN: "Goal/7", "Task/t1": "Task/t1"}
    assert places.all_new


def test_a_create_that_found_its_resource_tells_that_somebody_was_first() -> None:
    _, _, places = sent(goal_created=False)
    assert not places.all_new
    assert places.references[URN] == "Goal/7"


def test_a_device_that_was_there_and_an_update_tell_nothing() -> None:
    assert sent(device_created=False)[2].all_new


def test_an_answer_without_a_place_is_left_out() -> None:
    transaction = Transaction()
    transaction.create(goal(), URN)
    places = transaction.places([Answer(True, None)])
    assert places.references == {}
    assert places.all_new


def test_an_answer_for_each_entry_or_none_is_believed() -> None:
    transaction = Transaction()
    transaction.create(goal(), URN)
    with pytest.raises(ValueError, match="argument"):
        transaction.places([])
