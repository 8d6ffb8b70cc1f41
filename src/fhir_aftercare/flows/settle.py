"""Look, compare, write the difference: the loop in which every decision is made (design §2.2, §2.3).

One batch reads, a pure function decides, one transaction writes. If somebody else was first (409, 412, or a conditional
create that found its resource already there), or if it is unknown whether the write took place, it looks again and
decides anew; whoever repeats it, however often, the server ends in the same state.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from fhir_aftercare.errors import FhirServerError, FhirStale, FhirTimeout, Stale
from fhir_aftercare.fhir.check import check_bundle
from fhir_aftercare.flows.chart import Chart, check_clinic, read_chart, require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.flows.chart import Section
    from fhir_aftercare.flows.context import ClinicContext

ATTEMPTS = 6
_JITTER = 0.15  # seconds, doubled with each further attempt


class Decision(Protocol):
    """What a pure function made of a chart: the difference to write, empty if all is as it should be."""

    @property
    def transaction(self) -> Transaction:
        """The difference."""


class TornChart(Exception):
    """Two parts of a chart are of different moments: a batch is no snapshot. The chart is read again."""


D = TypeVar("D", bound=Decision)


@dataclass(frozen=True, slots=True)
class Settled(Generic[D]):
    """The last decision; ``references`` maps each ``urn:uuid`` written to the ``Type/id`` it became."""

    decision: D
    chart: Chart
    references: dict[str, str]
    lost: bool = False

    @property
    def wrote(self) -> bool:
        """Whether anything had to be written. ``lost``: an answer did not arrive, and what it was about is there."""
        return bool(self.references) or self.lost

    def reference(self, given: str) -> str:
        """Give ``Type/id`` for a reference of the decision, which may be a ``urn:uuid``."""
        return self.references.get(given) or given


async def read_whole(context: ClinicContext, sections: Sequence[Section]) -> Chart:
    """Give a chart to decide on: whole, and of an encounter of this clinic. Raises what reading raises."""
    return check_clinic(require(await read_chart(context.fhir, sections)), context.clinic)


async def preview(
    context: ClinicContext, sections: Sequence[Section], decide: Callable[[Chart], Decision]
) -> dict[str, Any]:
    """Give the transaction Bundle that would be sent now, checked as if it were; nothing is written.

    Without entries if nothing would be (FHIR knows no empty list).
    """
    decision = decide(await read_whole(context, sections))
    bundle = decision.transaction.bundle()
    if decision.transaction.empty:
        return {name: value for name, value in bundle.items() if name != "entry"}
    check_bundle(bundle, decision.transaction.existing, decision.transaction.merged)
    return bundle


async def settle(
    context: ClinicContext, patient: str, sections: Sequence[Section], decide: Callable[[Chart], D]
) -> Settled[D]:
    """Read ``sections``, let ``decide`` compare, write the difference; again until nothing was in the way.

    Raises what reading, deciding and ``check_bundle`` raise (nothing is written then), and ``Stale`` if the chart
    changed under each of its attempts.
    """
    references: dict[str, str] = {}
    failed: FhirServerError | None = None
    lost = False
    async with context.locks(patient):
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.uniform(0, _JITTER * 2**attempt))  # noqa: S311 - jitter, not a secret
            chart = await read_whole(context, sections)
            try:
                decision = decide(chart)
            except TornChart:
                continue
            if decision.transaction.empty:
                return Settled(decision, chart, references, lost)
            bundle = decision.transaction.bundle()
            check_bundle(bundle, decision.transaction.existing, decision.transaction.merged)
            try:
                answer = await context.fhir.transaction(bundle)
            except (FhirStale, FhirTimeout) as error:
                failed, lost = error, lost or isinstance(error, FhirTimeout)
                continue
            failed = None
            places = decision.transaction.places(answer.entries)
            references.update(places.references)
            if places.all_new:
                return Settled(decision, chart, references)
            # Somebody else was first with a part of it: what is there now may not be what was decided.
    if isinstance(failed, FhirTimeout):
        raise failed
    raise Stale("The chart kept changing while this was written; nothing of the last attempt was.", where="patient")
