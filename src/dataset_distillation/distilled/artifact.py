"""`distilled.safetensors`: the distilled data in a self-describing file.

It has the tensors `images`, `labels`, `learning_rates`, `plain_images` if images were whitened (as they were
before), and, if they are stored, `whitening/mean`, `whitening/matrix` and, of θ0,
`initial_weights/<parameter>`; the metadata, each a JSON text; and a SHA-256 over all of it.

A file beyond these limits is refused: 4 GiB, of which 32 MiB are the header; 100,000 classes with names of
1,000 characters; 1,000 channels; 1,000,000 epochs, as many steps, and 10,000,000 inner steps.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic_core import from_json
from torch import Tensor, nn

from dataset_distillation import augmentation, inner_optimizers
from dataset_distillation.architectures import Weights, stateless
from dataset_distillation.datasets.data import Specification
from dataset_distillation.distilled.data import Batches, of_network, pixels
from dataset_distillation.distilled.metadata import MOST_INNER_STEPS, MOST_STEPS, check_metadata, plain
from dataset_distillation.distilled.own_images import OwnImages
from dataset_distillation.distilled.published import published
from dataset_distillation.distilled.seal import ZEROS, checksum_of, sealed
from dataset_distillation.errors import FileError, NoFile, UserError, damaged
from dataset_distillation.files import opened, write
from dataset_distillation.inner_optimizers import Step
from dataset_distillation.networks import batch_norm, training
from dataset_distillation.networks.weights import LARGEST, checksum, load_weights, safetensors_header
from dataset_distillation.objectives import loss_by_name
from dataset_distillation.run.records import Storage

# Increased when the meaning of a field changes; older files stay readable: 1 had no checksum, and in 2 each
# step had a learning rate and images of its own.
FORMAT = 3
_PLAIN = "plain_images"
_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_TENSORS = ("images", "labels", "learning_rates")
_PARTS = ("initial_weights", "whitening")  # of each several tensors, or none


@dataclass(frozen=True, repr=False)
class DistilledSet(OwnImages):
    """A distilled dataset: x̃, its labels and η̃ (Algorithm 1), with the metadata that describe them.

    images: (steps, n, channels, height, width), normalized: (pixel − mean) / std; whitened, if the metadata
        describe a `whitening`, as test images must be, too (datasets/whitening.py).
    labels: (steps, n), int64; if they were learned (steps, n, outputs of the network), float.
    learning_rates: positive; (epochs, steps), or, if the metadata describe `batches`, (1, inner steps) or one
        for all inner steps.
    initial_weights: θ0 by parameter name if the data were made for one fixed initialization, else empty.
    plain_images: the images before they were whitened, normalized; None if they were not.
    whitening: `mean` (d,) and `matrix` (d, d) of the whitening, if they are stored, else empty.
    metadata: mean and std of the normalization, class names, and how the data were made; see
        outer/describe.py.
    """

    images: Tensor
    labels: Tensor
    learning_rates: Tensor
    initial_weights: Weights
    metadata: dict[str, Any]
    plain_images: Tensor | None = None
    whitening: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], metadata: dict[str, Any]) -> DistilledSet:
        """Return the set of these `tensors`. Raises ValueError unless they are those of a set that fits."""
        single = {name: tensor for name, tensor in tensors.items() if "/" not in name}
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
        for name in tensors.keys() - single.keys():
            part, _, own = name.partition("/")
            parts.setdefault(part, {})[own] = tensors[name]
        if single.keys() - {_PLAIN} != set(_TENSORS) or parts.keys() != set(_PARTS):
            raise ValueError(f"it has the tensors {', '.join(sorted(tensors))}, not {', '.join(_TENSORS)}")
        distilled = cls(**single, **parts, metadata=metadata)  # type: ignore[arg-type]
        distilled.check()
        return distilled

    @property
    def steps(self) -> Iterator[Step]:
        """The inner steps in their intended order: all steps of an epoch, epoch after epoch.

        If they are batches that are drawn, these are the draws of the first network that judged the data.
        """
        return iter(self.steps_of(0, self.metadata.get("seed", 0)))

    def steps_of(self, network: int, seed: int) -> Sequence[Step]:
        """Return the inner steps of network number `network` in an evaluation with `seed`."""
        return self.batches.steps(self.images, self.labels, self.learning_rates, seed, of_network(network))

    @property
    def batches(self) -> Batches:
        """Which images the inner steps use."""
        return Batches(**self.metadata.get("batches") or {"number": self.learning_rates.numel()})

    @property
    def rates_by_epoch(self) -> Tensor:
        """The learning rates (epochs, steps), if each epoch passes over all images step by step."""
        rates, steps = self.learning_rates.flatten(), len(self.images)
        epochs = -(-self.batches.number // steps)
        return rates[torch.arange(epochs * steps).clamp(max=len(rates) - 1)].view(epochs, steps)

    @property
    def pixels(self) -> Tensor:
        """The images as pixels, in [0, 1] or on the scale of the floats that the set was made of."""
        plain = self.images if self.plain_images is None else self.plain_images
        return pixels(plain, self.metadata["mean"], self.metadata["std"])

    def seen_as(self, specification: Specification) -> Tensor:
        """Return the images as networks see those of a dataset: normalized and whitened as they are."""
        same = all(list(self.metadata[key]) == list(getattr(specification, key)) for key in ("mean", "std"))
        fitted, made = specification.whitening, self.metadata.get("whitening")
        if same and made == (fitted and fitted.described):
            return self.images
        return specification.seen(self.pixels)

    @property
    def storage(self) -> Storage:
        """The size of the set in bytes, as in its file, and that of the real train set that it was made from.

        The real set is counted with one byte per pixel and channel, and 8 bytes per label.
        """
        parts = {"images": self.images, "labels": self.labels, "learning_rates": self.learning_rates}
        sizes = {f"{name}_bytes": tensor.nbytes for name, tensor in parts.items()}
        images, number = self.images.flatten(0, 1), self.metadata.get("train_images")
        real = number and number * (images[0].numel() + 8)
        return Storage(
            **sizes,
            bytes=sum(sizes.values()),
            images=len(images),
            images_per_class=len(images) / len(self.metadata["class_names"]),
            real_images=number,
            real_bytes=real,
            share_of_real_images=number and len(images) / number,
            share_of_real_bytes=real and sum(sizes.values()) / real,
        )

    def train(self, network: nn.Module) -> nn.Module:
        """Run the inner steps on `network`, in place, and return it.

        Images are augmented as those of the distillation were, by draws that are the same each time.

        The training starts from `initial_weights` if the set has them (the parameters of `network` must have
        the same names), else from the weights of `network`. As in the distillation, dropout is off in these
        steps, and BatchNorm uses the statistics of each step's images. Afterwards its running statistics are
        the means of these at the new weights, so test with `network.eval()`, as this project does.

        Raises ValueError if the set was made for known weights that `network` does not have.
        """
        if self.initial_weights:
            expected = {name: parameter.shape for name, parameter in network.named_parameters()}
            stored = {name: weight.shape for name, weight in self.initial_weights.items()}
            if stored != expected:
                name = next(n for n in [*stored, *expected] if stored.get(n) != expected.get(n))
                raise ValueError(
                    "the network's parameters do not match the fixed initialization this set was made for "
                    f"(architecture={self.metadata['architecture']}, see metadata['config']): {name} has "
                    f"shape {_shape(expected.get(name))} here and {_shape(stored.get(name))} in the set"
                )
            load_weights(network, self.initial_weights)
        elif self.metadata.get("initial_weights_sha256") not in (
            None,
            checksum(dict(network.named_parameters())),
        ):
            raise ValueError(
                "the network does not have the weights this set was made for, and the set has only their "
                f"checksum; load those of metadata['config']['init'], {self.metadata['config']['init']}"
            )
        options = self.metadata["config"].get("inner_optimizer", {})
        optimizer = inner_optimizers.by_name(self.metadata["inner_optimizer"], options)
        # Files that are older than the choice of a loss do not name it.
        loss = loss_by_name(self.metadata.get("loss", "cross_entropy"))
        copied = stateless(copy.deepcopy(network))
        steps = self._augmented()
        training.train(copied, steps, optimizer, loss)
        load_weights(network, dict(copied.named_parameters()))
        batch_norm.fit(copied, [step.images for step in steps])
        batch_norm.hand_over(copied, network)
        return network

    def _augmented(self) -> Sequence[Step]:
        """The steps with the augmentation that they were made for, as held-out network 0 sees them."""
        by = augmentation.by_name(
            self.metadata.get("augmentation", "none"), self.metadata["config"].get("augmentation", {})
        )
        seed = self.metadata.get("seed", 0)
        return by.steps(list(self.steps), seed, augmentation.of_network(0))

    def save(self, path: str | Path) -> None:
        """Write the set to `path`, atomically. Raises UserError if that fails, or if it could not be read."""
        try:
            check_metadata({name: from_json(text) for name, text in self._texts.items()})
            self.check()
        except ValueError as error:
            raise UserError(f"{path}: not written, since it could not be read again ({error})") from error
        write(Path(path).expanduser(), self.content())

    def content(self) -> bytes:
        """Return what a file of the set holds."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        return sealed(safetensors.torch.save(tensors, self._texts))

    @property
    def _texts(self) -> dict[str, str]:
        values = {**self.metadata, "format": FORMAT, "sha256": ZEROS}
        return {name: json.dumps(value, default=plain) for name, value in values.items()}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by their names in the file."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        tensors |= {} if self.plain_images is None else {_PLAIN: self.plain_images}
        parts = {part: getattr(self, part) for part in _PARTS}
        return tensors | {f"{part}/{own}": tensor for part in parts for own, tensor in parts[part].items()}

    def check(self) -> None:
        """Raise ValueError unless the tensors are numbers and fit together and the metadata."""
        images, labels, rates = self.images, self.labels, self.learning_rates
        classes = len(self.metadata["class_names"])
        of_classes = labels.dtype == torch.int64 and labels.ndim == 2
        learned = labels.dtype in _PRECISIONS and labels.ndim == 3 and labels.shape[-1] == classes
        fits = images.dtype in _PRECISIONS and images.ndim == 5 and labels.shape[:2] == images.shape[:2]
        if not fits or not images.numel() or not (of_classes or learned):
            raise ValueError(f"images {tuple(images.shape)} and labels {tuple(labels.shape)}")
        if self.plain_images is not None and self.plain_images.shape != images.shape:
            raise ValueError(f"plain images {tuple(self.plain_images.shape)}, not {tuple(images.shape)}")
        if ("whitening" in self.metadata) != (self.plain_images is not None):
            raise ValueError("whitened images need a description and plain images")
        d = images[0, 0].numel()
        shapes = {name: tuple(tensor.shape) for name, tensor in self.whitening.items()}
        if shapes and (self.plain_images is None or shapes != {"mean": (d,), "matrix": (d, d)}):
            raise ValueError(f"a whitening of shapes {shapes} for {d} numbers per image")
        if of_classes and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError("a label is not the number of a class")
        steps = self.batches.number if "batches" in self.metadata else len(images) * len(rates)
        one_or_all = rates.ndim == 2 and rates.numel() in (1, steps)
        if rates.dtype not in _PRECISIONS or not one_or_all:
            raise ValueError(f"learning rates {tuple(rates.shape)} for {len(images)} steps")
        if not 0 < max(rates.shape) <= MOST_STEPS or steps > MOST_INNER_STEPS:
            raise ValueError(f"{rates.shape[0]} epochs of {rates.shape[1]} steps, {steps} inner steps")
        if {len(self.metadata["mean"]), len(self.metadata["std"])} != {images.shape[2]}:
            raise ValueError("mean and std are not those of the images' channels")
        for name, tensor in self.tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise ValueError(f"its {name} are not all finite")
        if not (rates > 0).all():
            raise ValueError("its learning rates are not all positive")


def _shape(shape: torch.Size | None) -> str:
    return "none" if shape is None else str(tuple(shape))


def load_distilled(path: str | Path, seed: int | None = None) -> DistilledSet:
    """Read the distilled dataset in `path`, a file of `DistilledSet.save`; no code of the file is run.

    With a `seed`, `path` is the name of an experiment, such as `mnist_random_100`, whose result comes with
    the package.

    Raises UserError, with a message of one line, if the file cannot be read, is damaged, or is beyond the
    limits of the format, which stand at the top of this module; or if there is no published result.
    """
    path = Path(path).expanduser() if seed is None else published(str(path), seed)
    if path.is_dir():
        raise FileError(f"{path}: a folder; the set of a run is the file distilled.safetensors in it")
    if seed is None and len(path.parts) == 1 and not path.exists():
        raise NoFile(f'{path}: no such file; published sets have a seed: load_distilled("demo", seed=0)')
    with opened(path, LARGEST) as file:
        try:
            metadata = _metadata(safetensors_header(file), iter(lambda: file.read(2**20), b""))
            if metadata.pop("format") > FORMAT:
                newer = "made by a newer version of dataset-distillation; update to read it"
                raise FileError(f"{path}: {newer}")
            file.seek(0)
            distilled = DistilledSet.of(safetensors.torch.load(file.read()), metadata)
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise damaged(path, "a distilled dataset", error) from error
    return distilled


def _metadata(header: bytes, tensors: Iterable[bytes]) -> dict[str, Any]:
    """Return the metadata, which have everything that readers need. Raises ValueError if they do not."""
    texts = from_json(header).get("__metadata__")
    if not isinstance(texts, dict):
        raise ValueError("it has no metadata")
    metadata = {name: from_json(text) for name, text in texts.items() if isinstance(text, str)}
    known = check_metadata(metadata)
    seal = metadata.pop("sha256", None)
    if known.format <= FORMAT and (known.format > 1 or seal) and seal != checksum_of(header, tensors):
        raise ValueError("its checksum does not match")
    return metadata
