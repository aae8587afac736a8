"""Every file of a run folder, and the process that writes it."""
