"""Alembic's environment and, in a directory per schema, the migrations. Found beside this file; there is no `alembic.ini`."""
