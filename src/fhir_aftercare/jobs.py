"""The durable work of the service: which jobs there are, what each does, and who takes it.

    signal → follow it;  sweep → look for what no signal told;  tend → a patient's plans;  answers → read and score

Ids go in and a word comes out, never anything of a patient. What a job does is a flow's, how it is kept and repeated is
``work``'s; each job done twice does it once (design §6).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.flows.follow_signal import follow_signal
from fhir_aftercare.flows.recheck_visits import recheck_visits
from fhir_aftercare.flows.signal import DischargeSignal
from fhir_aftercare.flows.sweep_answers import receive_stored
from fhir_aftercare.flows.sweep_plans import tend_patient
from fhir_aftercare.flows.sweep_round import Hands, sweep_round, work_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fhir_aftercare.door_settings import DoorSettings
    from fhir_aftercare.flows.context import Clinics
    from fhir_aftercare.observe.metrics import Metrics
    from fhir_aftercare.store.watermarks import Watermarks
    from fhir_aftercare.work.engine import Job

SIGNAL: Final = "signal"
SWEEP: Final = "sweep"
TEND: Final = "tend"
ANSWERS: Final = "answers"

# Many notifications without a name come at once: one sweep, begun after this time, is for all of them.
_GATHER: Final = timedelta(seconds=5)
# A patient's plans are tended once in such a time, however often they are found.
_TENDED: Final = timedelta(hours=1)


class Taker(Protocol):
    """Takes work: it is committed when this returns. ``work.engine.Engine`` is one."""

    async def submit(
        self, job: str, clinic: str, work_id: str, ids: Mapping[str, str], *, delay: timedelta | None = None
    ) -> bool:
        """Take it; True if it is new. Raises ``StoreUnavailable``."""


class Later:
    """A ``Taker`` for the engine, which is made with the jobs that give it work: set ``engine`` before it is used."""

    engine: Taker

    async def submit(
        self, job: str, clinic: str, work_id: str, ids: Mapping[str, str], *, delay: timedelta | None = None
    ) -> bool:
        """Take it; True if it is new. Raises ``StoreUnavailable``."""
        return await self.engine.submit(job, clinic, work_id, ids, delay=delay)


@dataclass(frozen=True, slots=True)
class DurableInbox:
    """Where all doors put signals: each is acknowledged after its row is committed (design §2.5)."""

    work: Taker

    async def take(self, signal: DischargeSignal) -> bool:
        """Keep a signal; True if it is new work. Raises ``StoreUnavailable``."""
        return await self.work.submit(SIGNAL, signal.clinic, signal.work_id, signal.as_ids())

    async def look(self, clinic: str) -> bool:
        """Let the clinic be swept soon; False if a sweep that has not begun yet is waiting already."""
        slot = int(datetime.now(UTC).timestamp() // _GATHER.total_seconds())
        return await self.work.submit(SWEEP, clinic, work_id(clinic, SWEEP, f"look/{slot}"), {}, delay=_GATHER)

    async def sweep(self, clinic: str, every: timedelta | None = None) -> bool:
        """Sweep a clinic: once in each ``every`` whichever process asks; without it in any case, as on starting."""
        slot = str(uuid.uuid4()) if every is None else str(int(datetime.now(UTC).timestamp() // every.total_seconds()))
        return await self.work.submit(SWEEP, clinic, work_id(clinic, SWEEP, slot), {})


@dataclass(frozen=True, slots=True)
class Jobs:
    """What the jobs work with. ``doors`` by the clinic's id."""

    clinics: Clinics
    doors: Mapping[str, DoorSettings]
    watermarks: Watermarks
    metrics: Metrics

    def all(self, work: Taker) -> dict[str, Job]:
        """Give every job by its name; what a sweep finds is given to ``work``."""

        async def swept(clinic: str, ids: Mapping[str, str]) -> str:
            return await self.sweep(clinic, ids, work)

        return {SIGNAL: self.signal, SWEEP: swept, TEND: self.tend, ANSWERS: self.answers}

    async def signal(self, clinic: str, ids: Mapping[str, str]) -> str:
        """Follow a signal. Raises what ``follow_signal`` raises, and ``NotFound`` if the clinic does not run."""
        context = self.clinics.of(clinic)
        try:
            found = await follow_signal(context, DischargeSignal.from_ids(clinic, ids))
        except ProtocolFault:
            self.metrics.plan("failed")
            raise
        if found.plan is not None:
            self.metrics.plan("activated" if found.outcome == "plan" else found.outcome)
        return found.outcome

    async def sweep(self, clinic: str, ids: Mapping[str, str], work: Taker) -> str:  # noqa: ARG002 (a job has ids)
        """Make one round of all sweeps of a clinic. One that fails is noted, and tried again in the next round."""
        context, doors = self.clinics.of(clinic), self.doors[clinic]
        inbox = DurableInbox(work)
        hour = int(datetime.now(UTC).timestamp() // _TENDED.total_seconds())

        async def patient(reference: str) -> bool:
            named = work_id(clinic, TEND, f"{reference}/{hour}")
            return await work.submit(TEND, clinic, named, {"patient": reference})

        async def answer(reference: str, event: str) -> bool:
            return await work.submit(ANSWERS, clinic, work_id(clinic, ANSWERS, event), {"response": reference})

        hands = Hands(inbox.take, patient, answer)
        done = await sweep_round(context, self.watermarks, hands, patients=doors.patients or None, settings=doors.sweep)
        return "failed" if done.failed else "swept"

    async def tend(self, clinic: str, ids: Mapping[str, str]) -> str:
        """Complete and tend a patient's plans, and look at the visits of the recent ones."""
        context, patient = self.clinics.of(clinic), ids["patient"]
        rechecked = await recheck_visits(context, patient)
        tended = await tend_patient(context, patient)
        return "changed" if rechecked else tended.outcome

    async def answers(self, clinic: str, ids: Mapping[str, str]) -> str:
        """Score answers that are on the server."""
        received = await receive_stored(self.clinics.of(clinic), ids["response"])
        if received.changed:
            self.metrics.read(received.scores, received.reasons)
        return "changed" if received.changed else "unchanged"
