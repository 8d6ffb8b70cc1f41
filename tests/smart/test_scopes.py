"""Scopes: one table written as v2 or v1, and what was granted read from either (our §1.2 rows 12, 13)."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.smart import Access, Registrations, ScopeTable, scopes
from smart.clinic import SYSTEM_SCOPES, USER_SCOPES, Clinic, registered
from smart.conformance import requirement

if TYPE_CHECKING:
    from smart.clinic import Clock, Internet
    from smart.strict_server import StrictEhr

V2 = re.compile(r"(patient|user|system)/(\*|[A-Z][A-Za-z]*)\.c?r?u?d?s?(\?[^=&]+=[^&]+(&[^=&]+=[^&]+)*)?")
ACTIONS = ["".join(letters) for letters in product(*(("", letter) for letter in "cruds")) if any(letters)]
TYPES = ["Patient", "CarePlan", "Observation", "*"]
lines = st.builds(
    Access,
    st.sampled_from(["patient", "user", "system"]),
    st.sampled_from(TYPES),
    st.sampled_from(ACTIONS),
    st.lists(st.sampled_from([("category", "survey"), ("code", "a|b"), ("_tag", "x y&z=")]), unique=True).map(tuple),
)
tables = st.builds(
    ScopeTable, st.lists(lines, min_size=1, max_size=6).map(tuple), refresh=st.sampled_from([None, "online_access"])
)


@requirement(
    "1.2-13", "v2 scopes: level, type or wildcard, cruds in order, conditions", rows=(132, 135, 137, 141, 143, 146)
)
@given(lines)
def test_every_line_of_a_table_is_a_v2_scope(line: Access) -> None:
    assert V2.fullmatch(line.as_v2())


@requirement("1.2-13", "each action is asked for by its own letter", rows=(120, 121, 122, 124, 125))
@pytest.mark.parametrize("letter", list("cruds"))
def test_each_action_has_its_letter(letter: str) -> None:
    assert Access("user", "CarePlan", letter).as_v2() == f"user/CarePlan.{letter}"
    granted = scopes.parse(f"user/CarePlan.{letter}")
    assert [action for action in "cruds" if granted.allows("CarePlan", action)] == [letter]


@pytest.mark.parametrize("can", ["", "sr", "read", "x", "cc", "*"])
def test_letters_out_of_order_are_refused(can: str) -> None:
    with pytest.raises(ConfigFault):
        Access("user", "CarePlan", can)


@requirement("1.2-13", "nothing more is asked for than the table holds: no wildcard of our own making")
def test_nothing_is_asked_for_beyond_the_table() -> None:
    asked = USER_SCOPES.for_launch(2, from_ehr=True).split()
    assert asked == [
        "launch",
        "launch/patient",
        "launch/encounter",
        "openid",
        "fhirUser",
        "online_access",
        "user/Patient.r",
        "user/CarePlan.crus",
        "user/Observation.crs?category=survey",
    ]
    assert USER_SCOPES.for_launch(1, from_ehr=True).split()[6:] == [
        "user/Patient.read",
        "user/CarePlan.read",
        "user/CarePlan.write",
        "user/Observation.read",
        "user/Observation.write",
    ]


@requirement("1.2-13", "identity is asked for with openid and fhirUser", rows=(47, 196))
def test_identity_is_asked_for_with_both_scopes() -> None:
    assert {"openid", "fhirUser"} < set(USER_SCOPES.for_launch(2, from_ehr=True).split())
    assert "openid" not in ScopeTable(USER_SCOPES.access, identity=False).for_launch(2, from_ehr=True)


@requirement("1.2-17", "a refresh token is asked for by the scope the clinic chose, or not at all", rows=(215, 216))
@pytest.mark.parametrize("scope", ["online_access", "offline_access", None])
def test_a_refresh_token_is_asked_for_by_its_scope(scope: Any) -> None:
    asked = set(ScopeTable(USER_SCOPES.access, refresh=scope).for_launch(2, from_ehr=True).split())
    assert asked & {"online_access", "offline_access"} == ({scope} if scope else set())


@requirement("1.2-13", "v1 or v2 is chosen by what the EHR names")
@pytest.mark.parametrize(
    ("named", "asked"),
    [
        (["permission-v2"], ".crus"),
        (["permission-v1", "permission-v2"], ".crus"),
        (["permission-v1"], ".read"),
        ([], ".read"),
    ],
)
async def test_the_version_follows_the_ehrs_capabilities(
    ehr: StrictEhr, internet: Internet, clock: Clock, named: list[str], asked: str
) -> None:
    ehr.faults.config = {"capabilities": named}
    clinic = Clinic(Registrations([registered(ehr)]), internet, clock)
    arrived = await clinic.sign_in(ehr)
    assert f"user/CarePlan{asked}" in ehr.authorizations[-1]["scope"].split()
    assert arrived.missing == ()


@given(tables, st.sampled_from([1, 2]), st.randoms())
def test_what_is_granted_as_asked_lacks_nothing_in_any_order(table: ScopeTable, version: Any, chance: Any) -> None:
    words = table.for_launch(version, from_ehr=True).split()
    chance.shuffle(words)
    assert scopes.parse(" ".join(words)).missing(table) == ()


@given(tables)
def test_wildcards_cover_every_type(table: ScopeTable) -> None:
    everything = (
        " ".join(f"{level}/*.cruds" for level in ("patient", "user", "system")) + " openid fhirUser offline_access"
    )
    assert scopes.parse(everything).missing(table) == ()


@given(tables)
def test_an_empty_grant_lacks_everything(table: ScopeTable) -> None:
    missing = scopes.parse("").missing(table)
    assert {"openid", "fhirUser"} <= set(missing)
    assert set(table.resources(2)) <= set(missing)


@given(st.text())
def test_any_text_is_read_or_refused_and_grants_nothing_by_accident(text: str) -> None:
    try:
        granted = scopes.parse(text)
    except ValueError:
        return
    assert all(V2.fullmatch(line.as_v2()) for line in granted.access)


@pytest.mark.parametrize(
    "scope",
    [
        "user/CarePlan",
        "user/CarePlan.",
        "user/careplan.r",
        "USER/CarePlan.r",
        "user/CarePlan.sr",
        "user/CarePlan.r?",
        "user/CarePlan.r?x",
        "user/CarePlan.r?=x",
        "admin/CarePlan.r",
        "user/CarePlan.readwrite",
    ],
)
def test_what_is_no_scope_grants_nothing(scope: str) -> None:
    granted = scopes.parse(scope)
    assert granted.access == ()
    assert not granted.allows("CarePlan", "r")


def test_a_grant_with_a_condition_covers_only_those_who_keep_to_it() -> None:
    granted = scopes.parse("user/Observation.rs?category=survey")
    assert granted.allows("Observation", "s", [("category", "survey"), ("patient", "1")])
    assert not granted.allows("Observation", "s")
    assert not granted.allows("Observation", "s", [("category", "vital-signs")])
    assert granted.missing(ScopeTable((Access("user", "Observation", "rs"),), identity=False)) == (
        "user/Observation.rs",
    )


def test_the_user_level_does_not_stand_for_the_system_level() -> None:
    granted = scopes.parse("user/CarePlan.cruds")
    assert not granted.allows("CarePlan", "r", levels=("system",))
    assert granted.missing(SYSTEM_SCOPES) == ("system/CarePlan.crus", "system/Encounter.rs")


@requirement("1.2-13", "scopes written as URIs are understood", rows=(219, 220))
def test_scopes_in_their_uri_form_are_understood() -> None:
    text = (
        "http://smarthealthit.org/fhir/scopes/user/CarePlan.rs http://openid.net/specs/openid-connect-core-1_0#openid"
    )
    granted = scopes.parse(text)
    assert granted.allows("CarePlan", "r")
    assert "openid" in granted.others


@requirement("1.3-24", "backend services ask for system/ scopes, and never for none", rows=(235,))
def test_a_backend_asks_for_system_scopes_only() -> None:
    assert SYSTEM_SCOPES.for_backend(2) == "system/CarePlan.crus system/Encounter.rs"
    for table in (USER_SCOPES, ScopeTable(())):
        with pytest.raises(ConfigFault):
            table.for_backend(2)


@given(tables, tables)
def test_a_narrowed_grant_holds_nothing_that_either_lacked(one: ScopeTable, other: ScopeTable) -> None:
    new, old = (scopes.parse(" ".join(table.resources(2))) for table in (one, other))
    narrowed = new.narrowed_to(old)
    for line in narrowed.access:
        for action in line.can:
            assert all(g.allows(line.type, action, line.where, levels=(line.level,)) for g in (new, old))
    assert set(scopes.parse(narrowed.text).access) == set(narrowed.access)


@given(tables)
def test_a_grant_narrowed_to_everything_or_by_itself_stays_what_it_is(table: ScopeTable) -> None:
    granted = scopes.parse(" ".join(table.resources(2)))
    everything = scopes.parse("patient/*.cruds user/*.cruds system/*.cruds")
    assert set(granted.narrowed_to(granted).access) == set(granted.access)
    assert set(granted.narrowed_to(everything).access) == set(granted.access)
    assert set(everything.narrowed_to(granted).access) == set(granted.access)
