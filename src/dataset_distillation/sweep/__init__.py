"""Multiruns and the state of their jobs."""
