"""Run configurations: `base.py` has every field, each other file says what differs from it."""
