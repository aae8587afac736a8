"""Networks that the distillation never saw judge the distilled data, and what it must beat."""
