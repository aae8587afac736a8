"""What a distilled set says about itself, and how it is tested with images of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dataset_distillation.datasets.conversion import channels_first, convert
from dataset_distillation.datasets.whitening import whitened

CHUNK = 256  # images that are tested at once


class OwnImages:
    """The part of a `DistilledSet` that deals with images which are not its own."""

    if TYPE_CHECKING:
        images: Tensor
        labels: Tensor
        learning_rates: Tensor
        initial_weights: dict[str, Tensor]
        metadata: dict[str, Any]
        whitening: Mapping[str, Tensor]

    def __repr__(self) -> str:
        """Return three lines: the images, the training, and what they are made of and for."""
        metadata, (steps, n, *shape) = self.metadata, self.images.shape
        labels = "learned" if self.labels.is_floating_point() else "fixed"
        low, high = self.learning_rates.min().item(), self.learning_rates.max().item()
        rates = f"rate {low:.3g}" if low == high else f"rates {low:.3g} to {high:.3g}"
        start = "one known start" if self.initial_weights else f"{metadata.get('init') or 'any'} start"
        size, classes = "×".join(map(str, shape)), len(metadata["class_names"])
        batches = metadata.get("batches") or {"number": self.learning_rates.numel(), "size": None}
        return (
            f"DistilledSet of {steps * n:,} images ({size}) of {classes:,} classes, labels {labels}\n"
            f"  {batches['number']} steps with {batches['size'] or n} images each by "
            f"{metadata['inner_optimizer']}, {rates}\n"
            f"  made of {metadata.get('dataset') or 'own data'}, for {metadata['architecture']} from {start}"
        )

    def normalize(self, images: Tensor) -> Tensor:
        """Return images of any size as the networks that these data train see them.

        images: a tensor or an array (n, channels, height, width), (n, height, width, channels) or, gray,
            (n, height, width); uint8 from 0 to 255, or floats from 0 to 1, which are rounded to 8 bits. If
            the set was made of floats beyond [0, 1]: numbers on their scale, (n, channels, size, size) or,
            gray, (n, size, size).

        Returns floats (n, channels, size, size), resized to a square, normalized, and whitened if the set is.

        Raises ValueError if the images are not like this, or if the set is whitened and does not hold the
        matrix by which they are whitened, too.
        """
        made = self.metadata.get("whitening")
        if made and not self.whitening:
            remedy = "judge it by distill-evaluate, or distill with distilled.store_whitening=true"
            raise ValueError(f"the set is whitened, and has no matrix to whiten other images by; {remedy}")
        own_scale = self.metadata.get("own_scale", False)
        try:
            images = torch.as_tensor(images) if own_scale else channels_first(images)
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"images are a {type(images).__name__}: must be a tensor or an array") from error
        if not images.numel():
            raise ValueError(f"images of shape {tuple(images.shape)}: there are none")
        pixels = self._as_given(images) if own_scale else self._scaled(images)
        mean, std = (pixels.new_tensor(self.metadata[key]).view(-1, 1, 1) for key in ("mean", "std"))
        normalized = (pixels - mean) / std
        return whitened(normalized, made["kind"], **self.whitening) if made else normalized

    def _as_given(self, images: Tensor) -> Tensor:
        """Return images that have the form and the scale of those that the set was made of."""
        pixels, shape = images.cpu().float(), tuple(self.images.shape[2:])
        pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels
        if pixels.shape[1:] != shape or not pixels.isfinite().all():
            told = f"must be finite, {shape}, on the scale of the floats that the set was made of"
            raise ValueError(f"images are {tuple(pixels.shape[1:])}: {told}")
        return pixels

    def _scaled(self, images: Tensor) -> Tensor:
        """Return images of any size in [0, 1], of the size of the set's."""
        _, _, channels, size, _ = self.images.shape
        if images.is_floating_point():
            low, high = images.min().item(), images.max().item()
            if not 0 <= low <= high <= 1:
                told = "must lie in [0, 1], and are normalized here"
                raise ValueError(f"images are floats from {low:.3g} to {high:.3g}: {told}")
            images = (images * 255).round().to(torch.uint8)
        elif images.dtype != torch.uint8:
            raise ValueError(f"images are {images.dtype}: must be uint8, or floats from 0 to 1")
        border = self.metadata["config"].get("dataset", {}).get("border", 0)
        return convert(images.cpu(), channels, size, border) / 255

    @torch.no_grad()
    def accuracy(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """Return the share of `images`, as for `normalize`, that `network` classifies as `labels` say.

        labels: integers (n,), the classes in the order of `metadata["class_names"]`.

        The network is tested as in `network.eval()`, and left in the mode that it was in.

        Raises ValueError if images and labels are not like this.
        """
        images, labels = torch.as_tensor(images), torch.as_tensor(labels)
        if labels.shape != images.shape[:1]:
            raise ValueError(f"{len(images)} images, and labels of shape {tuple(labels.shape)}")
        like, mode = next(network.parameters()), network.training
        network.eval()
        try:
            parts = [network(part.to(like)).argmax(1) for part in self.normalize(images).split(CHUNK)]
        finally:
            network.train(mode)
        return float((torch.cat(parts).cpu() == labels.cpu()).float().mean())
