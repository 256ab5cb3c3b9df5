"""Migrations of the database of events."""
