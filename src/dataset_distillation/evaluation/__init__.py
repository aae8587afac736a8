"""Networks that the distillation never saw judge the distilled data and the baselines."""
