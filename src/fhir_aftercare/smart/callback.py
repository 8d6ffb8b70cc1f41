"""What an authorization server may send back to the redirect URI, read strictly. Nothing of it is sent on anywhere.

Codes, states and descriptions are never put in a message (integration §1.1 rows 7 to 10).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fhir_aftercare.smart.faults import MalformedCallback, MixedUp, NotAuthorized
from fhir_aftercare.smart.registration import same_base

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fhir_aftercare.smart.discovery import SmartConfiguration

_MEANT: Final = ("state", "code", "error", "error_description", "error_uri", "iss")
_STATE: Final = re.compile(r"[A-Za-z0-9_-]{22,128}")
_CODE: Final = re.compile(r"[\x21-\x7e]{1,8192}")
_AGAIN: Final = "Open the app again from the chart."
# RFC 6749 §4.1.2.1 and OpenID Connect Core §3.1.2.6: what happened, and how to mend it.
_ERRORS: Final = {
    "access_denied": ("access was denied", "Open the app again and allow access, or ask who administers the EHR."),
    "invalid_request": ("the request was refused", "Compare redirect URI and client id with the registration."),
    "unauthorized_client": ("this app may not be launched", "Allow the app in the EHR's registration."),
    "unsupported_response_type": ("codes are not supported", "Ask the EHR's operator for the code grant."),
    "invalid_scope": ("the scopes were refused", "Register the clinic's scopes at the EHR, or ask for fewer."),
    "server_error": ("the EHR's authorization server failed", _AGAIN),
    "temporarily_unavailable": ("the EHR's authorization server is busy", "Wait a moment, then open the app again."),
    "interaction_required": ("the user must act", _AGAIN),
    "login_required": ("nobody is signed in to the EHR", "Sign in to the EHR, then open the app again."),
    "account_selection_required": ("an account must be chosen", _AGAIN),
    "consent_required": ("consent is needed", "Open the app again and allow access."),
}


def once(parameters: Iterable[tuple[str, str]], names: Iterable[str]) -> dict[str, str]:
    """Give the named parameters. Raises ``MalformedCallback`` if one is given twice: each reader may take another."""
    meant = frozenset(names)
    given: dict[str, str] = {}
    for name, value in parameters:
        if name in meant:
            if name in given:
                raise MalformedCallback(f"{name} is given twice.", where=name)
            given[name] = value
    return given


def read(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Give the callback's parameters, a well-formed state among them. Raises ``MalformedCallback``."""
    given = once(parameters, _MEANT)
    if not _STATE.fullmatch(given.get("state", "")):
        raise MalformedCallback("The callback holds no state of this service.", where="state")
    return given


def check_server(given: dict[str, str], configuration: SmartConfiguration) -> None:
    """Check who answered (RFC 9207). Raises ``MixedUp`` if it was another server than the one asked, or none is named
    by a server that promises to name itself.
    """
    named = given.get("iss")
    if named is None:
        if configuration.names_itself:
            raise MixedUp("The answer does not say which server it is from, though the EHR promises that.", where="iss")
        return
    expected = configuration.issuer
    if named != expected if expected is not None else not same_base(named, configuration.iss):
        # Without a known issuer the EHR can only be believed if it names its FHIR base.
        remedy = None if expected is not None else "If the EHR names no issuer, pin its openid_issuer."
        raise MixedUp("The answer is from another server than the one that was asked.", where="iss", remedy=remedy)


def code_of(given: dict[str, str]) -> str:
    """Give the authorization code. Raises ``NotAuthorized`` for an error answer, ``MalformedCallback`` for neither."""
    if "error" in given:
        error = given["error"] if given["error"] in _ERRORS else "unknown"
        said, remedy = _ERRORS.get(error, ("the EHR's authorization server refused", _AGAIN))
        raise NotAuthorized(f"The launch ended: {said}.", error=error, remedy=remedy)
    if not _CODE.fullmatch(given.get("code", "")):
        raise MalformedCallback("The callback holds neither a code nor an error.", where="code")
    return given["code"]
