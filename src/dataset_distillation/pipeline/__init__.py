"""The steps from a dataset to a report."""
