"""From when a sweep looks, and up to where it has seen everything. Pure.

All times are the FHIR server's own where it tells them, so that our clock may be wrong. A server that has lost what it
once had was restored from a backup: plans made since are gone with it, so that what was known is looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.flows.sweep_listing import changed_at
from fhir_aftercare.store.sweep_state import Watermark

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """How a clinic's server is swept.

    ``overlap`` before the watermark is looked at again, for what was being written then and for clocks that differ.
    ``max_lookback`` is how far the first sweep looks, and how far before a loss. ``date_lookback`` counts where only
    the date of an encounter can be asked for: it may be signed off days later (integration §2.1). ``population`` is
    False where the clinic's server must not be asked for the encounters of all patients. Raises ``ConfigFault``.
    """

    overlap: timedelta = timedelta(minutes=10)
    max_lookback: timedelta = timedelta(days=7)
    date_lookback: timedelta = timedelta(days=14)
    page: int = 100
    population: bool = True

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be longer than nothing"
            for name in ("overlap", "max_lookback", "date_lookback")
            if getattr(self, name) <= timedelta()
        ]
        if not 1 <= self.page <= 1000:
            faults.append("page must be from 1 to 1000")
        if faults:
            raise ConfigFault(faults, where="sweep")


@dataclass(frozen=True, slots=True)
class Look:
    """Look at what changed since then. With ``again`` also at what is known: it names the loss, once and for all."""

    since: datetime
    again: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """What one question told before the sweep: the server's clock, and what became of the witness.

    ``asked``: there is a witness and the server answered for it; ``witness`` is None then if it is not there.
    """

    server_time: datetime | None = None
    witness: Resource | None = None
    asked: bool = False


def look_from(mark: Watermark | None, probe: Probe, now: datetime, settings: SweepSettings) -> Look:
    """Give from when to look. ``now`` is our clock, for servers that tell no time.

    A watermark of the future shows that a clock was set back; ours alone shows that only of a watermark it made itself.
    """
    clock = probe.server_time or now
    if mark is None:
        return Look(clock - settings.max_lookback)
    ahead = probe.server_time is not None and mark.at > probe.server_time + settings.overlap
    if ahead or _is_lost(mark, probe):
        last_known = min(each for each in (mark.at, mark.newest, clock) if each is not None)
        return Look(last_known - settings.max_lookback, f"lost-{int(mark.at.timestamp())}")
    by_our_clock = probe.server_time is None and mark.newest is None
    return Look((min(mark.at, now) if by_our_clock else mark.at) - settings.overlap)


def _is_lost(mark: Watermark, probe: Probe) -> bool:
    """Tell whether the newest that was ever seen is gone, or older than it was."""
    if mark.witness is None or not probe.asked:
        return False
    if probe.witness is None:
        return True
    changed = changed_at(probe.witness)
    return changed is not None and mark.newest is not None and changed < mark.newest


@dataclass(slots=True)
class Seen:
    """What a sweep has come across: the newest of all, and the newest of those that can bear witness."""

    newest: datetime | None = None
    newest_witness: datetime | None = None
    witness: str | None = None
    count: int = 0

    def note(self, resource: Resource, *, witness: bool) -> None:
        """Note one resource that was handed on."""
        self.count += 1
        changed = changed_at(resource)
        if changed is None:
            return
        self.newest = changed if self.newest is None else max(self.newest, changed)
        if witness and (self.newest_witness is None or changed >= self.newest_witness):
            self.newest_witness, self.witness = changed, f"{resource['resourceType']}/{resource['id']}"


def mark_after(
    before: Watermark | None,
    look: Look,
    seen: Seen,
    times: Sequence[datetime | None],
    ours: datetime,
) -> Watermark:
    """Give the watermark after a sweep in which nothing failed.

    ``times`` are the server's clock as the first page of each search told it: the earliest counts. Where it tells none,
    the newest change that was seen is the server's own time; without that too it is ``ours``, our clock less the
    overlap.
    """
    told = [each for each in times if each is not None]
    if told and len(told) == len(times):
        at = min(told)
    elif seen.newest is not None:
        at = seen.newest
    elif seen.count:
        at = ours
    else:
        at = before.at if before is not None and not look.again else look.since
    if before is None or look.again:
        return Watermark(at, seen.newest_witness, seen.witness)
    newest, witness = seen.newest_witness, seen.witness
    if newest is None or (before.newest is not None and newest < before.newest):
        newest, witness = before.newest, before.witness
    return Watermark(max(at, before.at), newest, witness)
