"""What holds for every test."""

from hypothesis import settings

# How long one example takes says something of the machine and what else it does, not of the code.
settings.register_profile("no-time", deadline=None)
settings.load_profile("no-time")
