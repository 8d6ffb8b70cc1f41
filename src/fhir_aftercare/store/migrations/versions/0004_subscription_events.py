"""How many events of each topic subscription have arrived: the table subscription_events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "subscription_events",
        sa.Column("clinic", sa.String(64), nullable=False),
        sa.Column("subscription", sa.String(80), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("last_told", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("clinic", "subscription", name="pk_subscription_events"),
    )


def downgrade() -> None:
    """Drop it: the next notification counts as a gap, and the clinic is swept once more."""
    op.drop_table("subscription_events")
