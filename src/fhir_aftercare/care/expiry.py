"""When the time for a piece of work is over, and when staff call about a form that nobody answers.

Pure rules over instants; which Tasks there are, and how they end, is not known here. Nothing of staff's fails before
they had one open hour for it (design §9.18).
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.timing import Offset, utc

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.timing import OpenHours

_ONE_OPEN_HOUR: Final = timedelta(hours=1)
# "PRO not answered +3 d: staff call" (clinical §2.5), after reminders at due, +1 d and +2 d (clinical §2.3).
UNANSWERED_AFTER: Final = Offset(Decimal(3), "d")


def is_over(expires: datetime | None, now: datetime) -> bool:
    """Tell whether a window has expired; what has no expiry never does."""
    return expires is not None and utc(expires) <= utc(now)


def is_over_for_staff(expires: datetime | None, since: datetime | None, now: datetime, hours: OpenHours) -> bool:
    """Tell whether staff's work has expired, and could have been done in one open hour of the clinic at least.

    ``since`` is from when it could be done, or when somebody last did something about it: who has just taken it on
    keeps it. A clinic that does not open within a year has no such hour; then the expiry alone counts.
    """
    if not is_over(expires, now):
        return False
    if since is None or hours.next_open(now) is None:
        return True
    return utc(since) <= utc(now) and hours.open_time(since, now) >= _ONE_OPEN_HOUR


def call_from(opens: datetime, asked: datetime | None, expires: datetime | None, zone: ZoneInfo) -> datetime:
    """Give from when staff call about a form that is not answered: three of the patient's days after it was asked.

    ``asked`` is when the Task was made, if that was later than ``opens``. At the latest when it expires.
    """
    since = opens if asked is None or utc(asked) < utc(opens) else asked
    due = UNANSWERED_AFTER.after(since, zone)
    return due if expires is None else min(due, expires, key=utc)
