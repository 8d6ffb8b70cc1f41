"""Who may leave: no criterion is ever met for want of data, and each is met or not exactly at its limit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.infusion import Dissociation, Measure
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.readiness import BloodPressure, Criterion, Finding, Judged, Override, Panel, State
from fhir_aftercare.care.readiness_rules import judge
from fhir_aftercare.errors import InvalidInput, MissingZone

START = datetime(2026, 9, 16, 17, 0, tzinfo=UTC)
END = START + timedelta(minutes=40)
POLICY = Policy()
GOOD: dict[Measure, Any] = {
    Measure.BLOOD_PRESSURE: BloodPressure(124, 78),
    Measure.SPO2: 98,
    Measure.MOAA_S: 5,
    Measure.DISSOCIATION: Dissociation.ABSENT,
    Measure.ORIENTED: True,
    Measure.WALKS_UNAIDED: True,
    Measure.NAUSEA: 0,
    Measure.NO_ACUTE_SUICIDAL_INTENT: True,
    Measure.ESCORT_PRESENT: True,
    Measure.WRITTEN_INSTRUCTIONS: True,
    Measure.EMERGENCY_CONTACT: True,
}
DECIDED_BY: dict[Criterion, Measure] = {
    Criterion.BLOOD_PRESSURE: Measure.BLOOD_PRESSURE,
    Criterion.SPO2: Measure.SPO2,
    Criterion.SEDATION: Measure.MOAA_S,
    Criterion.DISSOCIATION: Measure.DISSOCIATION,
    Criterion.ORIENTED: Measure.ORIENTED,
    Criterion.WALKS_UNAIDED: Measure.WALKS_UNAIDED,
    Criterion.NAUSEA: Measure.NAUSEA,
    Criterion.NO_SUICIDAL_INTENT: Measure.NO_ACUTE_SUICIDAL_INTENT,
    Criterion.ESCORT: Measure.ESCORT_PRESENT,
    Criterion.WRITTEN_INSTRUCTIONS: Measure.WRITTEN_INSTRUCTIONS,
    Criterion.EMERGENCY_CONTACT: Measure.EMERGENCY_CONTACT,
}
SETTLED_EARLIER = {Criterion.ESCORT, Criterion.WRITTEN_INSTRUCTIONS, Criterion.EMERGENCY_CONTACT}


def found(measure: Measure, value: Any, after_end: float = 60) -> Finding:
    at = END + timedelta(minutes=after_end)
    return Finding(measure, at, value, f"Observation/{measure.value}-{after_end}")


def sheet(**changed: Any) -> list[Finding]:
    """Give findings of 60 min after the end that all are good, but for what is changed."""
    values = {measure: changed.pop(measure.value, value) for measure, value in GOOD.items()}
    assert not changed
    return [found(measure, value) for measure, value in values.items()]


def panel(findings: list[Finding], after_end: float = 60, **more: Any) -> Panel:
    given_: dict[str, Any] = {
        "start": START,
        "end": END,
        "left_at": END + timedelta(minutes=after_end),
        "escort": None,
        "policy": POLICY,
        **more,
    }
    return judge(findings, **given_)


def state(criterion: Criterion, findings: list[Finding], after_end: float = 60, **more: Any) -> State:
    return panel(findings, after_end, **more).of(criterion).state


def test_a_patient_with_all_twelve_recorded_and_good_is_ready() -> None:
    result = panel(sheet())
    assert [each.criterion for each in result.judged] == list(Criterion)
    assert result.ready
    assert result.may_leave
    assert result.unmet == ()


def test_with_nothing_recorded_nothing_but_the_time_is_met() -> None:
    result = panel([], after_end=600)
    assert [each.criterion for each in result.judged if each.state is State.MET] == [Criterion.MIN_OBSERVATION]
    assert {each.state for each in result.unmet} == {State.NOT_RECORDED}
    assert not result.may_leave


@pytest.mark.parametrize(("criterion", "measure"), DECIDED_BY.items())
def test_one_missing_value_is_named_as_not_recorded(criterion: Criterion, measure: Measure) -> None:
    result = panel([each for each in sheet() if each.measure is not measure], after_end=120)
    assert [each.criterion for each in result.unmet] == [criterion]
    assert result.of(criterion).state is State.NOT_RECORDED
    assert "not recorded" in result.of(criterion).reason
    assert not result.ready


@pytest.mark.parametrize(("criterion", "measure"), DECIDED_BY.items())
def test_a_value_nobody_can_read_never_lets_an_older_one_decide(criterion: Criterion, measure: Measure) -> None:
    result = panel([*sheet(), found(measure, None, 90)], after_end=120)
    assert result.of(criterion).state is State.NOT_RECORDED
    assert not result.ready


@pytest.mark.parametrize(
    ("criterion", "measure"), [each for each in DECIDED_BY.items() if each[0] not in SETTLED_EARLIER]
)
def test_what_was_found_before_the_end_never_meets_a_criterion(criterion: Criterion, measure: Measure) -> None:
    others = [each for each in sheet() if each.measure is not measure]
    before = found(measure, GOOD[measure], -1 / 60)
    at_end = found(measure, GOOD[measure], 0)
    assert state(criterion, [*others, before]) is State.NOT_RECORDED
    assert state(criterion, [*others, at_end]) is State.MET


@pytest.mark.parametrize(("criterion", "measure"), [each for each in DECIDED_BY.items() if each[0] in SETTLED_EARLIER])
def test_what_was_settled_earlier_the_same_visit_holds(criterion: Criterion, measure: Measure) -> None:
    others = [each for each in sheet() if each.measure is not measure]
    same_visit = Finding(measure, START - timedelta(hours=1), True)
    other_visit = Finding(measure, START - POLICY.episode_gap - timedelta(seconds=1), True)
    assert state(criterion, [*others, same_visit]) is State.MET
    assert state(criterion, [*others, other_visit]) is State.NOT_RECORDED


@pytest.mark.parametrize(("criterion", "measure"), DECIDED_BY.items())
def test_what_is_found_after_the_patient_left_counts_for_nothing(criterion: Criterion, measure: Measure) -> None:
    others = [each for each in sheet() if each.measure is not measure]
    assert state(criterion, [*others, found(measure, GOOD[measure], 61)], 60) is State.NOT_RECORDED


@pytest.mark.parametrize(
    ("criterion", "measure", "value", "expected"),
    [
        (Criterion.SPO2, Measure.SPO2, 94, State.MET),
        (Criterion.SPO2, Measure.SPO2, 93, State.NOT_MET),
        (Criterion.SPO2, Measure.SPO2, Decimal("93.9"), State.NOT_MET),
        (Criterion.SEDATION, Measure.MOAA_S, 5, State.MET),
        (Criterion.SEDATION, Measure.MOAA_S, 4, State.NOT_MET),
        (Criterion.NAUSEA, Measure.NAUSEA, 6, State.MET),
        (Criterion.NAUSEA, Measure.NAUSEA, 7, State.NOT_MET),
        (Criterion.BLOOD_PRESSURE, Measure.BLOOD_PRESSURE, BloodPressure(159, 99), State.MET),
        (Criterion.BLOOD_PRESSURE, Measure.BLOOD_PRESSURE, BloodPressure(160, 99), State.NOT_MET),
        (Criterion.BLOOD_PRESSURE, Measure.BLOOD_PRESSURE, BloodPressure(159, 100), State.NOT_MET),
        (Criterion.DISSOCIATION, Measure.DISSOCIATION, Dissociation.MODERATE, State.NOT_MET),
        (Criterion.DISSOCIATION, Measure.DISSOCIATION, Dissociation.SEVERE, State.NOT_MET),
        (Criterion.ORIENTED, Measure.ORIENTED, False, State.NOT_MET),
        (Criterion.WALKS_UNAIDED, Measure.WALKS_UNAIDED, False, State.NOT_MET),
        (Criterion.NO_SUICIDAL_INTENT, Measure.NO_ACUTE_SUICIDAL_INTENT, False, State.NOT_MET),
        (Criterion.ESCORT, Measure.ESCORT_PRESENT, False, State.NOT_MET),
        (Criterion.WRITTEN_INSTRUCTIONS, Measure.WRITTEN_INSTRUCTIONS, False, State.NOT_MET),
        (Criterion.EMERGENCY_CONTACT, Measure.EMERGENCY_CONTACT, False, State.NOT_MET),
    ],
)
def test_each_limit_decides_exactly(criterion: Criterion, measure: Measure, value: Any, expected: State) -> None:
    findings = [each for each in sheet() if each.measure is not measure]
    judged = panel([*findings, found(measure, value)]).of(criterion)
    assert judged.state is expected
    assert judged.rests_on == (f"Observation/{measure.value}-60",)
    assert judged.at == END + timedelta(minutes=60)


# --- the time --------------------------------------------------------------------------------------------------------
NO_ESCORT = [each for each in sheet() if each.measure is not Measure.ESCORT_PRESENT]


@pytest.mark.parametrize(
    ("told", "seen", "minutes", "expected"),
    [
        (True, None, 60, State.MET),
        (True, None, 59.99, State.NOT_MET),
        (None, True, 60, State.MET),
        (None, True, 59.99, State.NOT_MET),
        (False, None, 120, State.MET),
        (False, None, 119.99, State.NOT_MET),
        (False, True, 119.99, State.NOT_MET),
        (None, False, 119.99, State.NOT_MET),
        (None, False, 120, State.MET),
        (None, None, 119.99, State.NOT_MET),
        (None, None, 120, State.MET),
        (True, False, 60, State.MET),
    ],
)
def test_the_time_to_stay_is_the_longer_one_without_an_escort(
    told: bool | None, seen: bool | None, minutes: float, expected: State
) -> None:
    escort = [] if seen is None else [found(Measure.ESCORT_PRESENT, seen, 10)]
    assert state(Criterion.MIN_OBSERVATION, [*NO_ESCORT, *escort], minutes, escort=told) is expected


def test_the_time_is_elapsed_time_when_the_clocks_change() -> None:
    zone = ZoneInfo("America/New_York")
    end = datetime(2026, 11, 1, 1, 50, tzinfo=zone)
    for minute, expected in ((49, State.NOT_MET), (50, State.MET)):  # 59 and 60 min later: the hour comes twice
        left = datetime(2026, 11, 1, 1, minute, fold=1, tzinfo=zone)
        result = judge([], start=end, end=end, left_at=left, escort=True, policy=POLICY)
        assert result.of(Criterion.MIN_OBSERVATION).state is expected


def test_a_patient_who_left_before_the_end_has_not_stayed_at_all() -> None:
    assert state(Criterion.MIN_OBSERVATION, sheet(), -5) is State.NOT_MET


def test_without_a_known_end_nothing_that_must_follow_it_is_met() -> None:
    result = panel(sheet(), 600, end=None)
    met = {each.criterion for each in result.judged if each.state is State.MET}
    assert met == SETTLED_EARLIER
    assert {each.state for each in result.unmet} == {State.NOT_RECORDED}


def test_without_a_known_end_a_bad_value_is_still_said_to_be_bad() -> None:
    assert state(Criterion.SEDATION, sheet(moaa_s=2), end=None) is State.NOT_MET


# --- escort ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("told", "seen", "expected"),
    [
        (True, False, State.MET),
        (False, True, State.NOT_MET),
        (None, True, State.MET),
        (None, False, State.NOT_MET),
        (None, None, State.NOT_RECORDED),
    ],
)
def test_what_is_told_of_the_escort_on_leaving_comes_first(
    told: bool | None, seen: bool | None, expected: State
) -> None:
    escort = [] if seen is None else [found(Measure.ESCORT_PRESENT, seen)]
    assert state(Criterion.ESCORT, [*NO_ESCORT, *escort], escort=told) is expected


def test_a_clinic_that_requires_no_escort_still_keeps_patients_the_longer_time() -> None:
    policy = replace(POLICY, escort_required=False)
    early, later = (panel(NO_ESCORT, minutes, escort=False, policy=policy) for minutes in (119, 120))
    assert [each.criterion for each in early.unmet] == [Criterion.MIN_OBSERVATION]
    assert later.ready
    assert later.of(Criterion.ESCORT).state is State.NOT_MET


# --- blood pressure (design §10.11) ----------------------------------------------------------------------------------
def pressures(*values: tuple[float, int, int]) -> list[Finding]:
    """Give readings as (minutes after the end, systolic, diastolic); the infusion started 40 min before the end."""
    return [found(Measure.BLOOD_PRESSURE, BloodPressure(*value), minutes) for minutes, *value in values]


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([(-50, 140, 85), (30, 168, 95), (60, 168, 95)], State.MET),  # exactly 20 % above, not rising
        ([(-50, 140, 85), (30, 170, 95), (60, 169, 95)], State.NOT_MET),  # more than 20 % above
        ([(-50, 140, 85), (30, 168, 103), (60, 160, 103)], State.NOT_MET),  # the diastolic more than 20 % above
        ([(-50, 140, 85), (30, 165, 95), (60, 168, 95)], State.NOT_MET),  # rising
        ([(-50, 140, 85), (30, 168, 94), (60, 162, 95)], State.NOT_MET),  # the diastolic rising
        ([(-50, 140, 85), (60, 162, 95)], State.NOT_MET),  # nothing shows that it is not rising
        ([(30, 168, 95), (60, 162, 95)], State.NOT_MET),  # no own value
        ([(-40, 140, 85), (30, 168, 95), (60, 162, 95)], State.MET),  # read at the very start: still the own value
        ([(-39, 140, 85), (30, 168, 95), (60, 162, 95)], State.NOT_MET),  # after the start it is none
        ([(-50, 160, 95), (30, 190, 110), (60, 181, 108)], State.NOT_MET),  # severe, whatever the own value
        ([(-50, 160, 95), (30, 190, 112), (60, 180, 110)], State.MET),
        ([(-50, 140, 85), (30, 120, 70), (60, 150, 90)], State.MET),  # below the limit it may rise
        ([(-800, 160, 95), (-50, 120, 75), (30, 168, 95), (60, 162, 95)], State.NOT_MET),  # the last own value counts
        ([(-800, 140, 85), (30, 168, 95), (60, 162, 95)], State.NOT_MET),  # that was another visit
    ],
)
def test_a_pressure_above_the_limit_may_be_the_patients_own(
    readings: list[tuple[float, int, int]], expected: State
) -> None:
    assert state(Criterion.BLOOD_PRESSURE, pressures(*readings)) is expected


def test_a_pressure_above_the_limit_rests_on_what_it_was_compared_with() -> None:
    judged = panel(pressures((-50, 140, 85), (30, 168, 95), (60, 168, 95))).of(Criterion.BLOOD_PRESSURE)
    assert set(judged.rests_on) == {f"Observation/blood_pressure-{minutes}" for minutes in (60, -50, 30)}
    assert "160/100" in judged.reason
    assert "168/95" in judged.reason
    assert "140/85" in judged.reason


# --- oxygen, dissociation, nausea ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("measure", "value", "minutes", "expected"),
    [
        (Measure.OXYGEN_FLOW, Decimal(2), 60, State.NOT_MET),
        (Measure.OXYGEN_FLOW, Decimal("0.5"), 60, State.NOT_MET),
        (Measure.OXYGEN_FLOW, Decimal(0), 60, State.MET),
        (Measure.OXYGEN_FLOW, Decimal(2), 20, State.MET),
        (Measure.OXYGEN_FLOW, None, 60, State.NOT_RECORDED),
        (Measure.OXYGEN_CONCENTRATION, Decimal(21), 60, State.MET),
        (Measure.OXYGEN_CONCENTRATION, Decimal(28), 60, State.NOT_MET),
    ],
)
def test_a_saturation_counts_on_air_only(measure: Measure, value: Any, minutes: float, expected: State) -> None:
    assert state(Criterion.SPO2, [*sheet(), found(measure, value, minutes)]) is expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({-20: Dissociation.SEVERE, 60: Dissociation.ABSENT}, State.MET),
        ({-20: Dissociation.MODERATE, 60: Dissociation.MILD}, State.MET),
        ({30: Dissociation.MILD, 60: Dissociation.MILD}, State.MET),
        ({30: Dissociation.ABSENT, 60: Dissociation.MILD}, State.NOT_MET),
        ({60: Dissociation.MILD}, State.NOT_MET),
        ({-50: Dissociation.MILD, 60: Dissociation.MILD}, State.NOT_MET),
        ({30: None, 60: Dissociation.MILD}, State.NOT_MET),
        ({-20: Dissociation.SEVERE, 60: Dissociation.MODERATE}, State.NOT_MET),
    ],
)
def test_mild_dissociation_must_be_seen_to_resolve(values: dict[float, Any], expected: State) -> None:
    findings = [found(Measure.DISSOCIATION, value, minutes) for minutes, value in values.items()]
    assert state(Criterion.DISSOCIATION, findings) is expected


def test_a_clinic_may_ask_that_dissociation_is_gone() -> None:
    findings = [found(Measure.DISSOCIATION, Dissociation.MILD, minutes) for minutes in (30, 60)]
    strict = replace(POLICY, dissociation_to_leave=Dissociation.ABSENT)
    assert state(Criterion.DISSOCIATION, findings, policy=strict) is State.NOT_MET


@pytest.mark.parametrize(
    ("times", "minutes", "expected"),
    [
        (1, 60, State.MET),
        (2, 60, State.NOT_MET),
        (2, 5, State.NOT_MET),
        (2, -5, State.MET),
        (None, 60, State.NOT_RECORDED),
    ],
)
def test_vomiting_after_the_infusion_counts_with_nausea(times: int | None, minutes: float, expected: State) -> None:
    assert state(Criterion.NAUSEA, [*sheet(), found(Measure.VOMITING, times, minutes)]) is expected


def test_vomiting_counts_also_where_nausea_was_not_recorded() -> None:
    findings = [each for each in sheet() if each.measure is not Measure.NAUSEA]
    assert state(Criterion.NAUSEA, [*findings, found(Measure.VOMITING, 3)]) is State.NOT_MET
    assert state(Criterion.NAUSEA, [*findings, found(Measure.VOMITING, 0)]) is State.NOT_RECORDED


def test_of_several_values_of_one_instant_the_worst_decides() -> None:
    assert state(Criterion.SPO2, [*sheet(), found(Measure.SPO2, 88), found(Measure.SPO2, 97)]) is State.NOT_MET


def test_the_latest_value_decides_whatever_order_they_come_in() -> None:
    better = [found(Measure.MOAA_S, 5, 60), found(Measure.MOAA_S, 3, 30)]
    worse = [found(Measure.MOAA_S, 3, 60), found(Measure.MOAA_S, 5, 30)]
    for order in (better, better[::-1]):
        assert state(Criterion.SEDATION, order) is State.MET
    for order in (worse, worse[::-1]):
        assert state(Criterion.SEDATION, order) is State.NOT_MET


def test_a_value_of_the_wrong_kind_is_not_taken_for_a_good_one() -> None:
    wrong: dict[Measure, Any] = {
        Measure.BLOOD_PRESSURE: 120,
        Measure.SPO2: True,
        Measure.MOAA_S: Dissociation.ABSENT,
        Measure.DISSOCIATION: 0,
        Measure.ORIENTED: 1,
        Measure.NAUSEA: False,
    }
    result = panel([found(measure, value) for measure, value in wrong.items()])
    decided = {each.criterion: each.state for each in result.judged if DECIDED_BY.get(each.criterion) in wrong}
    assert set(decided.values()) == {State.NOT_RECORDED}


# --- override --------------------------------------------------------------------------------------------------------
OVERRIDE = Override("Practitioner/1", END + timedelta(minutes=30), "Lives next door, husband is a nurse", "Dr. Okafor")


def test_an_override_lets_the_patient_go_and_hides_nothing() -> None:
    result = panel([], override=OVERRIDE)
    assert result.may_leave
    assert not result.ready
    assert len(result.unmet) == 12
    assert result.override is OVERRIDE


@pytest.mark.parametrize("name", ["by", "reason", "by_name"])
def test_an_override_needs_who_and_why(name: str) -> None:
    with pytest.raises(InvalidInput) as fault:
        replace(OVERRIDE, **{name: "  "})
    assert fault.value.where == (f"override.{name}",)


def test_an_override_needs_its_time_with_offset() -> None:
    with pytest.raises(MissingZone):
        replace(OVERRIDE, at=OVERRIDE.at.replace(tzinfo=None))


# --- whatever is on the sheet ----------------------------------------------------------------------------------------
NUMBERS = {
    Measure.SPO2: (85, 100),
    Measure.MOAA_S: (3, 5),
    Measure.NAUSEA: (5, 8),
    Measure.VOMITING: (0, 3),
    Measure.OXYGEN_FLOW: (0, 1),
    Measure.HEART_RATE: (20, 250),
}
YES_NO = [measure for measure, value in GOOD.items() if value is True]
PRESSURE = st.builds(BloodPressure, st.integers(120, 190), st.integers(70, 115))
VALUE_OF: dict[Measure, st.SearchStrategy[Any]] = {
    **{measure: st.integers(*limits) for measure, limits in NUMBERS.items()},
    **{measure: st.booleans() for measure in YES_NO},
    Measure.BLOOD_PRESSURE: PRESSURE,
    Measure.DISSOCIATION: st.sampled_from(Dissociation),
}


@st.composite
def sheets(draw: st.DrawFn) -> list[Finding]:
    """Give findings of any time around the infusion, mostly good ones, each with a source of its own."""
    measures = draw(st.lists(st.sampled_from(list(VALUE_OF)), max_size=12))
    findings = [
        (measure, draw(st.one_of(st.none(), VALUE_OF[measure])), draw(st.integers(-60, 150))) for measure in measures
    ]
    findings += [(measure, value, 60) for measure, value in GOOD.items() if draw(st.integers(0, 9))]
    return [
        Finding(measure, END + timedelta(minutes=minutes), value, f"Observation/{index}")
        for index, (measure, value, minutes) in enumerate(findings)
    ]


ENDS = st.sampled_from([END, END, END, None])
ESCORTS = st.sampled_from([True, False, None])
LEFT = st.integers(30, 180)


@given(sheets(), ENDS, ESCORTS, LEFT)
def test_ready_is_said_only_if_every_criterion_is_met(
    findings: list[Finding], end: datetime | None, escort: bool | None, minutes: int
) -> None:
    result = panel(findings, minutes, end=end, escort=escort)
    assert [each.criterion for each in result.judged] == list(Criterion)
    assert result.ready is all(each.state is State.MET for each in result.judged)
    assert result.may_leave is result.ready
    assert set(result.unmet) == {each for each in result.judged if each.state is not State.MET}
    assert all(each.reason for each in result.judged)


@given(sheets(), ESCORTS, LEFT)
def test_what_is_met_rests_on_something_recorded_at_the_right_time(
    findings: list[Finding], escort: bool | None, minutes: int
) -> None:
    result = panel(findings, minutes, escort=escort)
    by_source = {each.source: each for each in findings}
    for judged in result.judged:
        if judged.state is not State.MET or judged.criterion is Criterion.MIN_OBSERVATION:
            continue
        if judged.criterion is Criterion.ESCORT and escort is not None:
            continue
        decisive = by_source[judged.rests_on[0]]
        assert decisive.measure is DECIDED_BY[judged.criterion]
        assert decisive.value is not None
        assert decisive.at == judged.at
        assert decisive.at <= END + timedelta(minutes=minutes)
        assert judged.criterion in SETTLED_EARLIER or decisive.at >= END


def met(criterion: Criterion, findings: list[Finding], minutes: int, escort: bool | None) -> Judged | None:
    judged = panel(findings, minutes, escort=escort).of(criterion)
    return judged if judged.state is State.MET else None


# Charted only where there is some: their absence says that there was none.
CHARTED_IF_ANY = {Measure.VOMITING, Measure.OXYGEN_FLOW}


@given(sheets(), ESCORTS, LEFT, st.sampled_from([each for each in VALUE_OF if each not in CHARTED_IF_ANY]))
def test_taking_a_measure_away_never_meets_a_criterion(
    findings: list[Finding], escort: bool | None, minutes: int, measure: Measure
) -> None:
    fewer = [each for each in findings if each.measure is not measure]
    for criterion in Criterion:
        if met(criterion, fewer, minutes, escort):
            assert met(criterion, findings, minutes, escort)


@given(sheets(), ESCORTS, LEFT, st.data())
def test_taking_one_finding_away_leaves_the_decision_to_an_older_one_or_to_none(
    findings: list[Finding], escort: bool | None, minutes: int, data: st.DataObject
) -> None:
    removable = [each for each in findings if each.measure not in CHARTED_IF_ANY]
    if not removable:
        return
    gone = data.draw(st.sampled_from(removable))
    fewer = [each for each in findings if each is not gone]
    by_source = {each.source: each for each in fewer}
    for criterion, measure in DECIDED_BY.items():
        judged = met(criterion, fewer, minutes, escort)
        if judged and judged.rests_on and not met(criterion, findings, minutes, escort):
            assert gone.measure is measure
            older = by_source[judged.rests_on[0]]
            assert older.measure is measure
            assert older.at <= gone.at or criterion is Criterion.BLOOD_PRESSURE or criterion is Criterion.DISSOCIATION
            assert criterion in SETTLED_EARLIER or older.at >= END


@given(sheets(), ESCORTS, LEFT)
def test_the_order_of_the_findings_does_not_matter(findings: list[Finding], escort: bool | None, minutes: int) -> None:
    forwards, backwards = (
        {each.criterion: each.state for each in panel(order, minutes, escort=escort).judged}
        for order in (findings, findings[::-1])
    )
    assert forwards == backwards
