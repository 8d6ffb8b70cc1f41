"""Tables, written once for SQLite and PostgreSQL. Each change here needs a migration; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

from fhir_aftercare.errors import MissingZone

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """An instant: aware when written, aware in UTC when read, on both databases. A time without zone is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give what the driver stores: UTC, without zone where the database knows none."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise MissingZone("A time to be stored has no zone.")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give the instant in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _column(name: str, type_: Any, *more: Any, **named: Any) -> Column[Any]:
    return Column(name, type_, *more, **{"nullable": False, **named})


# ``id`` is a hash of client, route and key: what a caller chose as a key is not kept. ``fingerprint`` is a hash of the
# address and the body. ``written`` are references such as "CarePlan/12"; the answer is never kept (design §9.13).
idempotency_keys: Final = Table(
    "idempotency_keys",
    metadata,
    _column("id", String(64), primary_key=True),
    _column("fingerprint", String(64)),
    _column("state", String(8)),
    _column("owner", String(32)),
    _column("lease_until", UtcTime()),
    _column("expires_at", UtcTime()),
    _column("status", SmallInteger, nullable=True),
    _column("written", JSON),
    CheckConstraint("state IN ('running', 'failed', 'done')", name="state"),
    Index(None, "expires_at"),
)

# How far each sweep of a clinic has come, and how it went. ``watermark`` and ``newest`` are instants of the FHIR
# server's clock; ``witness`` is a reference such as "Encounter/12"; ``told`` names the incident that was told of.
sweeps: Final = Table(
    "sweeps",
    metadata,
    _column("clinic", String(64), primary_key=True),
    _column("sweep", String(32), primary_key=True),
    _column("watermark", UtcTime(), nullable=True),
    _column("newest", UtcTime(), nullable=True),
    _column("witness", String(160), nullable=True),
    _column("last_started", UtcTime(), nullable=True),
    _column("last_finished", UtcTime(), nullable=True),
    _column("last_error", String(64), nullable=True),
    _column("told", String(64), nullable=True),
)

# How many events of a topic subscription have arrived: ``subscription`` is a reference such as "Subscription/12".
subscription_events: Final = Table(
    "subscription_events",
    metadata,
    _column("clinic", String(64), primary_key=True),
    _column("subscription", String(80), primary_key=True),
    _column("number", BigInteger),
    _column("last_told", UtcTime()),
)

# Launches under way. ``state`` is a digest; ``sealed`` holds what the callback needs, the PKCE verifier among it.
launches: Final = Table(
    "launches",
    metadata,
    _column("state", String(64), primary_key=True),
    _column("clinic", String(64)),
    _column("sealed", Text),
    _column("used", Boolean),
    _column("began_at", UtcTime()),
    Index(None, "began_at"),
)

# Browsers that launched. ``id`` never leaves the service. ``clinic`` is the one launched last; ``generation`` counts
# the values that its cookie has had.
browsers: Final = Table(
    "browsers",
    metadata,
    _column("id", String(64), primary_key=True),
    _column("clinic", String(64)),
    _column("generation", Integer),
    _column("seen_at", UtcTime()),
    Index(None, "seen_at"),
)

# The values that open something, as digests: the newest, and those before it until the newest has come back once.
browser_cookies: Final = Table(
    "browser_cookies",
    metadata,
    _column("cookie", String(64), primary_key=True),
    _column("browser", String(64), ForeignKey("browsers.id", ondelete="CASCADE")),
    _column("generation", Integer),
    Index(None, "browser"),
)

# Finished launches. ``sealed`` holds the tokens and the context, encrypted; ``browser`` and ``handle`` are digests.
# Cookies of ``generation`` and later open it.
launch_sessions: Final = Table(
    "launch_sessions",
    metadata,
    _column("launch_id", String(64), primary_key=True),
    _column("clinic", String(64)),
    _column("browser", String(64), nullable=True),
    _column("generation", Integer, nullable=True),
    _column("handle", String(64), nullable=True),
    _column("sealed", Text),
    _column("began_at", UtcTime()),
    _column("seen_at", UtcTime()),
    Index(None, "browser"),
    Index(None, "clinic", "seen_at"),
)

# Who works on a launch's tokens just now, in whichever process. A holder that dies leaves a lease that ends by itself.
launch_locks: Final = Table(
    "launch_locks",
    metadata,
    _column("launch_id", String(64), primary_key=True),
    _column("owner", String(32)),
    _column("until", UtcTime()),
)
