"""What the pretend EHR does wrong, or otherwise than usual, on demand: the switches of the start page and of tests.

Only the values are kept here; the parts of the EHR look at them as they work.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.sandbox.ehr import scopes

if TYPE_CHECKING:
    from collections.abc import Mapping

# RFC 6749 §4.1.2.1 and OpenID Connect Core §3.1.2.6.
AUTHORIZE_ERRORS: Final = (
    "access_denied",
    "invalid_request",
    "unauthorized_client",
    "unsupported_response_type",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "interaction_required",
    "login_required",
    "account_selection_required",
    "consent_required",
)
# RFC 6749 §5.2, and what a server says that fails; with the HTTP status each has.
TOKEN_ERRORS: Final = {
    "invalid_request": 400,
    "invalid_client": 401,
    "invalid_grant": 400,
    "unauthorized_client": 400,
    "unsupported_grant_type": 400,
    "invalid_scope": 400,
    "server_error": 500,
    "temporarily_unavailable": 503,
}
CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "authorize_error": ("", *AUTHORIZE_ERRORS),
    "token_error": ("", *TOKEN_ERRORS),
    "scope_version": ("both", "v1", "v2"),
    "fhir_user": ("absolute", "relative"),
}
LONGEST_PAUSE: Final = 60.0
_LONGEST_LIFE: Final = 24 * 3600


@dataclass(slots=True)
class Faults:
    """The switches, all off. Set them from a test as attributes, from outside with ``set``.

    ``authorize_error`` and ``token_error`` are answered to every request there. ``unauthorized_once`` answers the next
    FHIR call with 401 and switches itself off. ``slow_seconds`` delays token endpoint and FHIR. ``wrong_iss`` and
    ``wrong_nonce`` falsify the id_token, ``wrong_callback_iss`` the ``iss`` beside the code. ``token_life`` is in
    seconds. ``withheld`` are scopes that are not granted though asked for. ``scope_version`` and ``fhir_user`` say
    which syntax is taken, and how the claim is written.
    """

    authorize_error: str = ""
    token_error: str = ""
    unauthorized_once: bool = False
    slow_seconds: float = 0.0
    no_id_token: bool = False
    wrong_nonce: bool = False
    wrong_iss: bool = False
    wrong_callback_iss: bool = False
    token_life: int = 3600
    withheld: str = ""
    scope_version: str = "both"
    fhir_user: str = "absolute"

    def as_json(self) -> dict[str, Any]:
        """Give all switches."""
        return asdict(self)

    def reset(self) -> None:
        """Switch everything off."""
        self._take(Faults())

    def set(self, changes: Mapping[str, Any]) -> None:
        """Change some switches, or none if one of the changes is impossible. Raises ``InvalidInput`` naming it."""
        known = {field.name for field in fields(self)}
        strange = sorted(set(changes) - known)
        if strange:
            raise InvalidInput("There is no such switch.", where=strange[0][:40])
        new = Faults(**{**asdict(self), **changes})
        for name, value in asdict(new).items():
            _check(name, value, getattr(Faults(), name))
        self._take(new)

    def _take(self, other: Faults) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))


def _check(name: str, value: object, usual: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = number if isinstance(usual, float) else type(value) is type(usual)
    if fits and name in CHOICES:
        fits = value in CHOICES[name]
    if fits and name == "slow_seconds":
        fits = 0 <= value <= LONGEST_PAUSE  # type: ignore[operator]
    if fits and name == "token_life":
        fits = 1 <= value <= _LONGEST_LIFE  # type: ignore[operator]
    if fits and name == "withheld" and str(value).strip():
        try:
            scopes.parse(" ".join(str(value).split()))
        except ValueError:
            fits = False
    if not fits:
        raise InvalidInput("The switch cannot have this value.", where=name)
