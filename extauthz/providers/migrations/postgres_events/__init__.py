"""Migrations of the tables of events in PostgreSQL."""
