"""Whether a notification comes from the clinic's FHIR server: it carries the secret, or is signed with it.

All secrets in use are compared, each in constant time, so that an answer's delay tells nothing of them. A notification
that is recorded and sent again is accepted: it only says where to look, and what is known is no new work (design §2.2).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from fhir_aftercare.intake.hook_faults import SecretRefused
from fhir_aftercare.intake.settings import header_value

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from fhir_aftercare.intake.settings import SubscriptionSettings

SIGNATURE: Final = "X-Hub-Signature"
_METHOD: Final = "sha256="


def check_header(settings: SubscriptionSettings, headers: Headers) -> None:
    """Raise ``SecretRefused`` unless the header holds one of the secrets, once."""
    given = headers.getlist(settings.header)
    expected = [header_value(settings.header, secret) for secret in settings.secrets]
    if not _any_equal(given[0] if len(given) == 1 else "", expected):
        raise SecretRefused("The notification does not carry the clinic's secret.", where=settings.header)


def check_signature(settings: SubscriptionSettings, headers: Headers, body: bytes) -> None:
    """Raise ``SecretRefused`` unless ``X-Hub-Signature`` is ``sha256=`` and the HMAC of the body as it was received.

    integration §2.3; hexadecimal digits in either case.
    """
    given = headers.getlist(SIGNATURE)
    method, digest = (given[0][: len(_METHOD)], given[0][len(_METHOD) :]) if len(given) == 1 else ("", "")
    expected = [hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() for secret in settings.secrets]
    if not _any_equal(digest.lower() if method == _METHOD else "", expected):
        raise SecretRefused("The notification is not signed with the clinic's secret.", where=SIGNATURE)


def _any_equal(given: str, expected: list[str]) -> bool:
    # As hashes of one length, and without stopping at the first that fits.
    ours = hashlib.sha256(given.encode()).digest()
    return any([hmac.compare_digest(ours, hashlib.sha256(each.encode()).digest()) for each in expected])  # noqa: C419
