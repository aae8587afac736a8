"""Networks that the distillation never saw judge the distilled data, and what it must beat.

To add a baseline: its name here, and its function in `baselines.py`.
"""

#: What `evaluation.baselines=all` stands for, the cheap ones first: their rows are there while others run.
#: closed_form, of linear regression, is another world.
BASELINES = (
    "random_real",
    "average_real",
    "herding",
    "k_center",
    "k_means",
    "optimized_real",
    "nearest_neighbour_random_real",
    "nearest_neighbour_k_means",
    "full_training",
)
