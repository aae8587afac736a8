"""Distilled sets in the files of other projects: read into our artifact, and written from it."""
