"""Alembic's environment: runs the migrations on the connection, and in the transaction, of the one who asks."""

from alembic import context

attributes = context.config.attributes
context.configure(connection=attributes["connection"], **attributes["options"])
context.run_migrations()
