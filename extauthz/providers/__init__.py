"""Backends behind the ports, one file or family of files per driver. Import the one you need: none is imported from here."""
