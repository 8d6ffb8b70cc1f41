"""One sweep over a clinic's server: of all patients where that is allowed, else of those that are known.

What is searched for, and what becomes of it, is told by ``sweep`` and ``sweep_answers``. A search by the last change is
tried first, then one by date; a kind of resource that a server refuses is left out and told of, but for the one that
the sweep is about.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from fhir_aftercare.errors import FhirGone, FhirNotFound, FhirRejected, FhirServerError, FhirUnauthorized
from fhir_aftercare.fhir import terms
from fhir_aftercare.flows.sweep_listing import By, Listing, time_of
from fhir_aftercare.flows.sweep_since import Look, Probe, Seen, SweepSettings, look_from, mark_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.store.sweep_state import Watermark

    # Takes a resource that was found, and ``Look.again``; tells whether it was new, None if it names nobody.
    Hand = Callable[[dict[str, Any], str], Awaitable[bool | None]]

Resource = dict[str, Any]

log = structlog.get_logger(__name__)

# Patients with several plans come several times: so many of the last ones are remembered.
_REMEMBERED: Final = 5_000
_RUNNING_PLANS: Final = "draft,active,on-hold"
# No server has it: the answer tells the time, and nothing else.
_NOBODY: Final = "no-such-encounter"


@dataclass(frozen=True, slots=True)
class Swept:
    """How a sweep went. ``watermark`` is for the next one; ``seen`` counts what was handed on, ``new`` what of it was.

    ``by`` tells how each kind of resource was asked for; ``refused`` are the kinds the server refused.
    ``looked_again``: the server has lost what it had, so that what was known was looked at again. ``unnamed`` name no
    patient; of ``unreached`` patients the server refused to tell.
    """

    watermark: Watermark
    seen: int
    new: int
    population: bool
    by: Mapping[str, str]
    refused: tuple[str, ...] = ()
    looked_again: bool = False
    unnamed: int = 0
    unreached: int = 0


@dataclass(frozen=True, slots=True)
class Sought:
    """One kind of resource a sweep searches for. ``needed``: without it the sweep is none."""

    type: str
    query: Mapping[str, str]
    needed: bool = False


def is_refused(error: FhirServerError) -> bool:
    """Tell whether a server refuses a search as such: asked again it would refuse again."""
    if isinstance(error, FhirUnauthorized):
        return error.http_status == 403
    return isinstance(error, FhirRejected | FhirNotFound | FhirGone)


@dataclass(slots=True)
class Run:
    """One sweep being made."""

    context: ClinicContext
    settings: SweepSettings
    look: Look
    hand: Hand
    seen: Seen = field(default_factory=Seen)
    new: int = 0
    unnamed: int = 0
    unreached: int = 0
    times: dict[str, datetime | None] = field(default_factory=dict)
    # The way that a kind of resource can be asked for: None if none.
    ways: dict[str, By | None] = field(default_factory=dict)

    @classmethod
    async def begun(
        cls,
        context: ClinicContext,
        watermark: Watermark | None,
        settings: SweepSettings,
        hand: Hand,
    ) -> Run:
        """Ask the server what time it is and whether it still has what it had, and decide from when to look."""
        probe = await _probe(context, watermark)
        look = look_from(watermark, probe, context.clock(), settings)
        if look.again:
            log.warning("the server has lost what it had; looking at all again", clinic=context.clinic.id)
        return cls(context, settings, look, hand)

    async def sweep(self, sought: Sequence[Sought], patients: Sequence[str] | None) -> bool:
        """Hand on all that is found; False if only known patients could be asked for.

        Raises what the searches raise, also the refusal of one that is needed where no patient is known either.
        """
        refusal: FhirServerError | None = None
        if self.settings.population:
            try:
                for each in sought:
                    await self._all_of(each, {})
            except FhirServerError as error:
                if not is_refused(error):
                    raise
                refusal = error
                log.warning(
                    "search of all patients refused", clinic=self.context.clinic.id, http_status=error.http_status
                )
            else:
                return True
        self.ways.clear()
        await self._of_known(sought, patients, refusal)
        return False

    def swept(self, before: Watermark | None, *, population: bool) -> Swept:
        """Give how it went. Only for a sweep in which nothing failed."""
        times = [self.times.get(type_) for type_, by in self.ways.items() if by is not None]
        ours = self.context.clock() - self.settings.overlap
        return Swept(
            watermark=mark_after(before, self.look, self.seen, times, ours),
            seen=self.seen.count,
            new=self.new,
            population=population,
            by={type_: by.value for type_, by in self.ways.items() if by is not None},
            refused=tuple(sorted(type_ for type_, by in self.ways.items() if by is None)),
            looked_again=bool(self.look.again),
            unnamed=self.unnamed,
            unreached=self.unreached,
        )

    async def _of_known(
        self, sought: Sequence[Sought], patients: Sequence[str] | None, refusal: FhirServerError | None
    ) -> None:
        reached = 0
        async for patient in known_patients(self.context, patients, self.settings.page):
            try:
                for each in sought:
                    await self._all_of(each, {"patient": patient})
            except FhirServerError as error:  # of one patient: the others are asked for all the same
                if not is_refused(error):
                    raise
                refusal = error
                self.unreached += 1
            else:
                reached += 1
        if not reached and refusal is not None:
            raise refusal

    async def _all_of(self, sought: Sought, more: Mapping[str, str]) -> None:
        """Hand on all of one kind, in the way the server allows; a way that works is kept."""
        refusal: FhirServerError | None = None
        for by in (self.ways[sought.type],) if sought.type in self.ways else tuple(By):
            if by is None:
                return
            try:
                await self._listed(sought, more, by)
            except FhirServerError as error:
                if not is_refused(error) or sought.type in self.ways:
                    raise
                refusal = error
            else:
                self.ways[sought.type] = by
                return
        if refusal is None:
            return
        if sought.needed:
            raise refusal
        self.ways[sought.type] = None
        log.warning("search refused", clinic=self.context.clinic.id, resource_type=sought.type)

    async def _listed(self, sought: Sought, more: Mapping[str, str], by: By) -> None:
        listing = Listing(self.context.fhir, sought.type, {**sought.query, **more}, by, self.settings.page)
        since = self.look.since
        async for each in listing.since(since if by is By.CHANGED else since - self.settings.date_lookback):
            new = await self.hand(each, self.look.again)
            if new is None:
                self.unnamed += 1
                continue
            self.new += new
            self.seen.note(each, witness=sought.needed)
        self.times.setdefault(sought.type, listing.server_time)


async def known_patients(context: ClinicContext, given: Sequence[str] | None, page: int) -> AsyncIterator[str]:
    """Yield the references of ``given`` patients, and of those with a plan of ours that goes on.

    In constant memory: who has many plans may come more than once. Raises what the client raises; a server that refuses
    the search of plans leaves those given, if there are any.
    """
    recent = Recent()
    for patient in given or ():
        if recent.is_new(patient):
            yield patient
    ours = f"{terms.AFTERCARE}|{terms.COURSE_PLAN.code},{terms.AFTERCARE}|{terms.INFUSION_PLAN.code}"
    listing = Listing(context.fhir, "CarePlan", {"category": ours, "status": _RUNNING_PLANS}, page=page)
    try:
        async for plan in listing.since(None):
            reference = str((plan.get("subject") or {}).get("reference", ""))
            patient = reference[reference.rfind("Patient/") :] if "Patient/" in reference else ""
            if patient and recent.is_new(patient):
                yield patient
    except FhirServerError as error:
        if not given or not is_refused(error):
            raise
        log.warning("search of plans refused", clinic=context.clinic.id, http_status=error.http_status)


class Recent:
    """Remembers what came last, and no more than that."""

    def __init__(self, most: int = _REMEMBERED) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self._most = most

    def is_new(self, value: str) -> bool:
        """Tell whether a value is not among the last ones, and remember it."""
        new = value not in self._known
        self._known[value] = None
        self._known.move_to_end(value)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return new


async def _probe(context: ClinicContext, mark: Watermark | None) -> Probe:
    type_, _, id_ = (mark.witness if mark is not None and mark.witness else f"Encounter/{_NOBODY}").partition("/")
    try:
        bundle = await context.fhir.search_bundle(type_, {"_id": id_})
    except FhirServerError as error:
        if not is_refused(error):
            raise
        log.warning("search by id refused", clinic=context.clinic.id, resource_type=type_)
        return Probe()
    entries = [entry.get("resource") or {} for entry in bundle.get("entry") or ()]
    found = next((each for each in entries if each.get("resourceType") == type_ and each.get("id") == id_), None)
    return Probe(time_of(bundle), found, asked=mark is not None and mark.witness is not None)
