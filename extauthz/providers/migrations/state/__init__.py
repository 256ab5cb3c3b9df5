"""Migrations of the database of tenants, plans and keys."""
