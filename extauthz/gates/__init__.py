"""The three fail-open gates: each a pure `decide` and the thin part that looks up what it decides about."""
