"""Networks: shapes, sizes, the distribution of θ0, and a gradient of a gradient that is right."""

from __future__ import annotations

import dataclasses
import math
import pkgutil
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from omegaconf import OmegaConf

from dataset_distillation import architectures, datasets
from dataset_distillation.architectures import Architecture, WeightScheme, stateless
from dataset_distillation.architectures.alexcifarnet import AlexCifarNet
from dataset_distillation.architectures.alexnet import AlexNet
from dataset_distillation.architectures.alexnet32 import AlexNet32
from dataset_distillation.architectures.convnet import ConvNet
from dataset_distillation.architectures.given import Given
from dataset_distillation.architectures.imported import Imported
from dataset_distillation.architectures.lenet import LeNet
from dataset_distillation.architectures.linear import Linear
from dataset_distillation.architectures.mlp import MLP
from dataset_distillation.architectures.resnet18 import ResNet18
from dataset_distillation.architectures.torchvision import TorchvisionNetwork
from dataset_distillation.architectures.vgg11 import VGG11
from dataset_distillation.datasets import Dataset
from dataset_distillation.datasets.data import Specification
from dataset_distillation.errors import ConfigError, UserError
from dataset_distillation.experiment.compose import kinds_of
from support.experiments import CONF
from support.networks import GREY, NETWORKS, RGB


def specification(shape: tuple[int, int, int] = GREY, classes: int = 10) -> Specification:
    return Specification("test", shape, tuple(map(str, range(classes))), (0.0,) * shape[0], (1.0,) * shape[0])


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", NETWORKS)
def test_shape_and_number_of_parameters(name: str) -> None:
    architecture, shape, parameters = NETWORKS[name]
    architecture.check(shape)
    network = architecture.build(shape, 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    images = torch.randn(4, *shape)
    assert network(images).shape == (4, 10)
    # A function of weights and images alone: no buffers, and evaluation is no other mode.
    assert not list(network.buffers())
    torch.testing.assert_close(network.train()(images), network.eval()(images))


@pytest.mark.parametrize(
    ("architecture", "weights"),
    [(ConvNet(), 320_010), (AlexNet32(), 1_872_202), (VGG11(), 9_231_114), (ResNet18(), 11_173_962)],
)
def test_as_many_weights_as_later_papers_have(architecture: Architecture, weights: int) -> None:
    assert architecture.number_of_weights(RGB, 10) == weights


def test_the_brightness_of_alexcifarnet_is_local_response_norm() -> None:
    network = AlexCifarNet().build(RGB, 10).double()
    ours = [module for module in network if type(module).__name__ == "Brightness"]
    theirs = torch.nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1)
    images = 300 * torch.randn(2, 64, 5, 5, dtype=torch.float64, generator=stream())  # the sum is not near k
    assert len(ours) == 2
    for module in ours:
        torch.testing.assert_close(module(images), theirs(images), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_of_gradient(name: str) -> None:
    """d/dε of ⟨∇θ loss(θ, x + ε v), u⟩ by autograd and by central differences, in float64."""
    architecture, shape, _ = NETWORKS[name]
    network = architecture.build(shape, 10).double()
    weights = {k: v.double() for k, v in architecture.draw(network, stream(), specification(shape)).items()}
    images = torch.randn(3, *shape, generator=stream(1), dtype=torch.double)
    direction = torch.randn(3, *shape, generator=stream(2), dtype=torch.double)
    labels = torch.tensor([0, 3, 7])

    def loss(weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(torch.func.functional_call(network, weights, images), labels)

    def norm_of_gradient(epsilon: torch.Tensor | float) -> torch.Tensor:
        leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
        gradients = torch.autograd.grad(
            loss(leaves, images + epsilon * direction), list(leaves.values()), create_graph=True
        )
        return sum(gradient.square().sum() for gradient in gradients)

    epsilon = torch.zeros((), dtype=torch.double, requires_grad=True)
    (exact,) = torch.autograd.grad(norm_of_gradient(epsilon), epsilon)
    h = 1e-7  # small: ReLU and max-pooling have kinks
    difference = (norm_of_gradient(h) - norm_of_gradient(-h)).detach() / (2 * h)
    assert exact.abs() > 1e-6
    torch.testing.assert_close(difference, exact, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "resnet18"])
@pytest.mark.parametrize("weights", list(WeightScheme))
def test_draw_depends_on_the_generator_alone(name: str, weights: str) -> None:
    architecture, shape, _ = NETWORKS[name]
    architecture = dataclasses.replace(architecture, weights=weights)
    network, given = architecture.build(shape, 10), specification(shape)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = architecture.draw(network, stream(5), given)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    again, other = (architecture.draw(network, stream(seed), given) for seed in (5, 6))
    shapes = {k: v.shape for k, v in network.named_parameters()}
    assert {k: v.shape for k, v in first.items()} == shapes
    assert not any(v.requires_grad for v in first.values())
    assert all(torch.equal(first[k], again[k]) for k in shapes)
    assert not any(torch.equal(first[k], other[k]) for k, shape in shapes.items() if len(shape) > 1)


@pytest.mark.parametrize(("weights", "variance"), [
    ("xavier", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    ("kaiming", lambda fan_in, fan_out: 2 / fan_in),
])  # fmt: skip
def test_draw_has_the_variance_of_its_formula(weights: str, variance) -> None:
    drawn = LeNet(weights=weights).draw(LeNet().build(GREY, 10), stream(), specification())
    layers = {"3.weight": (6 * 25, 16 * 25), "7.weight": (400, 120), "9.weight": (120, 84)}
    for name, fans in layers.items():
        tensor = drawn[name]
        error = 5 / math.sqrt(2 * tensor.numel())  # five standard errors of a standard deviation
        assert float(tensor.std()) == pytest.approx(math.sqrt(variance(*fans)), rel=error)
        assert abs(float(tensor.mean())) < 5 * float(tensor.std()) / math.sqrt(tensor.numel())
    assert all((drawn[name] == 0).all() for name in drawn if name.endswith("bias"))


def test_orthogonal_rows_are_orthonormal() -> None:
    drawn = MLP(weights="orthogonal").draw(MLP().build(GREY, 10), stream(), specification())
    torch.testing.assert_close(drawn["1.weight"] @ drawn["1.weight"].T, torch.eye(128), atol=1e-5, rtol=0)


def test_scales_of_norms_are_1_whatever_their_dimensions() -> None:
    norm, linear = torch.nn.LayerNorm([1, 28, 28]), torch.nn.Linear(784, 10)
    network = torch.nn.Sequential(norm, torch.nn.Flatten(), linear)
    drawn = Linear().draw(network, stream(), specification())
    assert (drawn["0.weight"] == 1).all()
    assert (drawn["0.bias"] == 0).all()
    assert drawn["2.weight"].std() > 0
    convnet = ConvNet(width=8)
    drawn = convnet.draw(convnet.build(GREY, 10), stream(), specification())
    assert (drawn["1.weight"] == 1).all()


def test_own_weights_are_those_of_the_constructor() -> None:
    torch.manual_seed(7)
    expected = LeNet().build(GREY, 10).state_dict()
    drawn = LeNet(weights="own").draw(LeNet().build(GREY, 10), stream(7), specification())
    assert all(torch.equal(drawn[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", [ConvNet, AlexNet32, VGG11, ResNet18])
def test_networks_of_later_papers_begin_as_the_layers_of_torch_do(kind: type[Architecture]) -> None:
    """Weights and biases are uniform in ±1/√(fan in); Xavier's normal, of old runs, has values beyond."""
    small = kind(width=16)
    network = small.build((3, 32, 32), 10)
    drawn = small.draw(network, stream(), specification((3, 32, 32)))
    for name, layer in network.named_modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            bound = layer.weight[0].numel() ** -0.5
            assert 0.9 * bound < drawn[f"{name}.weight"].abs().max() <= bound
            assert layer.bias is None or drawn[f"{name}.bias"].std() > 0
    [weights] = [field for field in dataclasses.fields(kind) if field.name == "weights"]
    assert weights.metadata["absent"] == "xavier"


def test_the_slope_of_a_prelu_is_the_one_it_is_built_with() -> None:
    """And not 1, at which it would be the identity; nor what it has been trained to."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10), torch.nn.PReLU(init=0.1))
    torch.nn.init.constant_(network[2].weight, 0.7)
    drawn = LeNet().draw(network, stream(), specification())
    assert drawn["2.weight"].tolist() == [pytest.approx(0.1)]


def test_own_weights_of_attention_depend_on_the_seed() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(28, 2, batch_first=True)
            self.last = torch.nn.Linear(28, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.attention(x[:, 0], x[:, 0], x[:, 0])[0].mean(dim=1))

    given = Given(Net(), weights="own")
    drawn = [given.draw(given.build(GREY, 10), stream(seed), specification()) for seed in (0, 1, 0)]
    name = "attention.in_proj_weight"
    assert torch.equal(drawn[0][name], drawn[2][name])
    assert not torch.equal(drawn[0][name], drawn[1][name])


def test_instance_norm_equals_torch() -> None:
    network = ConvNet(width=8).build(RGB, 10)
    images = torch.randn(2, 8, 16, 16)
    torch.testing.assert_close(network[1](images), torch.nn.functional.instance_norm(images))


def test_instance_norm_has_no_state() -> None:
    norm = torch.nn.InstanceNorm2d(3, track_running_stats=True)
    images = 5 + torch.randn(2, 3, 8, 8)
    expected = torch.nn.functional.instance_norm(images)
    torch.testing.assert_close(stateless(norm)(images), expected)


def test_a_deep_convnet_takes_the_28_pixels_that_it_pads() -> None:
    architecture = ConvNet(depth=5, width=4)
    architecture.check(GREY)
    assert architecture.build(GREY, 10)(torch.zeros(1, *GREY)).shape == (1, 10)


def test_alexnet_is_that_of_torchvision() -> None:
    with torch.device("meta"):
        ours, theirs = AlexNet().build((3, 224, 224), 20), torchvision.models.AlexNet(20)
    assert sum(parameter.numel() for parameter in ours.parameters()) == 57_085_780
    weights = {
        name: 0.02 * torch.randn(w.shape, generator=stream()) for name, w in theirs.state_dict().items()
    }
    for network in (ours, theirs.eval()):
        network.load_state_dict(weights, assign=True)
    images = torch.randn(1, 3, 224, 224, generator=stream(1))
    # No dropout in training, and the pooling that is left out changes nothing.
    torch.testing.assert_close(ours.train()(images), theirs(images), rtol=0, atol=0)


def test_dropout_and_running_statistics_are_off() -> None:
    network = TorchvisionNetwork(name="alexnet", weights="own").build((3, 64, 64), 10).train()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(network(images), network(images))


REFUSED = {
    "lenet": (
        LeNet(),
        (1, 16, 16),
        "image_size=16: architecture=lenet needs images of 28×28 or 32×32",
    ),
    "alexcifarnet": (
        AlexCifarNet(),
        GREY,
        "image_size=28: architecture=alexcifarnet needs images of 32×32",
    ),
    "alexnet": (AlexNet(), RGB, "dataset.image_size=32: architecture=alexnet needs images of 224×224"),
    "grey alexnet": (AlexNet(), (1, 224, 224), "dataset.channels=1: .* set dataset.channels=3"),
    "convnet": (ConvNet(depth=4), (1, 8, 8), "image_size=8: .* needs 16 or more; .* architecture.depth=3"),
    "typo": (TorchvisionNetwork(name="resnt18"), RGB, "name=resnt18: .* did you mean .*resnet18"),
    "grey": (TorchvisionNetwork(name="resnet18"), GREY, "dataset.channels=1: .* set dataset.channels=3"),
    "small": (TorchvisionNetwork(name="alexnet"), RGB, "dataset.image_size=32: does not fit .*alexnet"),
    "patches": (TorchvisionNetwork(name="vit_b_16"), (3, 40, 40), "dataset.image_size=40: does not fit"),
    "hard": (TorchvisionNetwork(name="mobilenet_v3_small"), RGB, "no gradient of a gradient"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_images_that_do_not_fit_are_refused(name: str) -> None:
    architecture, shape, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message) as refused:
        architecture.check(shape)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("kind", "options", "message"), [
    (LeNet, {"weights": "gauss"}, "architecture.weights=gauss: must be one of"),
    (ConvNet, {"norm": "layer"}, "architecture.norm=layer: must be one of batch, group, instance, none"),
    (ConvNet, {"norm": "group", "width": 6}, "architecture.width=6: must be a multiple of 4"),
    (AlexNet32, {"norm": "group", "width": 12}, "architecture.width=12: must be a multiple of 8"),
    (ConvNet, {"depth": 0}, "architecture.depth=0: must be greater than 0"),
    (MLP, {"layers": -1}, "architecture.layers=-1"),
])  # fmt: skip
def test_wrong_options_are_refused(kind: type[Architecture], options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**options)


MODULE = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, channels, classes):
        first = nn.Dropout(0.5), nn.BatchNorm2d(channels), nn.Flatten()
        super().__init__(*first, nn.Linear(channels * 64, classes))
def everything(**keywords):
    return nn.Sequential(nn.Flatten(), nn.Linear(keywords["image_size"] ** 2, keywords["classes"]))
def broken(): raise KeyError("lost")
def narrow(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
def number(): return 3
class Pair(nn.Module):
    def __init__(self): super().__init__()
    def forward(self, images): return images, images
"""


@pytest.fixture
def user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's folder with a module `user_networks`, as the current folder."""
    (tmp_path / "user_networks.py").write_text(MODULE)
    (tmp_path / "user_broken.py").write_text("import user_missing_dependency")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield
    sys.modules.pop("user_networks", None)


@pytest.mark.usefixtures("user_code")
@pytest.mark.parametrize("name", ["Net", "everything"])
def test_the_users_network(name: str) -> None:
    architecture = Imported(path=f"user_networks:{name}", weights="own")
    architecture.check((1, 8, 8))
    network, images = architecture.build((1, 8, 8), 10).train(), torch.randn(4, 1, 8, 8)
    assert network(images).shape == (4, 10)
    assert torch.equal(network(images), network(images))
    assert not list(network.buffers())


@pytest.mark.usefixtures("user_code")
@pytest.mark.parametrize(("path", "message"), [
    ("user_networks", "architecture.path=user_networks: must be <module>:<attribute> or"),
    ("user_nowhere:Net", "no module user_nowhere; install it or start in its folder"),
    ("user_broken:Net", "importing user_broken raised ModuleNotFoundError.*user_missing_dependency"),
    ("user_networks:Nett", "has no Nett"),
    ("user_networks:broken", r"user_networks:broken\(\) raised KeyError: 'lost'"),
    ("user_networks:narrow", r"have shape \(2, 3\): must be \(2, 10\)"),
    ("user_networks:Pair", r"logits of 2 images have shape tuple: must be \(2, 10\)"),
    ("user_networks:nn", "must be a class or a function"),
    ("user_networks:number", "returned a int: must return a torch.nn.Module"),
])  # fmt: skip
def test_errors_in_the_users_network_are_one_line(path: str, message: str) -> None:
    architecture = Imported(path=path)
    with pytest.raises(UserError, match=message) as refused:
        architecture.build((1, 8, 8), 10)
    assert "\n" not in str(refused.value)


GROUPS = {"dataset": (datasets, Dataset), "architecture": (architectures, Architecture)}
CHOICES = [(group, file) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]


def leaves_of(group: str) -> list[type]:
    """The dataclasses of a group that none is derived from: those between are no choices."""
    kinds = list(kinds_of(group))
    return [kind for kind in kinds if not set(kind.__subclasses__()) & set(kinds)]


@pytest.mark.parametrize(("group", "file"), CHOICES, ids=[f"{group}-{file.stem}" for group, file in CHOICES])
def test_every_choice_fits_its_schema(group: str, file: Path) -> None:
    package, _ = GROUPS[group]
    assert file.read_text().startswith("# ")
    choice = OmegaConf.load(file)
    schema = choice.pop("defaults")[0].removeprefix(f"/schema/{group}/").removesuffix("@_here_")
    module = pkgutil.resolve_name(f"{package.__name__}.{schema}")
    (kind,) = [k for k in leaves_of(group) if k.__module__ == module.__name__]
    # A structured config refuses unknown keys and values of another type.
    merged = OmegaConf.merge(OmegaConf.structured(kind), choice)
    if not OmegaConf.missing_keys(merged):
        assert isinstance(OmegaConf.to_object(merged), kind)


def test_every_source_and_network_has_a_choice() -> None:
    for group, (package, _) in GROUPS.items():
        modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
        for module in modules:
            pkgutil.resolve_name(f"{package.__name__}.{module}")
        kinds = {k.__module__.rpartition(".")[2] for k in leaves_of(group)}
        named = {
            OmegaConf.load(file).defaults[0].split("/")[-1].removesuffix("@_here_")
            for file in (CONF / group).glob("*.yaml")
        }
        assert named == kinds <= {*modules}
