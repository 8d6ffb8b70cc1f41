"""The door for R4 Subscriptions: what a FHIR server tells becomes a signal, and yes is said only when it is kept."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_aftercare.flows.signal import DischargeSignal
from intake.hook_cases import BASE, BEFORE, ENCOUNTER, PROCEDURE, SECRET, Hooks, hooks_app, refused, taken
from intake.inboxes import RecordingInbox

if TYPE_CHECKING:
    from intake.hook_cases import Resource

VERSION = "3/2026-09-16T19:10:00.123+00:00"


# --- what is understood ----------------------------------------------------------------------------------------------
async def test_an_encounter_that_hapi_puts_becomes_a_signal_of_ids_only(hooks: Hooks) -> None:
    taken(await hooks.put(ENCOUNTER))
    assert hooks.inbox.taken == [
        DischargeSignal(
            "harbor", "subscription", f"Encounter/e1/_history/{VERSION}", "Encounter/e1", "Patient/p1", "changed"
        )
    ]


@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("PUT", ""), ("POST", "/Encounter/e1")])
async def test_either_method_is_taken_with_and_without_the_tail(hooks: Hooks, method: str, path: str) -> None:
    taken(await hooks.send(method, f"/hooks/harbor/subscription{path}", ENCOUNTER))
    assert [each.encounter for each in hooks.inbox.taken] == ["Encounter/e1"]


@pytest.mark.parametrize("type_", ["MedicationAdministration", "Procedure", "QuestionnaireResponse"])
async def test_other_records_lead_to_their_patient(hooks: Hooks, type_: str) -> None:
    taken(await hooks.put({**PROCEDURE, "resourceType": type_}))
    (signal,) = hooks.inbox.taken
    assert (signal.encounter, signal.patient, signal.kind) == (None, "Patient/p1", "changed")
    assert signal.event == f"{type_}/d1/_history/1"


async def test_the_same_version_told_again_is_the_same_work_and_a_new_version_is_not(hooks: Hooks) -> None:
    for _ in range(3):
        taken(await hooks.put(ENCOUNTER))
    taken(await hooks.put({**ENCOUNTER, "meta": {**ENCOUNTER["meta"], "versionId": "4"}}))
    assert (hooks.inbox.told, len(hooks.inbox.taken)) == (4, 2)


async def test_a_version_number_that_came_before_a_backup_was_restored_is_new_work(hooks: Hooks) -> None:
    taken(await hooks.put(ENCOUNTER))
    taken(await hooks.put({**ENCOUNTER, "meta": {"versionId": "3", "lastUpdated": "2026-09-17T08:00:00Z"}}))
    assert len(hooks.inbox.taken) == 2


async def test_without_a_version_the_content_is_the_version(hooks: Hooks) -> None:
    bare = {**PROCEDURE, "meta": {}}
    for each in (bare, bare, {**bare, "status": "entered-in-error"}):
        taken(await hooks.put(each))
    assert len(hooks.inbox.taken) == 2


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("path", ["", "/Encounter/e1"])
async def test_a_notification_without_payload_has_the_clinic_swept(hooks: Hooks, method: str, path: str) -> None:
    kind = "application/x-www-form-urlencoded; charset=UTF-8"
    taken(await hooks.send(method, f"/hooks/harbor/subscription{path}", b"", content_type=kind))
    assert (hooks.inbox.looks, hooks.inbox.taken) == (["harbor"], [])


@pytest.mark.parametrize(
    "subject",
    [None, {"display": "Ana"}, {"reference": "Group/1"}, {"reference": "https://other.example.com/Patient/p1"}, "x"],
)
async def test_a_record_that_does_not_say_whose_it_is_has_the_clinic_swept(hooks: Hooks, subject: Any) -> None:
    taken(await hooks.put({**PROCEDURE, "subject": subject}))
    assert (hooks.inbox.looks, hooks.inbox.taken) == (["harbor"], [])


@pytest.mark.parametrize("reference", [f"{BASE}/Patient/p1", "Patient/p1/_history/2"])
async def test_a_patient_of_the_clinics_own_server_is_known_however_it_is_written(hooks: Hooks, reference: str) -> None:
    taken(await hooks.put({**PROCEDURE, "subject": {"reference": reference}}))
    assert [each.patient for each in hooks.inbox.taken] == ["Patient/p1"]


async def test_resources_that_mean_nothing_here_are_ignored_and_not_sent_again(hooks: Hooks) -> None:
    taken(await hooks.put({"resourceType": "Patient", "id": "p1", "name": [{"family": "Rivera"}]}))
    assert (hooks.inbox.told, hooks.inbox.looks) == (0, [])


# --- who may tell ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("secret", [SECRET, BEFORE])
async def test_both_secrets_open_the_door_while_they_are_changed(hooks: Hooks, secret: str) -> None:
    taken(await hooks.put(ENCOUNTER, x_aftercare_secret=secret))


@pytest.mark.parametrize("secret", ["", "wrong", SECRET[:-1], f"{SECRET}0", f"Bearer {SECRET}", "sécret"])
async def test_any_other_secret_is_refused_before_anything_is_read(hooks: Hooks, secret: str) -> None:
    answer = await hooks.http.put(
        "/hooks/harbor/subscription/Encounter/e1",
        content=b"not even JSON",
        headers={"x-aftercare-secret": secret.encode("latin-1")} if secret else {},
    )
    said = refused(answer, 401, "hook-unauthenticated", "login")
    assert "X-Aftercare-Secret" in said
    assert SECRET not in said
    assert hooks.inbox.told == 0


async def test_a_secret_that_comes_twice_is_refused(hooks: Hooks) -> None:
    headers = [("x-aftercare-secret", SECRET), ("x-aftercare-secret", SECRET)]
    refused(await hooks.http.post("/hooks/harbor/subscription", headers=headers), 401, "hook-unauthenticated", "login")


async def test_the_secret_may_be_a_bearer_token(hooks: Hooks) -> None:
    hooks.change(header="Authorization")
    taken(await hooks.put(ENCOUNTER, authorization=f"Bearer {SECRET}"))
    refused(await hooks.put(ENCOUNTER, authorization=SECRET), 401, "hook-unauthenticated", "login")


@pytest.mark.parametrize("clinic", ["bay", "nowhere"])
async def test_a_clinic_that_takes_no_notifications_says_so(hooks: Hooks, clinic: str) -> None:
    refused(await hooks.send("POST", f"/hooks/{clinic}/subscription", ENCOUNTER), 404, "not-found", "not-found")


async def test_a_process_that_does_no_work_has_the_server_try_again(hooks: Hooks) -> None:
    del hooks.app.state.inbox, hooks.app.state.subscriptions
    refused(await hooks.put(ENCOUNTER), 503, "hook-closed", "transient")


# --- nothing is told yes that is not kept ----------------------------------------------------------------------------
async def test_while_it_cannot_be_kept_the_server_is_told_to_send_again(hooks: Hooks) -> None:
    hooks.inbox.failures = 2
    for _ in range(2):
        answer = await hooks.put(ENCOUNTER)
        refused(answer, 503, "store-unavailable", "transient")
        assert answer.headers["retry-after"] == "5"
    taken(await hooks.put(ENCOUNTER))
    assert len(hooks.inbox.taken) == 1


async def test_a_sweep_that_cannot_be_kept_is_not_promised(hooks: Hooks) -> None:
    hooks.inbox.failures = 1
    refused(await hooks.put(b"", ""), 503, "store-unavailable", "transient")


async def test_what_is_not_kept_in_time_is_to_be_sent_again(hooks: Hooks) -> None:
    hooks.change(seconds=0.05)
    hooks.inbox.seconds = 5
    refused(await hooks.put(ENCOUNTER), 503, "hook-late", "transient")
    assert hooks.inbox.taken == []


async def test_an_error_nobody_foresaw_is_not_told_yes() -> None:
    class Broken(RecordingInbox):
        async def take(self, signal: DischargeSignal) -> bool:
            raise KeyError(signal.event)

    inbox = Broken()
    async with Hooks.open(hooks_app(inbox), inbox) as hooks:
        with pytest.raises(KeyError):
            await hooks.put(ENCOUNTER)


# --- what cannot be used ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"resourceType": 1}', b'{"a": NaN}', b"[" * 100_000, b'{"id": "e1"}'],
)
async def test_what_is_no_resource_is_refused(hooks: Hooks, body: bytes) -> None:
    refused(await hooks.put(body, "/Encounter/e1"), 400, "hook-malformed", "structure")


@pytest.mark.parametrize("path", ["/Encounter/e2", "/Procedure/e1", "/Encounter/%2e%2e"])
async def test_an_address_that_names_another_resource_is_refused(hooks: Hooks, path: str) -> None:
    refused(await hooks.put(ENCOUNTER, path), 400, "hook-malformed", "structure")
    assert hooks.inbox.told == 0


@pytest.mark.parametrize("id_", [None, "", 7, "a b", "x" * 65, "a/b", "a|b"])
async def test_a_resource_without_a_usable_id_is_refused(hooks: Hooks, id_: Any) -> None:
    said = refused(await hooks.put({**ENCOUNTER, "id": id_}, ""), 400, "hook-malformed", "structure")
    assert "Encounter.id" in said


@pytest.mark.parametrize("kind", ["application/fhir+xml", "text/plain", ""])
async def test_other_formats_are_refused_with_the_setting_that_helps(hooks: Hooks, kind: str) -> None:
    said = refused(await hooks.put(ENCOUNTER, content_type=kind), 415, "hook-unsupported", "not-supported")
    assert "Subscription.channel.payload" in said


async def test_a_packed_body_is_refused(hooks: Hooks) -> None:
    refused(await hooks.put(ENCOUNTER, content_encoding="gzip"), 415, "hook-unsupported", "not-supported")


async def test_a_body_beyond_the_limit_is_refused(hooks: Hooks) -> None:
    hooks.change(max_body=400)
    taken(await hooks.put(PROCEDURE))
    said = refused(await hooks.put({**ENCOUNTER, "text": "x" * 400}), 413, "hook-too-large", "too-long")
    assert "400 bytes" in said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    element=st.sampled_from(["id", "meta", "subject", "resourceType"]),
    value=JSON | st.fixed_dictionaries({}, optional={"reference": JSON, "versionId": JSON, "lastUpdated": JSON}),
)
async def test_whatever_stands_in_a_resource_the_answer_is_a_resource(hooks: Hooks, element: str, value: Any) -> None:
    answer = await hooks.put({**ENCOUNTER, element: value}, "")
    assert answer.status_code in {200, 400}
    assert answer.json()["resourceType"] == "OperationOutcome"


# --- nothing of the patient is shown ---------------------------------------------------------------------------------
@pytest.mark.parametrize("change", [{}, {"id": "Ana Rivera"}, {"resourceType": "Patient"}, {"subject": None}])
async def test_neither_answer_nor_log_holds_what_was_told(
    hooks: Hooks, change: Resource, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await hooks.put({**ENCOUNTER, **change}, "")
    out = capsys.readouterr()
    for shown in (answer.text, out.out, out.err, caplog.text.replace(json.dumps(str(answer.url)), "")):
        for private in ("Rivera", "p1", "e1"):
            assert private not in shown
