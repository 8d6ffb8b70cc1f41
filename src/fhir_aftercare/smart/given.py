"""Which token a call was given last, so that a call answered with 401 says which one was refused.

A provider is shared by many calls at once: without this, each call that was refused with an old token would throw
away the new one that another call has just got.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

# One place for all: a call uses one provider (design §9.8: never two tokens in one decision).
_LAST: Final[ContextVar[tuple[object, str] | None]] = ContextVar("token given last", default=None)


def note(provider: object, token: str) -> str:
    """Remember for the running task, and those it starts, that the provider gave this token; and give the token."""
    _LAST.set((provider, token))
    return token


def last(provider: object) -> str | None:
    """Give what the provider gave last here, None if nothing."""
    noted = _LAST.get()
    return noted[1] if noted is not None and noted[0] is provider else None
