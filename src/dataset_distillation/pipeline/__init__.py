"""The road from a dataset to a report."""
