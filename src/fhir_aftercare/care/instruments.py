"""PHQ-9, PHQ-2 and GAD-7: what they ask, and what the answers score.

Decides totals, bands and what is missing. An unanswered item is never 0, and item 9 of the PHQ-9 (thoughts of death or
self-harm) is never imputed. What a score means for the patient's course is ``outcome``; who must act is ``escalation``.
The forms may be reproduced freely (Pfizer's notice, carried in each Questionnaire).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fhir_aftercare.errors import InvalidInput, OutOfRange

InstrumentKey = Literal["phq-9", "phq-2", "gad-7"]


@dataclass(frozen=True, slots=True)
class Band:
    """A named range of totals, both ends included."""

    name: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Instrument:
    """A form whose answers add up. ``items`` are the words asked, in order; every answer is 0 to ``max_answer``.

    ``safety_item`` is the number (from 1) of the item that asks about self-harm. ``prorate_up_to`` is how many
    unanswered items the total still stands for. From ``cutoff`` on the disorder it screens for is likely.
    """

    key: InstrumentKey
    items: tuple[str, ...]
    max_total: int
    bands: tuple[Band, ...]
    safety_item: int | None = None
    prorate_up_to: int = 0
    max_answer: int = 3
    cutoff: int | None = None

    def band(self, total: int) -> Band:
        """Give the band of a total. Raises ``OutOfRange`` if no band holds it."""
        for band in self.bands:
            if band.low <= total <= band.high:
                return band
        raise OutOfRange(f"A {self.key} total lies between 0 and {self.max_total}.", where="total")


_PHQ = (
    "Little interest or pleasure in doing things",
    "Feeling down, depressed, or hopeless",
    "Trouble falling or staying asleep, or sleeping too much",
    "Feeling tired or having little energy",
    "Poor appetite or overeating",
    "Feeling bad about yourself - or that you are a failure or have let yourself or your family down",
    "Trouble concentrating on things, such as reading the newspaper or watching television",
    (
        "Moving or speaking so slowly that other people could have noticed. Or the opposite - being so fidgety or"
        " restless that you have been moving around a lot more than usual"
    ),
    "Thoughts that you would be better off dead, or of hurting yourself in some way",
)

# Items and missing rule: clinical §3.2; bands: clinical §2.4; cut-off: ui §4.5 (dashed: 10).
PHQ9 = Instrument(
    "phq-9",
    _PHQ,
    max_total=27,
    bands=(
        Band("minimal", 0, 4),
        Band("mild", 5, 9),
        Band("moderate", 10, 14),
        Band("moderately severe", 15, 19),
        Band("severe", 20, 27),
    ),
    safety_item=9,
    prorate_up_to=2,
    cutoff=10,
)
# Items 1 and 2 of the PHQ-9; from 3 on it is positive (clinical §3.2). Half of it missing is no total.
PHQ2 = Instrument("phq-2", _PHQ[:2], max_total=6, bands=(Band("negative", 0, 2), Band("positive", 3, 6)))
# Items and missing rule: clinical §3.3; bands and cut-off: clinical §2.4.
GAD7 = Instrument(
    "gad-7",
    (
        "Feeling nervous, anxious or on edge",
        "Not being able to stop or control worrying",
        "Worrying too much about different things",
        "Trouble relaxing",
        "Being so restless that it is hard to sit still",
        "Becoming easily annoyed or irritable",
        "Feeling afraid as if something awful might happen",
    ),
    max_total=21,
    bands=(Band("minimal", 0, 4), Band("mild", 5, 9), Band("moderate", 10, 14), Band("severe", 15, 21)),
    prorate_up_to=2,
    cutoff=10,
)
INSTRUMENTS: tuple[Instrument, ...] = (PHQ9, GAD7, PHQ2)


@dataclass(frozen=True, slots=True)
class Answers:
    """What was answered. ``items`` has one entry for each item, None where there is no answer that we understand.

    ``difficulty`` (0 to 3) is asked with the PHQ-9 and GAD-7 and not scored; ``stated_total`` is what the form or the
    EHR says the total is.
    """

    instrument: Instrument
    items: tuple[int | None, ...]
    difficulty: int | None = None
    stated_total: int | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """What the answers come to. ``missing`` are the numbers (from 1) of the items without an answer.

    ``total`` is None if it cannot be had, and ``incomplete_reason`` says why. ``item9_known`` is False if the
    instrument asks item 9 and the answer is not known: then somebody must ask; GAD-7 and PHQ-2, which do not ask it,
    leave nothing unknown. ``stated_total_differs``: it is not our total, or not one the given answers can add up to.
    """

    instrument: Instrument
    total: int | None
    prorated: bool
    missing: tuple[int, ...]
    incomplete_reason: str | None
    item9: int | None
    item9_known: bool
    stated_total_differs: bool
    band: Band | None


def score(answers: Answers) -> Score:
    """Score the answers (clinical §3.2, §3.3).

    Up to two missing answers are replaced by the mean of the others, rounded half up; with more, or without item 9,
    there is no total. With no item at all a stated total stands, and item 9 is not known (clinical §3.5).
    Raises ``InvalidInput`` if the number of items is not the instrument's, ``OutOfRange`` naming every value that is
    outside its limits.
    """
    instrument = answers.instrument
    _check(answers)
    given = [each for each in answers.items if each is not None]
    missing = tuple(number for number, each in enumerate(answers.items, start=1) if each is None)
    item9 = answers.items[instrument.safety_item - 1] if instrument.safety_item else None
    bare = not given and answers.stated_total is not None
    reason = None if bare else _incomplete(instrument, missing)
    if bare:
        total = answers.stated_total
    elif reason:
        total = None
    else:
        total = _mean_times(sum(given), len(given), len(answers.items))
    return Score(
        instrument=instrument,
        total=total,
        prorated=total is not None and bool(missing) and not bare,
        missing=missing,
        incomplete_reason=reason,
        item9=item9,
        item9_known=instrument.safety_item is None or item9 is not None,
        stated_total_differs=_differs(answers, given, total),
        band=None if total is None else instrument.band(total),
    )


def _check(answers: Answers) -> None:
    instrument = answers.instrument
    if len(answers.items) != len(instrument.items):
        raise InvalidInput(f"The {instrument.key} has {len(instrument.items)} items.", where="items")
    limits = [
        *((f"items[{at}]", each, instrument.max_answer) for at, each in enumerate(answers.items)),
        ("difficulty", answers.difficulty, instrument.max_answer),
        ("stated_total", answers.stated_total, instrument.max_total),
    ]
    wrong = [name for name, value, high in limits if value is not None and not 0 <= value <= high]
    if wrong:
        raise OutOfRange(f"Values outside the limits of the {instrument.key}: " + ", ".join(wrong) + ".", where=wrong)


def _incomplete(instrument: Instrument, missing: tuple[int, ...]) -> str | None:
    if len(missing) == len(instrument.items):
        return "no item was answered"
    if len(missing) > instrument.prorate_up_to:
        return f"{len(missing)} of {len(instrument.items)} items were not answered"
    if instrument.safety_item in missing:
        return f"item {instrument.safety_item} was not answered and is never imputed"
    return None


def _mean_times(answered: int, count: int, items: int) -> int:
    """Mean of the answered items × all items, rounded half up, in whole numbers."""
    return (2 * answered * items + count) // (2 * count)


def _differs(answers: Answers, given: list[int], total: int | None) -> bool:
    stated = answers.stated_total
    if stated is None:
        return False
    if total is not None:
        return stated != total
    open_items = len(answers.items) - len(given)
    return not sum(given) <= stated <= sum(given) + open_items * answers.instrument.max_answer
