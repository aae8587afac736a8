"""Files in the layouts of other projects, as their code writes them, and the numbers in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional


def images(n: int = 20, seed: int = 0) -> Tensor:
    """Smooth normalized images (n, 3, 8, 8)."""
    noise = torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return 2 * functional.avg_pool2d(noise, 9, 1)


LABELS = torch.arange(10).repeat_interleave(2)
LOGITS = 4 * torch.randn(20, 10, generator=torch.Generator().manual_seed(1))


def dc(folder: Path) -> Path:
    """Two runs, and accuracies as NumPy's scalars."""
    runs = [[images(seed=seed), LABELS] for seed in (1, 0)]
    path = folder / "res_DC_CIFAR10_ConvNet_2ipc.pt"
    torch.save({"data": runs, "accs_all_exps": {"ConvNet": [np.float64(0.3), np.mean([0.1, 0.3])]}}, path)
    return path


def mtt(folder: Path, labels: Tensor = LABELS, rate: float | None = None) -> Path:
    torch.save(images(), folder / "images_best.pt")
    torch.save(labels, folder / "labels_best.pt")
    if rate is not None:
        torch.save(torch.tensor(rate, requires_grad=True), folder / "lr_best.pt")
    return folder


def idc(folder: Path) -> Path:
    torch.save([images().sigmoid(), LABELS], folder / "data.pt")
    return folder / "data.pt"


def dd(folder: Path, steps: int = 3, epochs: int = 2) -> Path:
    """The same images in every epoch, each time with rates of its own."""
    sets = [images(10, seed) for seed in range(steps)]
    rates = [torch.tensor(0.01 * (1 + i)) for i in range(steps * epochs)]
    content = [(sets[i % steps], torch.arange(10), rate) for i, rate in enumerate(rates)]
    torch.save(content, folder / "results.pth")
    return folder / "results.pth"


def kip(folder: Path) -> Path:
    """Channels last; labels one-hot − 1/10, as FRePo's."""
    labels = functional.one_hot(LABELS, 10).numpy().astype("float32") - 0.1
    np.savez(folder / "kip.npz", images=images().permute(0, 2, 3, 1).numpy(), labels=labels)
    return folder / "kip.npz"


def rat_bptt(folder: Path, label: bool = True, data: Tensor | None = None) -> Path:
    """Flat images in the order of the classes; labels as weights that do not sum to 1."""
    import h5py

    path = folder / "IPC_2.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=(images().flatten(1) if data is None else data).numpy())
        file.create_dataset("epoch", data=17)
        if label:
            file.create_dataset("label", data=LOGITS.relu().numpy())
    return path


def at_bptt(folder: Path) -> Path:
    """The checkpoint beside such a file."""
    state = {"module.data.weight": images().flatten(1)}
    labels = {"module.label.weight": LOGITS.relu()}
    both = {"model_state_dict": state, "label_state_dict": labels}
    torch.save({"epoch": 3, "optimizer_state_dict": {"state": {}}, **both}, folder / "IPC_2.pth")
    return folder / "IPC_2.pth"


def lgm(folder: Path) -> Path:
    torch.save({"images": images().sigmoid(), "labels": LABELS}, folder / "data.pth")
    return folder / "data.pth"


def sre2l(folder: Path) -> Path:
    """One folder per class, as `new000`; 8-bit pixels."""
    for label in range(10):
        (folder / f"new{label:03}").mkdir(parents=True)
        for i in range(2):
            pixels = np.full((8, 8, 3), 20 * label + i, "uint8")
            Image.fromarray(pixels).save(folder / f"new{label:03}" / f"class{label:03}_id{i:03}.png")
    return folder
