"""A clinic's file and the environment: what is read, and that every fault is told at once."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from fhir_aftercare.bootstrap import clinic_protocols, shipped_protocol
from fhir_aftercare.care.infusion import Dissociation
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.config import load_clinics, read_clinic, read_settings
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.fhir import exact_json, terms
from fhir_aftercare.protocol_files import read_protocol_files

if TYPE_CHECKING:
    from collections.abc import Callable

# The README shows this as clinics/harbor.toml.
EXAMPLE = """\
name = "Harbor Clinic"
fhir_base_url = "http://localhost:8080/fhir"
# Identifiers of all that is written begin with this. Take an address that your clinic owns, and never change it.
identifier_base = "https://aftercare.example.org"
zone = "America/New_York"
organization = "Organization/42"
phone = "+1 555 0100"
after_hours_phone = "+1 555 0199"
language = "en"                             # or "es"; a patient's own language goes before it
# profiles = "harbor-protocol"              # a protocol of the clinic's own, in a folder beside this file
drug_record = "medication-administration"   # "procedure" or "none" if the EHR records the drug itself
holidays = [2026-11-26, 2026-12-25]
# Codes by which an encounter is known to be an infusion, besides the standard ones.
ketamine_codes = ["https://ehr.example.com/drugs|KET50"]
infusion_encounters = ["https://ehr.example.com/visit-types|INFUSION"]

[owners]                                    # who works the Tasks; without it, the organization
nurse = "PractitionerRole/7"
prescriber = "Practitioner/3"
on_call = "PractitionerRole/9"

[call_hours]                                # when staff call, in the clinic's zone
mon = "09:00-18:00"
tue = "09:00-18:00"
wed = "09:00-18:00"
thu = ["09:00-12:00", "13:00-20:00"]
fri = "09:00-17:00"

[policy]                                    # only what differs from the defaults
min_observation_with_escort = "90 min"
bp_limit_systolic = 150
dissociation_to_leave = "absent"
item9_low = "8 h"
integration_session = true
"""

SMALLEST = """\
name = "Harbor Clinic"
fhir_base_url = "https://fhir.example.com/r4/"
identifier_base = "https://aftercare.harbor-clinic.com"
zone = "America/New_York"
organization = "Organization/42"
phone = "+1 555 0100"
[call_hours]
mon = "09:00-18:00"
"""


def faults_of(text: str, clinic_id: str = "harbor") -> tuple[str, ...]:
    with pytest.raises(ConfigFault) as refused:
        read_clinic(clinic_id, text)
    return refused.value.faults


def changed(old: str, new: str, text: str = SMALLEST) -> str:
    assert old in text
    return text.replace(old, new)


def places(faults: tuple[str, ...]) -> list[str]:
    return [fault.split(" ")[0].rstrip(":") for fault in faults]


# --- what is read


def test_the_example_of_the_readme_is_a_clinic() -> None:
    settings = read_clinic("harbor", EXAMPLE)
    clinic = settings.clinic
    assert settings.fhir_base_url == "http://localhost:8080/fhir"
    assert (clinic.id, clinic.zone) == ("harbor", ZoneInfo("America/New_York"))
    assert clinic.policy.min_observation_with_escort == timedelta(minutes=90)
    assert clinic.policy.dissociation_to_leave is Dissociation.ABSENT
    assert clinic.policy.item9_low == timedelta(hours=8)
    assert clinic.policy.integration_session
    assert clinic.policy.bp_limit_diastolic == Policy().bp_limit_diastolic, "what is not named keeps its default"
    assert clinic.call_hours.weekly[3] == ((time(9), time(12)), (time(13), time(20)))
    assert clinic.call_hours.holidays == {date(2026, 11, 26), date(2026, 12, 25)}
    assert clinic.ketamine_codes == {("https://ehr.example.com/drugs", "KET50")}
    assert clinic.infusion_encounters == {("https://ehr.example.com/visit-types", "INFUSION")}


def test_thanksgiving_is_closed_and_a_break_at_noon_too() -> None:
    hours = read_clinic("harbor", EXAMPLE).clinic.call_hours

    assert hours.is_open(datetime.fromisoformat("2026-11-19T11:59-05:00"))
    assert not hours.is_open(datetime.fromisoformat("2026-11-19T12:30-05:00"))
    assert not hours.is_open(datetime.fromisoformat("2026-11-26T11:00-05:00"))


def test_work_belongs_to_whom_the_clinic_names_else_to_the_clinic() -> None:
    named = read_clinic("harbor", EXAMPLE).clinic
    assert named.owner("patient", "Patient/1") == "Patient/1"
    assert named.owner("nurse", "Patient/1") == "PractitionerRole/7"
    assert named.owner("care-team", "Patient/1") == "Organization/42"
    plain = read_clinic("harbor", SMALLEST).clinic
    assert plain.owner("nurse", "Patient/1") == "Organization/42"


def test_a_small_file_is_enough_and_slashes_at_the_end_do_not_count() -> None:
    settings = read_clinic("harbor", SMALLEST)
    assert settings.fhir_base_url == "https://fhir.example.com/r4"
    assert settings.clinic.policy == Policy()


def test_a_clinic_may_be_open_to_the_end_of_the_day() -> None:
    clinic = read_clinic("harbor", changed("09:00-18:00", "00:00-24:00")).clinic
    assert clinic.call_hours.is_open(datetime(2026, 9, 14, 23, 59, tzinfo=clinic.zone))


def test_the_hash_changes_with_what_decides_care_and_not_with_the_server() -> None:
    def stamp(text: str) -> str:
        return read_clinic("harbor", text).clinic.policy_hash

    before = stamp(SMALLEST)
    assert before == stamp(changed("fhir.example.com", "fhir2.example.com"))
    assert before == stamp(SMALLEST + "[policy]\nspo2_watch = 94\n"), "a default that is written down changes nothing"
    assert before != stamp(SMALLEST + "[policy]\nspo2_watch = 95\n")
    assert before != stamp(changed("09:00", "10:00"))


# --- what is refused


def test_all_faults_of_a_file_are_told_at_once_with_their_places() -> None:
    faults = faults_of(
        """\
name = ""
fhir_base_url = "fhir.example.com"
identifier_base = "https://user:secret@ids.example.com"
zone = "America/NewYork"
organization = "Org/1"
drug_record = "maybe"
langage = "es"
holidays = ["soon"]
ketamine_codes = ["6130", "https://ehr.example.com/drugs|KET50"]
[owners]
nurse = "Nurse/1"
nuse = "Practitioner/1"
[call_hours]
mon = ["09:00-12:00", "11:00-18:00"]
tue = ["9-18"]
monday = "09:00-18:00"
[policy]
spo2_wach = 93
spo2_urgent = 97
item9_high = 1
heart_rate_low = 45.5
write_all_items = 1
dissociation_to_leave = "none"
""",
        "Harbor_1",
    )
    assert set(places(faults)) == {
        *("file", "name", "fhir_base_url", "identifier_base", "zone", "organization", "phone", "drug_record"),
        *("langage", "holidays.0", "ketamine_codes.0", "owners.nurse", "owners.nuse"),
        *("call_hours.mon", "call_hours.tue.0", "call_hours.monday"),
        *("policy.spo2_wach", "policy.spo2_urgent", "policy.item9_high", "policy.heart_rate_low"),
        *("policy.write_all_items", "policy.dissociation_to_leave"),
    }
    assert len(faults) == 22
    assert "secret" not in " ".join(faults)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (changed('phone = "+1 555 0100"', ""), "phone: is missing (for example +1 555 0100)"),
        ("langage = 'es'\n" + SMALLEST, "langage: is unknown; did you mean language?"),
        (changed("New_York", "Boston"), "zone: must be an IANA name (for example America/New_York)"),
        (changed('"09:00-18:00"', '"18:00-09:00"'), "call_hours.mon: must open before it closes"),
        (changed('mon = "09:00-18:00"', ""), "call_hours: must name at least one day"),
        (changed('"09:00-18:00"', '"25:00-26:00"'), "call_hours.mon.0: must look like 09:00-18:00"),
        (SMALLEST + "[policy]\nitem9_low = '2 d'\n", "policy.item9_low must be at most 24 h"),
        (SMALLEST + "[policy]\nitem9_low = 24\n", 'policy.item9_low: must be a duration such as "90 min"'),
        (SMALLEST + "[policy]\nescort_required = 'no'\n", "policy.escort_required: must be true or false"),
        (SMALLEST + "[policy]\nspo2_watch = true\n", "policy.spo2_watch: must be a whole number"),
        (SMALLEST + "[policy]\nzzz = 1\n", "policy.zzz: is unknown; known are ask_respiratory_rate"),
        (SMALLEST + "[policy]\ndissociation_to_leave = 'severe'\n", "dissociation_to_leave must be absent or mild"),
        ("policy = 3\n" + SMALLEST, "policy: must be a table, [policy]"),
        ("language = 'fr'\n" + SMALLEST, "language: Input should be 'en' or 'es'"),
        (changed("https://fhir", "ftp://fhir"), "fhir_base_url: must be an absolute http(s) URL"),
        (changed("https://fhir.example.com", "https://fhir.example.com:99999"), "fhir_base_url: Port"),
        ("not toml", "not TOML"),
    ],
)
def test_a_fault_says_where_it_is_and_what_would_be_right(text: str, said: str) -> None:
    faults = faults_of(text)
    assert len(faults) == 1
    assert said in faults[0]


@pytest.mark.parametrize("clinic_id", ["Harbor", "harbor_1", "-harbor", "", "h" * 64])
def test_a_file_name_that_cannot_stand_in_an_address_is_refused(clinic_id: str) -> None:
    assert "file name" in faults_of(SMALLEST, clinic_id)[0]


@pytest.mark.parametrize("host", ["aftercare.example.org", "example.com", "ids.harbor.example"])
def test_identifiers_on_a_name_that_nobody_owns_stay_on_this_machine(host: str) -> None:
    elsewhere = changed("aftercare.harbor-clinic.com", host)
    assert "use an address that your clinic owns" in faults_of(elsewhere)[0]
    here = changed("https://fhir.example.com/r4/", "http://127.0.0.1:8080/fhir", elsewhere)
    assert read_clinic("harbor", here).identifier_base == f"https://{host}"


# --- the folder


def test_one_faulty_clinic_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "harbor.toml").write_text(SMALLEST, "utf-8")
    (tmp_path / "quay.toml").write_text("\ufeff" + EXAMPLE, "utf-8")
    (tmp_path / "broken.toml").write_text(changed("New_York", "Boston"), "utf-8")
    (tmp_path / "latin.toml").write_bytes("name = 'Clínica'".encode("latin-1"))
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "notes.txt").write_text("not a clinic", "utf-8")
    loaded = load_clinics(tmp_path)
    assert list(loaded.clinics) == ["harbor", "quay"]
    assert list(loaded.faults) == ["broken.toml", "folder.toml", "latin.toml"]
    assert places(loaded.faults["broken.toml"].faults) == ["zone"]
    assert "UTF-8" in loaded.faults["latin.toml"].message
    assert "cannot be read" in loaded.faults["folder.toml"].message


def test_a_folder_that_is_not_there_is_a_fault_that_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault) as refused:
        load_clinics(tmp_path / "nowhere")
    assert refused.value.where == ("AFTERCARE_CLINICS",)


# --- a protocol of the clinic's own
def with_protocol(folder: Path, name: str, edit: Callable[[str], str] = str) -> None:
    """Write a clinic whose protocol is the folder beside its file: the shipped one, with its call edited."""
    own = folder / f"{name}-protocol"
    own.mkdir()
    for file, definition in read_protocol_files(None).items():
        text = exact_json.dumps(definition).decode()
        (own / file).write_text(edit(text) if file == "ActivityDefinition-follow-up-call.json" else text, "utf-8")
    (folder / f"{name}.toml").write_text(f'profiles = "{name}-protocol"\n{SMALLEST}', "utf-8")


def test_a_clinic_may_have_a_protocol_of_its_own_and_a_broken_one_stops_no_other(tmp_path: Path) -> None:
    with_protocol(tmp_path, "harbor", lambda text: text.replace("Follow-up call", "Call of the harbor nurse"))
    with_protocol(tmp_path, "quay", lambda text: text.replace('"description"', '"purpose"'))
    with_protocol(tmp_path, "wharf", lambda _: "not JSON")
    (tmp_path / "plain.toml").write_text(SMALLEST, "utf-8")
    common = shipped_protocol()
    loaded, protocols = clinic_protocols(load_clinics(tmp_path), common)
    assert sorted(loaded.clinics) == ["harbor", "plain"]
    assert protocols["plain"] is common
    call = f"{terms.ACTIVITY_DEFINITION}/follow-up-call"
    assert protocols["harbor"].activity(call).titles["en"] == "Call of the harbor nurse"
    assert common.activity(call).titles["en"] == "Follow-up call"
    assert sorted(loaded.faults) == ["quay.toml", "wharf.toml"]
    assert "follow-up-call" in loaded.faults["quay.toml"].message
    assert loaded.faults["wharf.toml"].message.startswith("profiles: ActivityDefinition-follow-up-call.json")


def test_a_folder_of_protocol_files_that_is_not_there_is_a_fault_of_the_clinic(tmp_path: Path) -> None:
    (tmp_path / "harbor.toml").write_text(f'profiles = "elsewhere"\n{SMALLEST}', "utf-8")
    loaded, _ = clinic_protocols(load_clinics(tmp_path), shipped_protocol())
    assert "there is no such folder" in loaded.faults["harbor.toml"].message


# --- the environment


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("CLINICS", "PROFILES", "HOST", "PORT", "INSECURE_BIND"):
        monkeypatch.delenv(f"AFTERCARE_{name}", raising=False)
    return monkeypatch


def test_without_any_setting_only_this_machine_may_call(env: pytest.MonkeyPatch) -> None:
    settings = read_settings()
    assert (settings.host, settings.port, settings.clinics) == ("127.0.0.1", 8000, Path("clinics"))
    assert not settings.insecure_bind


def test_settings_come_from_the_environment(env: pytest.MonkeyPatch) -> None:
    env.setenv("AFTERCARE_CLINICS", "/etc/aftercare/clinics")
    env.setenv("AFTERCARE_HOST", "::1")
    env.setenv("AFTERCARE_PORT", "9000")
    settings = read_settings()
    assert (settings.clinics, settings.host, settings.port) == (Path("/etc/aftercare/clinics"), "::1", 9000)


def test_every_faulty_variable_is_named_at_once(env: pytest.MonkeyPatch) -> None:
    env.setenv("AFTERCARE_PORT", "http")
    env.setenv("AFTERCARE_HOST", "0.0.0.0")  # noqa: S104 (it is refused)
    with pytest.raises(ConfigFault) as refused:
        read_settings()
    assert refused.value.where == ("AFTERCARE_PORT", "AFTERCARE_HOST")
    assert "AFTERCARE_INSECURE_BIND=1" in refused.value.message


def test_all_may_call_only_if_asked_for(env: pytest.MonkeyPatch) -> None:
    env.setenv("AFTERCARE_HOST", "0.0.0.0")  # noqa: S104 (asked for in the next line)
    env.setenv("AFTERCARE_INSECURE_BIND", "1")
    assert read_settings().insecure_bind
