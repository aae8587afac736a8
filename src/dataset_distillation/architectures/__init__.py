"""Network architectures: one file per network.

To add an architecture: write one file here with a dataclass derived from `Architecture`, and one YAML in
`conf/architecture/` whose first default is `/schema/architecture/<file name>@_here_`. The files import torch
inside `build`, so that `distill --help` need not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from dataset_distillation.datasets.data import Specification
from dataset_distillation.errors import UserError, chosen_by_name, member, refuse

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


#: The weights of one network by parameter name. The weights of several networks can be stacked in one such
#: dict, along a first dimension.
Weights = dict[str, "Tensor"]

if TYPE_CHECKING:
    BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


class WeightScheme(StrEnum):
    """How θ0 is drawn; own: as `build` draws it."""

    xavier = "xavier"
    kaiming = "kaiming"
    orthogonal = "orthogonal"
    own = "own"


@dataclass
class Architecture:
    """The options that every network has; an architecture derives from this class and implements `build`.

    weights: how θ0 is drawn: `xavier` (the paper's), `kaiming`, `orthogonal`, or `own`: as `build` draws it;
        see `draw`.

    Raises ConfigError if a value is not allowed.
    """

    weights: WeightScheme = WeightScheme.xavier

    def __post_init__(self) -> None:
        self.weights = member("architecture.weights", self.weights, WeightScheme)

    @property
    def linear(self) -> bool:
        """Whether the outputs are linear in the pixels, without a bias."""
        return False

    def check(self, shape: tuple[int, int, int]) -> None:
        """Raise ConfigError if images of `shape` (channels, height, width) do not fit this network."""

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return a network from images (n, channels, height, width) to logits (n, classes)."""
        raise NotImplementedError

    def number_of_weights(self, shape: tuple[int, int, int], classes: int) -> int:
        """Return the number of weights of the network that `build` would return, without allocating them."""
        import torch

        with torch.device("meta"):
            return sum(weight.numel() for weight in self.build(shape, classes).parameters())

    def modules(self, network: nn.Module) -> set[str]:
        """Return the names of the Python modules that define `network` and its parts, except torch's."""
        names = {type(part).__module__ for part in network.modules()}
        return {name for name in names if name.partition(".")[0] != "torch"}

    def draw(self, network: nn.Module, generator: torch.Generator, specification: Specification) -> Weights:
        """Return a sample of p(θ0), on the CPU, by the scheme `weights`; it depends on the generator alone.

        xavier: normal with variance 2 / (fan in + fan out) (Glorot & Bengio 2010); kaiming: normal with
        variance 2 / fan in (He et al. 2015); orthogonal: Saxe et al. 2014. Each draws the tensors with two or
        more dimensions that are not the scales of a norm; biases are 0, the slopes of a PReLU as they are
        built, and all others are 1. own: `build` draws.
        """
        from torch import nn

        if self.weights == "own":
            network = self.rebuilt(generator, specification)
            return {name: tensor.detach() for name, tensor in network.named_parameters()}
        norms = _norms(network)
        drawn = {
            name: self._drawn(name, parameter, generator, name.rpartition(".")[0] in norms)
            for name, parameter in network.named_parameters()
        }
        for name, module in network.named_modules():
            if isinstance(module, nn.PReLU):  # at a slope of 1 it would be no activation
                drawn[f"{name}.weight".removeprefix(".")].fill_(module.init)
        return drawn

    def _drawn(self, name: str, like: Tensor, generator: torch.Generator, norm: bool) -> Tensor:
        import torch
        from torch.nn import init

        tensor = torch.empty_like(like, device="cpu", requires_grad=False)
        if like.ndim < 2 or norm:
            return tensor.fill_(0 if name.endswith("bias") else 1)
        if self.weights == "xavier":
            return init.xavier_normal_(tensor, generator=generator)
        if self.weights == "kaiming":
            return init.kaiming_normal_(tensor, nonlinearity="relu", generator=generator)
        return init.orthogonal_(tensor, generator=generator)

    def rebuilt(self, generator: torch.Generator, specification: Specification) -> nn.Module:
        """Return a network built from the seed of `generator`; the global generator is left unchanged."""
        import torch

        # torch.manual_seed would seed the accelerators, too, and nothing would restore them.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(generator.initial_seed())
            return self.build(specification.shape, specification.classes)


def by_name(name: str, options: Mapping[str, Any]) -> Architecture:
    """Return the architecture of the file `name`. Raises ValueError if there is none with such options."""
    return chosen_by_name(__name__, __path__, Architecture, name, options)


def batch_norms() -> tuple[type[BatchNorm], ...]:
    """The classes of torch whose outputs for one image depend on the other images."""
    from torch import nn

    return nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm


def instance_norms() -> tuple[type[nn.Module], ...]:
    """The classes of torch that normalize each image by itself."""
    from torch import nn

    return nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d


def _norms(network: nn.Module) -> set[str]:
    """The names of the modules whose `weight` is a scale."""
    from torch import nn

    kinds = (*batch_norms(), *instance_norms(), nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
    return {name for name, module in network.named_modules() if isinstance(module, kinds)}


def stateless(network: nn.Module) -> nn.Module:
    """Make `network` a function of weights and images alone, which an unroll needs, and return it.

    BatchNorm uses the statistics of each batch, and InstanceNorm those of each image (running statistics
    would be a state beside the weights that no gradient crosses; tests may set those of BatchNorm, see
    networks/batch_norm.py), and dropout is off, as in the paper.
    """
    from torch import nn
    from torchvision.ops import StochasticDepth

    dropouts = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    for module in network.modules():
        if isinstance(module, (*batch_norms(), *instance_norms())):
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(module, name, None)
            module.track_running_stats = False  # type: ignore[assignment]
        elif isinstance(module, (*dropouts, StochasticDepth)):
            module.p = 0.0
    return network.eval()  # for dropout that is a function, too


def changes(network: nn.Module) -> list[str]:
    """Return what `stateless` has changed in `network`, for its author."""
    kinds = [type(module) for module in network.modules()]
    told = []
    if norms := sum(issubclass(kind, batch_norms()) for kind in kinds):
        use = "in training the statistics of each batch, in tests those of the images it was trained on"
        told.append(f"BatchNorm ({_layers(norms)}) uses {use}")
    if dropouts := sum("Dropout" in kind.__name__ or kind.__name__ == "StochasticDepth" for kind in kinds):
        told.append(f"dropout ({_layers(dropouts)}) is off")
    return told


def _layers(number: int) -> str:
    return f"{number} layer" + "s" * (number != 1)


def ends_in_softmax(network: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Whether the outputs for images of `shape` are probabilities: positive, with the sum 1.

    A log-softmax does no harm: the cross-entropy of its outputs is that of its inputs.
    """
    import torch

    outputs = _outputs(network, shape)
    sums = outputs.sum(1)
    return outputs.shape[1] > 1 and bool(outputs.min() >= 0) and torch.allclose(sums, torch.ones_like(sums))


def is_random(network: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Whether the outputs for the same images of `shape` differ from call to call."""
    return not _outputs(network, shape).equal(_outputs(network, shape))


def _outputs(network: nn.Module, shape: tuple[int, int, int]) -> Tensor:
    """The outputs for two images of `shape`."""
    import torch

    like = next(network.parameters())
    images = torch.linspace(-2, 2, 2 * shape[0] * shape[1] * shape[2]).view(2, *shape).to(like)
    with torch.no_grad():
        outputs: Tensor = network(images)
    return outputs


def check_trained(name: str, network: nn.Module) -> None:
    """Raise UserError unless the network has parameters, and not all of them are frozen."""
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError(f"{name}: no parameter that is not frozen: there is nothing to train")


def check_logits(name: str, logits: object, classes: int) -> None:
    """Raise UserError unless `logits`, the output of `name` for 2 images, are a tensor (2, classes)."""
    from torch import Tensor

    actual = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if actual != (2, classes):
        raise UserError(f"{name}: logits of 2 images have shape {actual}: must be (2, {classes})")


def square(name: str, shape: tuple[int, int, int], sizes: list[int]) -> None:
    """Raise ConfigError unless images of `shape` have one of the `sizes` that network `name` accepts."""
    if shape[1] not in sizes:
        allowed = " or ".join(f"{size}×{size}" for size in sizes)
        raise refuse(
            "dataset.image_size",
            shape[1],
            f"architecture={name} needs images of {allowed}",
            f"set dataset.image_size={sizes[-1]} or choose another, for example architecture=convnet",
        )
