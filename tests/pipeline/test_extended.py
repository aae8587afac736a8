"""A finished run is extended, a run ends by its minutes, and an artifact is where another run begins."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas
import pytest
import torch

from dataset_distillation import load_distilled
from dataset_distillation.distilled.start import start
from dataset_distillation.errors import ConfigError
from dataset_distillation.experiment.digest import digest
from dataset_distillation.experiment.tree import Experiment
from dataset_distillation.outer.checkpoints import load
from dataset_distillation.outer.fit import Store, fit
from dataset_distillation.pipeline.prepare import keys_of, prepare
from dataset_distillation.run.attempts import LIMITS
from dataset_distillation.run.folder import ARTIFACT
from support.command_line import distill
from support.experiments import TINY, module_of
from support.folders import result_of

Make = Callable[..., Experiment]
SMALL = ("architecture=linear", "evaluation.validation_every=2", "outer.learning_rate=0.3")


def learned(experiment: Experiment, folder: Path, last: Path | None = None) -> list[torch.Tensor]:
    module = module_of(experiment)
    fit(module, experiment.trainer, store=Store(folder, "a", last))
    return list(load(max(folder.glob("*.ckpt")))["state_dict"].values())


def test_more_steps_give_the_bits_of_a_longer_run(experiment: Make, tmp_path: Path) -> None:
    options = (*SMALL, "outer.schedule=constant", "outer.average=0.5", "outer.clip_to_mean=1.5")
    whole = learned(experiment(*options, "outer.steps=6"), tmp_path / "whole")
    learned(experiment(*options, "outer.steps=3"), tmp_path / "parts")
    [*_, last] = sorted((tmp_path / "parts").glob("*.ckpt"))
    parts = learned(experiment(*options, "outer.steps=6"), tmp_path / "parts", last)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_the_schedule_is_that_of_the_longer_run_from_there_on(experiment: Make, tmp_path: Path) -> None:
    """Adam's rates in each step, after a cosine that had fallen to 0."""
    learned(experiment(*SMALL, "outer.steps=2"), tmp_path)
    [*_, last] = sorted(tmp_path.glob("*.ckpt"))
    e = experiment(*SMALL, "outer.steps=4")
    module = module_of(e)
    step, rates = module.on_before_optimizer_step, []

    def noted(optimizer: torch.optim.Optimizer) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        step(optimizer)

    module.on_before_optimizer_step = noted  # type: ignore[method-assign]
    assert fit(module, e.trainer, store=Store(tmp_path, "a", last)).outer_steps == 4
    assert rates == pytest.approx([0.3 * e.outer.factor(2), 0.3 * e.outer.factor(3)])
    assert rates[0] == pytest.approx(0.15)


def test_a_run_ends_by_its_minutes_with_a_validation(
    experiment: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And takes no further step when it is resumed, until it has more of them."""
    asked = (*SMALL, "outer.steps=100000", "evaluation.validation_every=1000")
    e = experiment(*asked, "outer.minutes=1e-9")
    module = module_of(e)
    outcome = fit(module, e.trainer, store=Store(tmp_path, "a"))
    assert (outcome.outer_steps, outcome.signal) == (1, None)
    assert outcome.validation is not None
    assert "outer.minutes=1e-09 ended the run after 1 of 100,000 outer steps, with" in caplog.text
    assert "at 100 % of their start; outer.steps=1 takes them down to 0" in caplog.text
    [last], again = tmp_path.glob("*.ckpt"), module_of(e)
    resumed = fit(again, e.trainer, store=Store(tmp_path, "a", last))
    assert (resumed.outer_steps, resumed.validation) == (1, outcome.validation)
    assert torch.equal(again.distilled.images, module.distilled.images)
    caplog.clear()
    more = experiment(*asked, "outer.minutes=1000", "outer.steps=3")
    assert fit(module_of(more), more.trainer, store=Store(tmp_path, "a", last)).outer_steps == 3
    assert "outer.minutes" not in caplog.text


@pytest.mark.slow
def test_a_finished_run_goes_on_by_the_command_line(tmp_path: Path) -> None:
    asked = [*TINY, *SMALL, "evaluation.baselines=[average_real]", "hydra.run.dir=run"]
    folder = tmp_path / "run"

    def steps() -> int:
        return result_of(folder)["outer_steps"]

    assert distill(*asked, folder=tmp_path).code == 0
    assert steps() == 2
    ended = distill("resume=run", "outer.steps=4", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert steps() == 4
    record = json.loads((folder / "run.json").read_text())
    assert [attempt["outer_steps"] for attempt in record["attempts"]] == [2, 4]
    ended = distill("resume=run", folder=tmp_path)
    assert "finished already" in ended.err
    ended = distill("resume=run", "outer.steps=3", folder=tmp_path)
    assert ended.code == 2
    assert "outer.steps=3 (it has 4)" in ended.err
    ended = distill("resume=run", "outer.learning_rate=1", folder=tmp_path)
    assert (ended.code, "leave out outer.learning_rate=1" in ended.err) == (2, True)


def test_limits_and_judges_are_no_part_of_what_a_distillation_depends_on(experiment: Make) -> None:
    one = experiment("outer.steps=5")
    longer = experiment("outer.steps=6", "outer.minutes=3")
    judged = experiment("outer.steps=5", "evaluation.baselines=[k_means]", "evaluation.networks=3")
    validated = experiment("outer.steps=5", "evaluation.validation_every=3")
    assert digest(one) == digest(longer) == digest(judged) != digest(validated)
    assert len({digest(e, LIMITS) for e in (one, longer, judged)}) == 2
    assert len({digest(e, ()) for e in (one, longer, judged)}) == 3
    keys = keys_of(one, prepare(one))
    assert len({*keys}) == len(keys) == 3


@pytest.mark.slow
def test_a_run_that_is_not_finished_may_be_given_other_judges(tmp_path: Path) -> None:
    """It keeps the rows that it still needs; a finished run, and a distilled set of other options, stay."""
    asked = [*TINY, *SMALL, "evaluation.baselines=[average_real,k_means]", "hydra.run.dir=run"]
    folder = tmp_path / "run"
    assert distill(*asked, folder=tmp_path).code == 0
    made, record = load_distilled(folder / ARTIFACT), folder / "result.json"
    marked = ("distilled", "average_real")

    def begun_again(*options: str) -> tuple[list[str], set[float]]:
        """As if the run had been killed at its last baseline: the methods, and the seconds of two of them."""
        result = json.loads(record.read_text())
        record.write_text(json.dumps(result | {"status": "failed"}))
        table = pandas.read_csv(folder / "evaluation.csv")
        table.loc[table["method"].isin(marked), "seconds"] = 12345.0
        table.to_csv(folder / "evaluation.csv", index=False)
        ended = distill("resume=run", *options, folder=tmp_path)
        assert ended.code == 0, ended.err
        assert torch.equal(load_distilled(folder / ARTIFACT).images, made.images)
        rows = {row["method"]: row for row in json.loads(record.read_text())["evaluation"]}
        return [*rows], {rows[name]["seconds"] for name in marked}

    few, kept = begun_again("evaluation.baselines=[average_real]")
    assert (few, kept) == (["before_training", "distilled", "average_real"], {12345.0})
    ended = distill("resume=run", "evaluation.baselines=[herding]", folder=tmp_path)
    assert ended.code == 2
    assert "evaluation.baselines=['herding'] (it has ['average_real'])" in ended.err
    more, kept = begun_again("evaluation.baselines=[average_real,herding]")
    assert (more[2:], kept) == (["average_real", "herding"], {12345.0})
    fewer, kept = begun_again("evaluation.networks=1")
    assert fewer == more
    assert 12345.0 not in kept


def test_an_artifact_is_the_start(experiment: Make, tmp_path: Path) -> None:
    """Images, labels and rates as they are; normalized anew for another mean; as probabilities."""
    made = distill(*TINY, *SMALL, "distilled.labels=learned", "hydra.run.dir=run", folder=tmp_path)
    assert made.code == 0, made.err
    path = tmp_path / "run" / "distilled.safetensors"
    read, asked = load_distilled(path), ("distilled.start=artifact", f"distilled.start_from={path}")

    def begun(*options: str) -> tuple[Experiment, torch.nn.Module]:
        e = experiment(*asked, *options)
        return e, start(e.distilled, prepare(e).data.train, 0)

    _, data = begun("distilled.labels=learned")
    assert torch.equal(data.images, read.images)
    assert torch.equal(data.labels, read.labels)
    torch.testing.assert_close(data.learning_rates, read.learning_rates)
    other = ("distilled.epochs=3", "dataset.mean=[0.5]", "dataset.std=[0.5]")
    _, data = begun("distilled.labels=learned", *other)
    torch.testing.assert_close(data.images / 2 + 0.5, read.pixels)
    assert data.learning_rates.tolist() == [[pytest.approx(0.02)] * 2] * 3
    refused = {
        "distilled.steps=3": "its images are (2, 10, 1, 28, 28), and the options ask for (3, 10, 1, 28, 28)",
        "distilled.labels=fixed": "its labels are learned; use distilled.labels=learned or probabilities",
        "distilled.labels=probabilities": "its labels are no probabilities",
    }
    for option, told in refused.items():
        with pytest.raises(ConfigError) as refusal:
            begun(option)
        assert told in str(refusal.value)
    wide = replace(read, images=read.images.double(), labels=read.labels.double())
    wide.save(path)
    _, data = begun("distilled.labels=learned")
    assert data.images.dtype == data.labels.dtype == torch.float32
    assert torch.equal(data.images, read.images)
    fewer = read.metadata | {"class_names": list("abcde")}
    replace(read, metadata=fewer, labels=read.labels[..., :5]).save(path)
    with pytest.raises(ConfigError, match="it has 5 classes, and the data have 10"):
        begun("distilled.labels=learned")
    with pytest.raises(ConfigError, match=r"distilled\.start=artifact: artifact belongs to"):
        experiment("distilled.start=artifact")


@pytest.mark.slow
def test_probabilities_and_classes_are_the_start_of_others(experiment: Make, tmp_path: Path) -> None:
    for labels in ("fixed", "probabilities"):
        made = distill(*TINY, f"distilled.labels={labels}", f"hydra.run.dir={labels}", folder=tmp_path)
        assert made.code == 0, made.err
    paths = {labels: tmp_path / labels / "distilled.safetensors" for labels in ("fixed", "probabilities")}
    e = experiment(
        "distilled.start=artifact", f"distilled.start_from={paths['probabilities']}",
        "distilled.labels=probabilities", "distilled.temperature=0.7",
    )  # fmt: skip
    again = start(e.distilled, prepare(e).data.train, 0)
    torch.testing.assert_close(again.targets, load_distilled(paths["probabilities"]).labels)
    e = experiment("distilled.start=artifact", f"distilled.start_from={paths['fixed']}")
    assert torch.equal(start(e.distilled, prepare(e).data.train, 0).labels, torch.arange(10).repeat(2, 1))
