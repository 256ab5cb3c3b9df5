"""Migrations of the tables of tenants, plans, keys and changes in PostgreSQL."""
