"""The HL7 v2 door: an ADT message in, its answer out after its signals are durable (design §2.5, integration §2.1).

AA: kept. AE: not kept, and it is our fault: the sender repeats. AR: it will never be understood; MSA-3 and ERR say why.
What a message means is decided in ``hl7v2_signal``, how it comes here in ``hl7v2_server``. Nothing of a message is
logged but its trigger event.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final

import structlog

from fhir_aftercare.errors import AftercareError, ConfigFault
from fhir_aftercare.flows.clock import system_clock
from fhir_aftercare.intake import hl7v2_message as m
from fhir_aftercare.intake.hl7v2_ack import acknowledge
from fhir_aftercare.intake.hl7v2_message import NO_HEADER, NotUnderstood, read_header, read_message
from fhir_aftercare.intake.hl7v2_signal import check_header, signals_of
from fhir_aftercare.observe.redaction import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fhir_aftercare.flows.clock import Clock
    from fhir_aftercare.flows.inbox import Inbox
    from fhir_aftercare.flows.signal import DischargeSignal
    from fhir_aftercare.intake.hl7v2_ack import Code
    from fhir_aftercare.intake.hl7v2_message import Header
    from fhir_aftercare.intake.hl7v2_settings import Hl7Settings, Sender

Senders = dict[tuple[str, str], tuple[str, "Sender"]]

_KIND: Final = re.compile(r"[A-Z][0-9A-Z]{2}")

log = structlog.get_logger(__name__)


def senders_of(clinics: Mapping[str, Hl7Settings]) -> Senders:
    """Give (MSH-3, MSH-4) → clinic and sender. Raises ``ConfigFault`` if two clinics name the same sender."""
    known: Senders = {}
    faults = []
    for clinic, settings in clinics.items():
        for sender in settings.senders:
            name = (sender.application, sender.facility)
            if name in known:
                faults.append(f"{clinic}: hl7v2.senders: the sender is also that of the clinic {known[name][0]}")
            known.setdefault(name, (clinic, sender))
    if faults:
        raise ConfigFault(faults, where="hl7v2.senders")
    return known


class Door:
    """Answers messages. Knows nothing of sockets.

    ``longest`` (seconds) is how long the inbox may take to keep the signals of one message.
    """

    def __init__(self, senders: Senders, inbox: Inbox, longest: float, clock: Clock = system_clock) -> None:
        self._senders, self._inbox, self._longest, self._clock = senders, inbox, longest, clock

    async def answer(self, block: bytes) -> bytes:
        """Give the answer to what came in one frame, both without frame. Whatever came, there is one."""
        started = time.perf_counter()
        header, clinic, signals = NO_HEADER, None, list["DischargeSignal"]()
        code: Code = "AA"
        fault: NotUnderstood | None = None
        try:
            header = read_header(block)
            clinic, sender = self._sender(header)
            event = check_header(header, sender)
            signals = signals_of(read_message(block, header, sender.charset), event, clinic, sender)
            fault = await self._keep(signals)
            code = "AE" if fault else "AA"
        except NotUnderstood as found:
            code, fault = "AR", found
        kind = header.component(9, 2)
        log.info(
            "hl7v2 message",
            clinic=clinic,
            kind=kind if _KIND.fullmatch(kind) else None,
            outcome=code,
            count=len(signals),
            code=fault.code if fault else None,
            ms=round((time.perf_counter() - started) * 1000, 1),
        )
        return self._said(header, code, fault)

    def refuse(self, fault: NotUnderstood) -> bytes:
        """Give the answer to what is no frame, or too large a one."""
        log.warning("hl7v2 frame refused", outcome="AR", code=fault.code)
        return self._said(NO_HEADER, "AR", fault)

    def _sender(self, header: Header) -> tuple[str, Sender]:
        found = self._senders.get((header.component(3), header.component(4)))
        if found is None:
            raise NotUnderstood(m.NOT_IN_TABLE, "no clinic knows this sending application and facility", "MSH^1^3")
        return found

    async def _keep(self, signals: list[DischargeSignal]) -> NotUnderstood | None:
        """Hand the signals over, and give why the sender must repeat them, if it must."""
        try:
            async with asyncio.timeout(self._longest):
                for signal in signals:
                    await self._inbox.take(signal)
        except (AftercareError, TimeoutError) as error:
            log.warning("hl7v2 message not kept", code=getattr(error, "code", "timeout"))
        except Exception as error:  # noqa: BLE001  (whatever it is, the sender must not believe that it was kept)
            log.error("unexpected error", fault=describe(error))  # noqa: TRY400  (the text may quote a patient)
        else:
            return None
        return NotUnderstood(m.INTERNAL, "the message could not be kept now; send it again")

    def _said(self, header: Header, code: Code, fault: NotUnderstood | None) -> bytes:
        now = self._clock()
        if fault is None:
            return acknowledge(header, code, now)
        return acknowledge(header, code, now, condition=fault.code, reason=fault.reason, place=fault.place)
