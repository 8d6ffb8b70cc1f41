"""One round of all sweeps of a clinic: encounters, answers, plans; each from its own watermark.

Keeps how far each came and how it went. One that fails is noted with its error's code and tried again in the next round
from where it was; the others go on. When a round is made is the caller's to say: at the start, and on a schedule.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from fhir_aftercare.errors import AftercareError
from fhir_aftercare.flows import sweep_answers as answers
from fhir_aftercare.flows import sweep_plans as plans
from fhir_aftercare.flows.sweep import NAME as ENCOUNTERS
from fhir_aftercare.flows.sweep import sweep
from fhir_aftercare.observe.heartbeat import Beat
from fhir_aftercare.store.sweep_state import SweepState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.signal import DischargeSignal
    from fhir_aftercare.flows.sweep_since import SweepSettings
    from fhir_aftercare.store.sweep_state import Watermark
    from fhir_aftercare.store.watermarks import Watermarks

log = structlog.get_logger(__name__)

SWEEPS: Final = (ENCOUNTERS, answers.NAME, plans.NAME)


@dataclass(frozen=True, slots=True)
class Hands:
    """Who takes what was found, and returns when it is durable; True if it is new work.

    ``signal`` is the inbox; ``patient`` takes ``Patient/7`` for ``sweep_plans.tend_patient``; ``answer`` takes
    ``QuestionnaireResponse/5`` and the id of its version for ``sweep_answers.receive_stored``.
    """

    signal: Callable[[DischargeSignal], Awaitable[bool]]
    patient: Callable[[str], Awaitable[bool]]
    answer: Callable[[str, str], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Round:
    """How a round went: new work by sweep, and the code of each that failed."""

    new: dict[str, int]
    failed: dict[str, str]


async def sweep_round(
    context: ClinicContext,
    watermarks: Watermarks,
    hands: Hands,
    *,
    patients: Sequence[str] | None = None,
    settings: SweepSettings | None = None,
) -> Round:
    """Make one round. ``patients`` and ``settings`` are those of ``sweep``.

    Raises ``StoreUnavailable`` if it cannot be kept how it went; other failures are in what it gives.
    """

    async def encounters(mark: Watermark | None) -> tuple[int, Watermark | None]:
        swept = await sweep(context, mark, hands.signal, patients=patients, settings=settings)
        return swept.new, swept.watermark

    async def responses(mark: Watermark | None) -> tuple[int, Watermark | None]:
        swept = await answers.sweep_answers(context, mark, hands.answer, patients=patients, settings=settings)
        return swept.new, swept.watermark

    async def tended(_: Watermark | None) -> tuple[int, Watermark | None]:
        page = settings.page if settings is not None else 100
        return (await plans.tend_all(context, hands.patient, patients=patients, page=page)).new, None

    found = Round({}, {})
    for name, one in zip(SWEEPS, (encounters, responses, tended), strict=True):
        clinic = context.clinic.id
        before = await watermarks.of(clinic, name)
        await watermarks.started(clinic, name, context.clock())
        try:
            found.new[name], after = await one(before.watermark)
        except AftercareError as error:
            found.failed[name] = error.code
            log.warning("sweep failed", clinic=clinic, component=name, code=error.code)
            await watermarks.failed(clinic, name, error.code)
        else:
            await watermarks.finished(clinic, name, context.clock(), after)
    return found


async def beats(watermarks: Watermarks, clinics: Sequence[str]) -> list[Beat]:
    """Give how it stands with every sweep of these clinics, also of those that never ran: for ``Heartbeat``.

    What else has a row there (a worker) is given too. Raises ``StoreUnavailable``.
    """
    expected = {(clinic, name): SweepState(clinic, name) for clinic in clinics for name in SWEEPS}
    known = {(each.clinic, each.sweep): each for each in await watermarks.all()}
    beating = {key: state for key, state in {**expected, **known}.items() if key[0] in clinics}
    return [Beat(each.clinic, each.sweep, each.last_finished, each.last_error, each.told) for each in beating.values()]


def work_id(clinic: str, source: str, event: str) -> str:
    """Give the name of a piece of work: the same event is the same work, and nothing of a patient is in it."""
    return f"{clinic}:{source}:{hashlib.sha256(event.encode()).hexdigest()[:32]}"
