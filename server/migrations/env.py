"""Alembic's way into the ledger: the caller's connection, and the metadata of the `inbox_*` tables."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    include_name=lambda name, kind, _parents: kind != "table" or (name or "").startswith("inbox_"),
)
with context.begin_transaction():
    context.run_migrations()
