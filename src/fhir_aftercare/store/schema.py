"""Tables, written once for SQLite and PostgreSQL. Each change here needs a migration; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import JSON, CheckConstraint, Column, DateTime, Index, MetaData, SmallInteger, String, Table
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


def _column(name: str, type_: Any, **more: Any) -> Column[Any]:
    return Column(name, type_, **{"nullable": False, **more})


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
