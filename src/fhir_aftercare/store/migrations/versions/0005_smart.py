"""Launches, browsers and sealed tokens: the tables behind the pages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "launches",
        sa.Column("state", sa.String(64), nullable=False),
        sa.Column("clinic", sa.String(64), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("state", name="pk_launches"),
    )
    op.create_index("ix_launches_began_at", "launches", ["began_at"])
    op.create_table(
        "browsers",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("clinic", sa.String(64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_browsers"),
    )
    op.create_index("ix_browsers_seen_at", "browsers", ["seen_at"])
    op.create_table(
        "browser_cookies",
        sa.Column("cookie", sa.String(64), nullable=False),
        sa.Column("browser", sa.String(64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["browser"], ["browsers.id"], name="fk_browser_cookies_browser_browsers", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("cookie", name="pk_browser_cookies"),
    )
    op.create_index("ix_browser_cookies_browser", "browser_cookies", ["browser"])
    op.create_table(
        "launch_sessions",
        sa.Column("launch_id", sa.String(64), nullable=False),
        sa.Column("clinic", sa.String(64), nullable=False),
        sa.Column("browser", sa.String(64), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("handle", sa.String(64), nullable=True),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("launch_id", name="pk_launch_sessions"),
    )
    op.create_index("ix_launch_sessions_browser", "launch_sessions", ["browser"])
    op.create_index("ix_launch_sessions_clinic_seen_at", "launch_sessions", ["clinic", "seen_at"])
    op.create_table(
        "launch_locks",
        sa.Column("launch_id", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("launch_id", name="pk_launch_locks"),
    )


def downgrade() -> None:
    """Drop them: people launch again. Tokens that are not revoked before run out by themselves."""
    for table in ("launch_locks", "launch_sessions", "browser_cookies", "browsers", "launches"):
        op.drop_table(table)
