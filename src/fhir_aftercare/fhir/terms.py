"""Every system, code and profile address this software writes or understands: each lives here, once.

A display is given only where HL7, LOINC or SNOMED International is known to print it so; the rest carry text instead
(design: codes marked M get a local code plus text). ``tests/data/terminology.json`` holds the same codes with their
source mark, and the tests fail on a code that is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

BASE: Final = "https://fhir-aftercare.example.org"

LOINC: Final = "http://loinc.org"
SNOMED: Final = "http://snomed.info/sct"
RXNORM: Final = "http://www.nlm.nih.gov/research/umls/rxnorm"
UCUM: Final = "http://unitsofmeasure.org"
SDC_TEMP: Final = "http://hl7.org/fhir/uv/sdc/CodeSystem/temp"
CPG_ACTIVITY: Final = "http://hl7.org/fhir/uv/cpg/CodeSystem/cpg-activity-type-cs"
OBSERVATION_CATEGORY: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
CAREPLAN_CATEGORY: Final = "http://hl7.org/fhir/us/core/CodeSystem/careplan-category"
INTERPRETATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
DATA_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
PROVENANCE_AGENT: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
DATA_OPERATION: Final = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
US_CORE_TAGS: Final = "http://hl7.org/fhir/us/core/CodeSystem/us-core-tags"
GOAL_ACHIEVEMENT: Final = "http://terminology.hl7.org/CodeSystem/goal-achievement"

# Our own code systems (profiles/CodeSystem-*.json define each code).
AFTERCARE: Final = f"{BASE}/CodeSystem/aftercare"
BUSINESS_STATUS: Final = f"{BASE}/CodeSystem/task-business-status"
STATUS_REASON: Final = f"{BASE}/CodeSystem/status-reason"
SCALES: Final = f"{BASE}/CodeSystem/scales"


@dataclass(frozen=True, slots=True)
class Code:
    """One code of one system. ``display`` only where the system's own words are known, ``text`` for people."""

    system: str
    code: str
    display: str | None = None
    text: str | None = None

    def coding(self) -> dict[str, str]:
        """Give it as a FHIR Coding."""
        found = {"system": self.system, "code": self.code}
        if self.display:
            found["display"] = self.display
        return found

    def concept(self, *more: Code, text: str | None = None) -> dict[str, Any]:
        """Give it as a FHIR CodeableConcept, with further codings after it."""
        found: dict[str, Any] = {"coding": [self.coding(), *(other.coding() for other in more)]}
        words = text or self.text or self.display
        if words:
            found["text"] = words
        return found


def local(code: str, text: str) -> Code:
    """Give a code of our own ``aftercare`` system."""
    return Code(AFTERCARE, code, text, text)


def scale(code: str, text: str) -> Code:
    """Give a code of our own ``scales`` system: what LOINC and SNOMED CT have no confirmed code for."""
    return Code(SCALES, code, text, text)


# --- categories ------------------------------------------------------------------------------------------------------
VITAL_SIGNS = Code(OBSERVATION_CATEGORY, "vital-signs", "Vital Signs")
SURVEY = Code(OBSERVATION_CATEGORY, "survey", "Survey")
EXAM = Code(OBSERVATION_CATEGORY, "exam", "Exam")
ASSESS_PLAN = Code(CAREPLAN_CATEGORY, "assess-plan")
PATIENT_SUPPLIED = Code(US_CORE_TAGS, "patient-supplied")

COURSE_PLAN = local("course", "Ketamine course monitoring")
INFUSION_PLAN = local("infusion", "Ketamine infusion aftercare")

DATA_UNKNOWN = Code(DATA_ABSENT, "unknown", "Unknown")
NOT_PERFORMED = Code(DATA_ABSENT, "not-performed", "Not Performed", "Not recorded")

# --- vital signs (clinical §1.3) -------------------------------------------------------------------------------------
BP_PANEL = Code(LOINC, "85354-9", "Blood pressure panel with all children optional", "Blood pressure")
SYSTOLIC = Code(LOINC, "8480-6", "Systolic blood pressure")
DIASTOLIC = Code(LOINC, "8462-4", "Diastolic blood pressure")
HEART_RATE = Code(LOINC, "8867-4", "Heart rate")
RESPIRATORY_RATE = Code(LOINC, "9279-1", "Respiratory rate")
SPO2_PULSE_OX = Code(LOINC, "59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry", "Oxygen saturation")
SPO2_ARTERIAL = Code(LOINC, "2708-6", "Oxygen saturation in Arterial blood")
O2_FLOW = Code(LOINC, "3151-8", "Inhaled oxygen flow rate")
O2_CONCENTRATION = Code(LOINC, "3150-0", "Inhaled oxygen concentration")
WEIGHT = Code(LOINC, "29463-7", "Body weight")
TEMPERATURE = Code(LOINC, "8310-5", "Body temperature")

# --- scales (clinical §1.4) ------------------------------------------------------------------------------------------
MOAA_S = scale("moaa-s", "Modified Observer's Assessment of Alertness/Sedation")
CADSS_TOTAL = scale("cadss-total", "CADSS total score")
CADSS_6 = scale("cadss-6", "CADSS-6 total score")
DISSOCIATION = scale("dissociation-severity", "Dissociation, four levels")
NAUSEA = Code(SNOMED, "422587007", "Nausea", "Nausea, 0 to 10")
VOMITING = Code(SNOMED, "422400008", "Vomiting", "Vomiting, number of times")
ORIENTED = scale("oriented-times-four", "Oriented to person, place, time and situation")
WALKS_UNAIDED = scale("walks-unaided", "Walks unaided")
NO_SUICIDAL_INTENT = scale("no-acute-suicidal-intent", "No acute suicidal intent")
ESCORT_PRESENT = scale("escort-present", "Escort present")
WRITTEN_INSTRUCTIONS = scale("written-instructions-given", "Written instructions given")
EMERGENCY_CONTACT = scale("emergency-contact-confirmed", "Emergency contact confirmed")
READINESS = scale("readiness-to-leave", "Readiness to leave")
MIN_OBSERVATION = scale("min-observation-elapsed", "Minimum observation time elapsed")
BP_ACCEPTABLE = scale("bp-acceptable-and-falling", "Blood pressure acceptable and not rising")
SPO2_ACCEPTABLE = scale("spo2-acceptable-on-air", "Oxygen saturation acceptable on air")
SEDATION_RESOLVED = scale("sedation-resolved", "Sedation resolved")
DISSOCIATION_RESOLVED = scale("dissociation-resolved", "Dissociation resolved")
NAUSEA_CONTROLLED = scale("nausea-controlled", "Nausea controlled")

ABSENT = Code(SNOMED, "2667000", "Absent")
MILD = Code(SNOMED, "255604002", "Mild")
MODERATE = Code(SNOMED, "6736007", None, "Moderate")  # mark M: the display is not confirmed
SEVERE = Code(SNOMED, "24484000", "Severe")

# --- instruments (clinical §3.2, §3.3) -------------------------------------------------------------------------------
PHQ9_PANEL = Code(LOINC, "44249-1", "PHQ-9 quick depression assessment panel [Reported.PHQ]")
PHQ9_TOTAL = Code(
    LOINC, "44261-6", "Patient Health Questionnaire 9 item (PHQ-9) total score [Reported]", "PHQ-9 total score"
)
PHQ9_ITEMS = tuple(
    Code(LOINC, code)
    for code in (
        "44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8",
    )
)  # fmt: skip
PHQ9_ITEM9 = Code(LOINC, "44260-8", None, "PHQ-9 item 9: thoughts of being better off dead or of self-harm")
PHQ9_DIFFICULTY = Code(LOINC, "69722-7", None, "PHQ difficulty")
PHQ9_DIFFICULTY_EHR = Code(LOINC, "69723-5")  # seen in EHR mappings: read, never written
PHQ9_TOTAL_SNOMED = Code(SNOMED, "720433000")
PHQ2_PANEL = Code(LOINC, "55757-9")
PHQ2_TOTAL = Code(LOINC, "55758-7", None, "PHQ-2 total score")
GAD7_PANEL = Code(LOINC, "69737-5")
GAD7_TOTAL = Code(
    LOINC,
    "70274-6",
    "Generalized anxiety disorder 7 item (GAD-7) total score [Reported.PHQ]",
    "GAD-7 total score",
)
GAD7_TOTAL_SNOMED = Code(SNOMED, "445455005")
GAD7_ITEMS = tuple(
    Code(LOINC, code) for code in ("69725-0", "68509-9", "69733-4", "69734-2", "69735-9", "69689-8", "69736-7")
)
FREQUENCY_ANSWERS = (
    Code(LOINC, "LA6568-5", "Not at all"),
    Code(LOINC, "LA6569-3", "Several days"),
    Code(LOINC, "LA6570-1", "More than half the days"),
    Code(LOINC, "LA6571-9", "Nearly every day"),
)
MORE_DAYS_THAN_NOT = Code(LOINC, "LA18938-3", "More days than not")  # LOINC's own list for 68509-9; scores 2
DIFFICULTY_ANSWERS = (
    Code(LOINC, "LA6572-7", "Not difficult at all"),
    Code(LOINC, "LA6573-5", "Somewhat difficult"),
    Code(LOINC, "LA6575-0", "Very difficult"),
    Code(LOINC, "LA6574-3", "Extremely difficult"),
)

# --- the drug and the deed -------------------------------------------------------------------------------------------
KETAMINE_RXNORM = Code(RXNORM, "6130", None, "Ketamine")
KETAMINE_SNOMED = Code(SNOMED, "373464007", None, "Ketamine")
AMBULATORY = Code("http://terminology.hl7.org/CodeSystem/v3-ActCode", "AMB", "ambulatory")
KETAMINE_INFUSION = local("ketamine-infusion", "Ketamine infusion")
DEPRESSIVE_DISORDER = Code(SNOMED, "35489007", "Depressive disorder")

# --- activities of the plan ------------------------------------------------------------------------------------------
ESCORT_HOME = local("escort-home", "Escort home")
DRIVE_VEHICLE = local("drive-vehicle", "Driving a vehicle or operating machinery")
ALCOHOL_AND_DECISIONS = local("alcohol-sedatives-decisions", "Alcohol, sedatives, binding decisions")
TEACH_BACK = Code(SNOMED, "311401005", "Patient education", "Teach-back of the discharge instructions")
FOLLOW_UP_CALL = Code(SNOMED, "386473003", None, "Telephone follow-up")
CLINICAL_REVIEW = local("clinical-review", "Clinical review")
COMPLETE_QUESTIONNAIRE = Code(SDC_TEMP, "complete-questionnaire", "Complete Questionnaire")
COLLECT_INFORMATION = Code(CPG_ACTIVITY, "collect-information", "Collect information")
SDC_QUESTIONNAIRE = Code(SDC_TEMP, "questionnaire")
SDC_RESPONSE = Code(SDC_TEMP, "questionnaire-response")
ANCHOR = local("anchor", "Anchor of the protocol's times")
AFTERCARE_FAILED = local("aftercare-not-created", "Aftercare could not be created")
CONFIRM_DISCHARGE = local("confirm-discharge", "Confirm whether the patient was discharged")
CONFIRM_END = local("confirm-infusion-end", "Confirm when the infusion ended")
INFORM_PATIENT = local("inform-patient", "Tell the patient what has changed")

# --- inputs and outputs of Tasks -------------------------------------------------------------------------------------
INPUT_ESCORT_NAME = local("escort-name", "Name of the escort")
INPUT_ESCORT_RELATION = local("escort-relationship", "Relationship of the escort")
INPUT_ESCORT_PHONE = local("escort-phone", "Telephone of the escort")
INPUT_CALL_PHONE = local("call-phone", "Telephone for the follow-up call")
INPUT_REASON = local("reason", "Why this was raised")
INPUT_INSTRUCTION = local("instruction", "What is taught")
INPUT_UNMET = local("unmet-criterion", "Criterion not met or not recorded")
OUTPUT_SCORE = local("score", "Score")
OUTPUT_OUTCOME = local("outcome", "Outcome")

# --- Task.businessStatus, statusReason (design §10.3) -----------------------------------------------------------------
_BUSINESS = {
    "scheduled": "Scheduled",
    "due": "Due",
    "claimed": "Claimed",
    "attempt-1": "First attempt not answered",
    "attempt-2": "Second attempt not answered",
    "attempt-3": "Third attempt not answered",
    "reached": "Reached",
    "answered": "Answered",
    "answered-late": "Answered late",
    "confirmed": "Confirmed",
    "missed": "Missed",
    "superseded": "Superseded",
    "unreachable": "Unreachable",
    "declined": "Declined",
    "withdrawn": "Withdrawn",
    "left-alone": "Left alone",
}
BUSINESS_STATUSES = {code: Code(BUSINESS_STATUS, code, text, text) for code, text in _BUSINESS.items()}
_REASONS = {
    "missed": "Not answered in time",
    "superseded": "Replaced by a newer one",
    "unreachable": "Call attempts used up",
    "infusion-entered-in-error": "The infusion was entered in error",
    "infusion-not-done": "The infusion was not done",
    "wrong-patient": "Recorded on the wrong patient",
    "left-alone": "The patient left without an escort",
    "declined-by-patient": "Declined by the patient",
    "period-ended": "The period has ended",
}
STATUS_REASONS = {code: Code(STATUS_REASON, code, text, text) for code, text in _REASONS.items()}

# --- profiles and extensions of our own ------------------------------------------------------------------------------
_SD: Final = f"{BASE}/StructureDefinition"
PROFILE_COURSE_PLAN = f"{_SD}/aftercare-course-careplan"
PROFILE_INFUSION_PLAN = f"{_SD}/aftercare-infusion-careplan"
PROFILE_RESTRICTION = f"{_SD}/aftercare-activity-restriction"
PROFILE_TASK = f"{_SD}/aftercare-task"
PROFILE_PRO_TASK = f"{_SD}/aftercare-pro-task"
PROFILE_CLINIC_OBSERVATION = f"{_SD}/aftercare-clinic-observation"
PROFILE_READINESS = f"{_SD}/aftercare-readiness-observation"
PROFILE_SCORE = f"{_SD}/aftercare-score-observation"
PROFILE_PROVENANCE = f"{_SD}/aftercare-provenance"
PROFILE_GOAL = f"{_SD}/aftercare-goal"
PROFILE_INFUSION = f"{_SD}/aftercare-infusion"  # MedicationAdministration
PROFILE_INFUSION_PROCEDURE = f"{_SD}/aftercare-infusion-procedure"

EXT_EXPIRY_OFFSET = f"{_SD}/expiry-offset"
EXT_TASK_EXPIRY = f"{_SD}/task-expiry"
EXT_AT_LOCAL_TIME = f"{_SD}/at-local-time"
EXT_PLAN_TIMEZONE = f"{_SD}/plan-timezone"
EXT_ANCHOR_ESTIMATED = f"{_SD}/anchor-estimated"
EXT_POLICY_HASH = f"{_SD}/policy-hash"
EXT_STAFF_HOURS = f"{_SD}/staff-hours"
EXT_ACCEPTABLE_OFFSET = "http://hl7.org/fhir/uv/vulcan-schedule/StructureDefinition/AcceptableOffsetRangeSoa"
EXT_ORDINAL = "http://hl7.org/fhir/StructureDefinition/ordinalValue"

US_CORE: Final = "http://hl7.org/fhir/us/core/StructureDefinition"

PLAN_INFUSION = f"{BASE}/PlanDefinition/ketamine-infusion-aftercare"
PLAN_COURSE = f"{BASE}/PlanDefinition/ketamine-course-monitoring"
QUESTIONNAIRE_PHQ9 = f"{BASE}/Questionnaire/phq-9"
QUESTIONNAIRE_GAD7 = f"{BASE}/Questionnaire/gad-7"
QUESTIONNAIRE_CHECK_IN = f"{BASE}/Questionnaire/day-1-check-in"
QUESTIONNAIRE_WEEKLY = f"{BASE}/Questionnaire/weekly-check-in"
QUESTIONNAIRE_SLEEP_DRIVING = f"{BASE}/Questionnaire/sleep-driving-confirmation"

# --- what the protocol in profiles/ adds -----------------------------------------------------------------------------
EXT_OWNER_ROLE = f"{_SD}/owner-role"  # valueCode: patient | nurse | prescriber | care-team
EXT_TASK_INPUT = f"{_SD}/task-input"  # nested: type valueCodeableConcept, text valueString, language valueCode
EXT_CONCERNS = f"{_SD}/concerns"  # valueId: the action this one is about
EXT_TRANSLATION = "http://hl7.org/fhir/StructureDefinition/translation"
EXT_ITEM_WEIGHT = "http://hl7.org/fhir/StructureDefinition/itemWeight"
ACTIVITY_DEFINITION: Final = f"{BASE}/ActivityDefinition"

INTEGRATION_SESSION = local("integration-session", "Integration session")
CONFIRM_ARRIVED_HOME = local("confirm-arrived-home", "Confirm arrived home with an adult")
SAME_EVENING_CALL = local("same-evening-call", "Call the same evening")
DISCHARGED_NOT_READY = local("discharged-not-ready", "Left before ready")
BOOSTER_REVIEW = local("booster-review", "Review for a further infusion")
UNANSWERED_FORM_CALL = local("unanswered-form-call", "Call about an unanswered form")

INPUT_SELF_CARE = local("self-care", "Self-care")
INPUT_RESTRICTION = local("restriction", "Restriction")
INPUT_WARNING_SIGN = local("warning-sign", "Warning sign")

GOAL_PHQ9_RESPONSE = local("phq9-response", "Depression: PHQ-9 at most half of the baseline")
GOAL_PHQ9_REMISSION = local("phq9-remission", "Depression: PHQ-9 below 5")
GOAL_GAD7 = local("gad7", "Anxiety: GAD-7 below 10")
HALF_OF_BASELINE = local("half-of-baseline", "At most half of the baseline score")

# Items of the check-ins by linkId; the linkId is the field of care.escalation.CheckIn with hyphens.
CHECK_IN_ITEMS = {
    "feels-worse": scale("feels-worse", "Feels worse than before the infusion"),
    "unsafe": scale("unsafe", "Thoughts of dying or feels unsafe"),
    "mood": scale("mood", "Mood, 0 to 10"),
    "dissociation": DISSOCIATION,
    "confusion": scale("confusion", "Confusion, four levels"),
    "nausea": NAUSEA,
    "dizziness": Code(SNOMED, "404640003", None, "Dizziness, four levels"),
    "headache": Code(SNOMED, "25064002", None, "Headache, four levels"),
    "fatigue": Code(SNOMED, "84229001", None, "Tiredness, four levels"),
    "drowsiness": Code(SNOMED, "271782001", None, "Drowsiness, four levels"),
    "vomiting-3-or-no-fluids": scale("vomiting-3-or-no-fluids", "Vomited three times, or no fluids for 12 hours"),
    "emergency-symptoms": scale("emergency-symptoms", "Chest pain, breathlessness, fainting or severe headache"),
    "drove": scale("drove", "Drove before it was allowed"),
    "alcohol": scale("alcohol", "Alcohol or sedatives in the first 24 hours"),
    "slept": scale("slept", "Slept in the night after the infusion"),
    "feels-clear": scale("feels-clear", "Feels awake and clear"),
    "elevated-mood": scale("elevated-mood", "Unusually high or racing, with little sleep"),
    "urinary": scale("urinary", "Bladder: more often, urgent or painful"),
    "blood-in-urine": scale("blood-in-urine", "Blood in the urine"),
    "wants-call": scale("wants-call", "Wants a call"),
}
# Answers of the check-ins' four-level items; the position is the severity 0 to 3 of care.escalation.CheckIn.severity.
SEVERITY_ANSWERS = (
    scale("severity-none", "None"),
    scale("severity-mild", "A little"),
    scale("severity-moderate", "Moderate"),
    scale("severity-strong", "Strong"),
)

# Who does an activity of the protocol: the values of the extension owner-role.
OWNER_ROLE: Final = f"{BASE}/CodeSystem/owner-role"
OWNER_ROLES = {
    "patient": Code(OWNER_ROLE, "patient", "Patient"),
    "nurse": Code(OWNER_ROLE, "nurse", "Nurse on duty"),
    "prescriber": Code(OWNER_ROLE, "prescriber", "Prescriber"),
    "care-team": Code(OWNER_ROLE, "care-team", "Care team"),
}
SEARCH_TASK_DUE = f"{BASE}/SearchParameter/task-due"
