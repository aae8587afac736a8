"""Measurements; a package, since a dependency may install another of this name."""
