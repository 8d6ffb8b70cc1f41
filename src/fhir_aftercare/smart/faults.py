"""What can go wrong between this client and an EHR's authorization server; each joins the common tree.

    AftercareError
    ├── SmartFault                     base of this branch; its subclasses are raised, never itself
    │   ├── LaunchRefused              base of what ends a launch before a token was asked for
    │   │   ├── UnknownIssuer          iss is on no clinic's list                     403 / forbidden
    │   │   ├── MalformedCallback      parameters missing, twice or unreadable        400 / invalid
    │   │   ├── UnknownState           never issued here, or forgotten                400 / security
    │   │   ├── StateUsed              the launch was finished before                 409 / duplicate
    │   │   ├── LaunchExpired          longer than five minutes                       400 / expired
    │   │   ├── WrongSession           began in another browser session               403 / security
    │   │   ├── MixedUp                answered by another server than was asked      400 / security
    │   │   └── NotAuthorized          the EHR said no: ``error`` holds its code      403 / forbidden
    │   ├── UnsafeAddress              an address we send nothing to                  502 / security
    │   ├── DiscoveryFault             the EHR's configuration cannot be used         502 / structure
    │   ├── TokenMalformed             a token answer that breaks the rules           502 / structure
    │   ├── IdTokenRefused             the identity could not be proven               502 / security
    │   ├── ContextFault               launch context that cannot be used             502 / structure
    │   ├── SessionOver                no token any more: launch again                401 / expired
    │   ├── AnswerRefused              too large, a redirect, not JSON                502 / structure
    │   ├── KeyFault                   a key or key file cannot be used               500 / exception
    │   └── VaultFault                 stored text cannot be opened                   500 / exception
    ├── TokenRefused                   SmartFault + FhirUnauthorized: ``error``       502 / security
    ├── EhrUnreachable                 SmartFault + FhirUnreachable                   503 / transient
    └── EhrTimeout                     SmartFault + FhirUnreachable                   504 / timeout

The last three are also errors of the way to the FHIR server: without a token nothing was sent there, so whoever
repeats calls may treat them alike. No message holds a token, a code, a state, an id or an address's query.
"""

from __future__ import annotations

from typing import Any

from fhir_aftercare.errors import AftercareError, FhirUnauthorized, FhirUnreachable


class SmartFault(AftercareError):
    """Base of this branch."""

    code, status, issue = "smart", 502, "exception"
    default_remedy = "Look at the EHR's authorization server."


class LaunchRefused(SmartFault):
    """Base of what ends a launch before a token was asked for."""

    code, status, issue = "smart-launch", 400, "processing"
    default_remedy = "Open the app again from the chart."


class UnknownIssuer(LaunchRefused):
    """The EHR that launches is on no clinic's list; nothing was fetched from it."""

    code, status, issue = "smart-unknown-issuer", 403, "forbidden"
    default_remedy = "Register the EHR's FHIR base URL for the clinic, exactly as the EHR sends it in iss."


class MalformedCallback(LaunchRefused):
    """A launch or callback whose parameters are missing, given twice or unreadable."""

    code, status, issue = "smart-callback", 400, "invalid"


class UnknownState(LaunchRefused):
    """The state was never issued here, or so long ago that it is forgotten."""

    code, status, issue = "smart-state-unknown", 400, "security"


class StateUsed(LaunchRefused):
    """The launch was finished before (back button, reload). ``launch_id`` is given to the session that began it."""

    code, status, issue = "smart-state-used", 409, "duplicate"
    default_remedy = "Go on in the page that is open already, or open the app again from the chart."

    def __init__(self, message: str, *, launch_id: str | None = None) -> None:
        super().__init__(message)
        self.launch_id = launch_id


class LaunchExpired(LaunchRefused):
    """The sign-in took longer than a launch may live."""

    code, status, issue = "smart-launch-expired", 400, "expired"


class WrongSession(LaunchRefused):
    """The callback came without the session that began the launch, or with another one."""

    code, status, issue = "smart-session", 403, "security"
    default_remedy = "Allow cookies for this app, or open it in a window of its own, and launch again."


class MixedUp(LaunchRefused):
    """The answer names another authorization server than the one that was asked (RFC 9207)."""

    code, status, issue = "smart-mixed-up", 400, "security"


class NotAuthorized(LaunchRefused):
    """The authorization server answered with an error; ``error`` is its code if it is a known one."""

    code, status, issue = "smart-not-authorized", 403, "forbidden"

    def __init__(self, message: str, *, error: str, remedy: str | None = None) -> None:
        super().__init__(message, where="error", remedy=remedy)
        self.error = error


class UnsafeAddress(SmartFault):
    """An address nothing is sent to: not https, another origin, a private host, a user in it."""

    code, status, issue = "smart-address", 502, "security"
    default_remedy = "Correct the address in the EHR's configuration or in the clinic's registration."


class DiscoveryFault(SmartFault):
    """The EHR's SMART or OpenID configuration cannot be used; ``where`` names the member."""

    code, status, issue = "smart-discovery", 502, "structure"
    default_remedy = "Compare the EHR's .well-known/smart-configuration with SMART App Launch 2.2."


class TokenMalformed(SmartFault):
    """The token endpoint's answer breaks RFC 6749 or SMART; ``where`` names the member."""

    code, status, issue = "smart-token", 502, "structure"
    default_remedy = "Report the named member to the EHR's operator."


class IdTokenRefused(SmartFault):
    """The id_token does not prove who signed in; ``where`` names the claim or header."""

    code, status, issue = "smart-id-token", 502, "security"
    default_remedy = "Launch again; if it stays, compare the pinned issuer and the client id with the EHR's."


class ContextFault(SmartFault):
    """The launch context cannot be used; ``where`` names the parameter."""

    code, status, issue = "smart-context", 502, "structure"
    default_remedy = (
        "Open the app from a patient's chart; if it stays, report the named parameter to the EHR's operator."
    )


class SessionOver(SmartFault):
    """There is no usable token any more, and none can be had without the user."""

    code, status, issue = "smart-session-over", 401, "expired"
    default_remedy = "Open the app again from the chart."


class AnswerRefused(SmartFault):
    """An answer that is not read: too large, packed, a redirect, or not one JSON object."""

    code, status, issue = "smart-answer", 502, "structure"


class KeyFault(SmartFault):
    """A signing key or key file cannot be used."""

    code, status, issue = "smart-key", 500, "exception"
    default_remedy = "Make a key file with `fhir-aftercare keys new` and let only the service read it."


class VaultFault(SmartFault):
    """Stored text cannot be opened: its key is not among those given, or it was changed or moved."""

    code, status, issue = "smart-vault", 500, "exception"
    default_remedy = "Give the key it was sealed with as well; without it, users launch again."


class TokenRefused(SmartFault, FhirUnauthorized):
    """The token endpoint refused; ``error`` is its RFC 6749 code if it is a known one."""

    code, status, issue = "smart-token-refused", 502, "security"
    default_remedy = "Compare client id, keys, redirect URI and scopes with the registration at the EHR."

    def __init__(self, message: str, *, error: str, **more: Any) -> None:
        super().__init__(message, **more)
        self.error = error


class EhrUnreachable(SmartFault, FhirUnreachable):
    """No connection, or the server failed: it may be asked again."""

    code, status, issue = "smart-unreachable", 503, "transient"
    default_remedy = "Check that the EHR is up and reachable, then repeat."


class EhrTimeout(SmartFault, FhirUnreachable):
    """No whole answer in time; whether the request was acted on is unknown."""

    code, status, issue = "smart-timeout", 504, "timeout"
    default_remedy = "Check the EHR's response times, then repeat."
