"""Alembic's entry: runs the migrations on the connection ``Database`` hands over, in its one transaction."""

from __future__ import annotations

from alembic import context

from fhir_aftercare.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
