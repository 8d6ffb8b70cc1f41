"""What a FHIR server that notifies us can do wrong; this joins the tree of ``fhir_aftercare.errors``.

AftercareError
└── HookFault                   the base
    ├── SecretRefused           the secret or the signature is not ours    401 / login
    ├── HookTooLarge            the body is larger than the limit          413 / too-long
    ├── HookUnsupported         not JSON by its content type, or packed    415 / not-supported
    ├── HookMalformed           not JSON, or not what was to be told       400 / structure
    ├── HookLate                not stored in time                         503 / transient
    └── HookClosed              this process takes none                    503 / transient
"""

from __future__ import annotations

from fhir_aftercare.errors import AftercareError


class HookFault(AftercareError):
    """Base of this branch; its subclasses are raised, never itself."""

    code, status, issue = "hook-fault", 400, "processing"


class SecretRefused(HookFault):
    """The notification does not carry the secret, or is not signed with it."""

    code, status, issue = "hook-unauthenticated", 401, "login"
    default_remedy = "Make the Subscription again with `fhir-aftercare subscribe`, which sends the clinic's secret."


class HookTooLarge(HookFault):
    """The notification is larger than the limit."""

    code, status, issue = "hook-too-large", 413, "too-long"
    default_remedy = "Subscribe to ids only; nothing else of a notification is read."


class HookUnsupported(HookFault):
    """The notification is not JSON by its content type, or comes packed."""

    code, status, issue = "hook-unsupported", 415, "not-supported"
    default_remedy = "Set Subscription.channel.payload to application/fhir+json."


class HookMalformed(HookFault):
    """The notification is not FHIR JSON, or not one of those sent to this address."""

    code, status, issue = "hook-malformed", 400, "structure"
    default_remedy = "Check the Subscription's endpoint, and what stands between the FHIR server and this service."


class HookLate(HookFault):
    """The notification was not stored in time: it must be sent again."""

    code, status, issue = "hook-late", 503, "transient"
    default_remedy = "Send it again; check the database named by AFTERCARE_DATABASE_URL if this goes on."


class HookClosed(HookFault):
    """This process takes no notifications: another one may."""

    code, status, issue = "hook-closed", 503, "transient"
    default_remedy = (
        "Have notifications sent to a process that does the durable work: AFTERCARE_WORK is not false there."
    )
