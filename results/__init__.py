"""The results that are published with the package, for each experiment and seed; see README.md here."""
