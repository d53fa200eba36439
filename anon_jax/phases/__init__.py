"""The phases of a run, in order; each one trains or measures one thing and can be resumed."""
