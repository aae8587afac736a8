"""The inner optimizers: how θt becomes θt+1.

To add one: write one file here with a dataclass derived from `InnerOptimizer`, and one YAML in
`conf/inner_optimizer/`. It defines the same step twice: in `build` for ordinary training, and in `update` as
a function that gradients can cross; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from dataset_distillation.errors import at_least, chosen_by_name

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    #: The optimizer's state of one weight: tensors of the weight's shape.
    State = tuple[Tensor, ...]


STEP = 1024  # bytes of the objects of one step, without the numbers in them: three tensors


class Step(NamedTuple):
    """One inner step: images (n, channels, height, width), labels (n,) or (n, outputs), a learning rate."""

    images: Tensor
    labels: Tensor
    learning_rate: Tensor


@dataclass(frozen=True)
class MadeSteps(Sequence[Step]):
    """The steps whose numbers are in `numbers`; `make` makes one each time it is asked for, always alike."""

    make: Callable[[int], Step]
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Step]:
        """Make one after the other; that of Sequence takes an IndexError of `make` for the end."""
        return map(self.make, self.numbers)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> MadeSteps: ...
    def __getitem__(self, index: int | slice) -> Step | MadeSteps:
        if isinstance(index, slice):
            return replace(self, numbers=self.numbers[index])
        return self.make(self.numbers[index])


@dataclass
class InnerOptimizer:
    """The optimizer of the network; its learning rate comes from the distilled data, step by step.

    weight_decay: this times the weights is added to their gradient, as in torch.optim; 0 or more.

    Raises ConfigError if a value is not allowed.
    """

    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        at_least("inner_optimizer.weight_decay", self.weight_decay, 0)

    def build(self, parameters: Iterable[Any]) -> torch.optim.Optimizer:
        """Return the torch optimizer of `parameters`, or groups of them; each step sets its learning rate."""
        raise NotImplementedError

    def state(self, weight: Tensor) -> State:
        """Return the state of `weight` before the first step."""
        return ()

    def update(
        self, weight: Tensor, gradient: Tensor, state: State, learning_rate: Tensor, t: int
    ) -> tuple[Tensor, State]:
        """Return one weight and its state after step number `t` (from 1; a scalar tensor in a trace).

        The step is elementwise, out of place, and differentiable in all tensors. The rate is a scalar, or has
        a shape that broadcasts against the weight.
        """
        raise NotImplementedError

    def _decayed(self, weight: Tensor, gradient: Tensor) -> Tensor:
        return gradient + self.weight_decay * weight if self.weight_decay else gradient


def by_name(name: str, options: Mapping[str, Any]) -> InnerOptimizer:
    """Return the inner optimizer of the file `name`. Raises ValueError if there is none with such options."""
    return chosen_by_name(__name__, __path__, InnerOptimizer, name, options)
