"""The files of a run folder, and the process that writes them."""
