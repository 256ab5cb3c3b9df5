"""Alembic's environment: runs the migrations on the connection, and in the transaction, of the one who asks."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
