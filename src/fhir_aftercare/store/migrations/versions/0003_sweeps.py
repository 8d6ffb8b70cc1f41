"""How far each sweep of a clinic has come: the table sweeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "sweeps",
        sa.Column("clinic", sa.String(64), nullable=False),
        sa.Column("sweep", sa.String(32), nullable=False),
        sa.Column("watermark", sa.DateTime(timezone=True), nullable=True),
        sa.Column("newest", sa.DateTime(timezone=True), nullable=True),
        sa.Column("witness", sa.String(160), nullable=True),
        sa.Column("last_started", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_finished", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(64), nullable=True),
        sa.Column("told", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("clinic", "sweep", name="pk_sweeps"),
    )


def downgrade() -> None:
    """Drop it: the next sweeps look back as far as they may, and find everything known."""
    op.drop_table("sweeps")
