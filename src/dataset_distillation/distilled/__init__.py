"""The distilled data: x̃ and η̃."""
