"""distill-evaluate: judges an artifact with held-out networks, at any later time, or baselines alone."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from dataset_distillation.architectures import Weights
from dataset_distillation.distilled.artifact import DistilledSet, load_distilled
from dataset_distillation.distilled.pictures import or_a_line, panel, write_real
from dataset_distillation.errors import choice_of, refuse
from dataset_distillation.evaluation.comparison import Comparison, compare
from dataset_distillation.evaluation.explain import Variant, variants
from dataset_distillation.evaluation.judge import fitted, of_another_network, size_of
from dataset_distillation.evaluation.real_sets import Size
from dataset_distillation.evaluation.schedule import Schedule
from dataset_distillation.evaluation.transfer import transferred
from dataset_distillation.experiment.tree import Evaluate, Experiment
from dataset_distillation.files import read, write
from dataset_distillation.init.given import Given
from dataset_distillation.networks.weights import LARGEST
from dataset_distillation.pipeline import same_data
from dataset_distillation.pipeline.dashboard import opened
from dataset_distillation.pipeline.prepare import (
    data_of,
    keys_of,
    origin_of,
    prepare,
    pretrain,
    warn_of_augmentation,
)
from dataset_distillation.problem import Problem
from dataset_distillation.run.attempts import Attempts
from dataset_distillation.run.folder import ARTIFACT, EVALUATION, IMAGES
from dataset_distillation.run.records import PoolReport, Result
from dataset_distillation.run.run import Run

log = logging.getLogger(__name__)


def evaluate(e: Evaluate, run: Run) -> Result:
    """Judge the artifact, the baselines, or both; return the outcome, which is also in `result.json`."""
    run.progress.metric = e.objective.metric
    with Attempts(run) as attempts:
        judged = read(e.artifact, LARGEST) if e.artifact else b""
        if judged:  # so that the report shows the judged data even if the folder is moved
            write(run.folder / ARTIFACT, judged)
        distilled = load_distilled(run.folder / ARTIFACT) if judged else None
        problem = prepare(e, test_only=not e.evaluation.baselines and not e.explain)
        problem.tell()
        origin = origin_of(problem, run, attempts)
        with opened(e.logger, run, e.dataset.title, origin, attempts) as dashboard:
            if distilled:
                with or_a_line("the picture of real images"):
                    write_real(problem.data.test, e.seed, run.folder / IMAGES)
                pictures = panel(distilled.pixels, distilled.labels, distilled.metadata["class_names"])
                e.logger.images(*pictures, step=0)
            problem, pool = _judges(e, problem, distilled, run)
            key = _key(e, problem, judged)
            if not (again := key is not None and key == attempts.record.key):
                # Before the record says that it is of this key.
                (run.folder / EVALUATION).unlink(missing_ok=True)
            attempts.record.key = key
            attempts.save(None)
            networks = problem.population("held-out", e.evaluation.networks)
            comparison = _compare(e, problem, distilled, networks, run, resumed=again)
            class_names = problem.data.specification.class_names
            rows = dashboard.show(comparison, e.objective, e.evaluation.selection, class_names)
        attempts.end("finished")
    result = Result(
        status="finished",
        artifact=str(Path(e.artifact).absolute()) if e.artifact else None,
        class_names=list(class_names),
        metrics=list(e.objective.metrics),
        selection=e.evaluation.selection,
        evaluation=rows,
        storage=distilled.storage if distilled else None,
        data=data_of(e.dataset, problem),
        pool=pool,
        provenance=attempts.provenance(run.command, origin),
    )
    run.record(result)
    return result


def _key(e: Evaluate, problem: Problem, judged: bytes) -> str | None:
    """SHA-256 of what the rows depend on, the artifact, too; None if the data have no checksum."""
    if not problem.data.checksum:
        return None
    return hashlib.sha256(keys_of(e, problem)[0].encode() + judged).hexdigest()


def _compare(
    e: Evaluate,
    problem: Problem,
    distilled: DistilledSet | None,
    networks: Sequence[Weights],
    run: Run,
    resumed: bool,
) -> Comparison:
    if distilled is None:
        size = Size.of(e.distilled)
        return compare(problem, e.evaluation, networks, [], size, None, run.folder, resumed, e.training)
    distilled = fitted(problem, distilled, str(e.artifact))
    same_data.check(e, problem, distilled)
    made, here = distilled.metadata.get("choices", {}).get("training", "ours"), run.choices["training"]
    if made != here and "training" not in _typed(run):
        text = "%s was chosen by training=%s; here: training=%s; to have that, use training=%s"
        log.warning(text, e.artifact, made, here, made)
    warn_of_augmentation(problem, e.training, f"{e.artifact} was made")
    changed = variants(problem, distilled, e.training, len(networks)) if e.explain else ()
    return judge(e, problem, distilled, networks, run.folder, resumed, changed)


def judge(
    e: Experiment,
    problem: Problem,
    distilled: DistilledSet,
    networks: Sequence[Weights],
    folder: Path,
    resumed: bool,
    explained: Iterable[Variant] = (),
) -> Comparison:
    """Return the runs of every method on the same held-out `networks` and the test split, one row per run."""
    schedule = Schedule(distilled, e.training, e.seed, len(networks))
    others = transferred(problem, distilled, e.training, e.evaluation.architectures, len(networks))
    size, rates = size_of(distilled), distilled.rates_by_epoch
    rows = (*others, *explained)
    return compare(problem, e.evaluation, networks, schedule, size, rates, folder, resumed, e.training, rows)


def _judges(
    e: Evaluate, problem: Problem, distilled: DistilledSet | None, run: Run
) -> tuple[Problem, PoolReport | None]:
    """Return the problem with the networks that judge, and a report on the pool that they come from.

    Its θ0 is the known network that the artifact holds, unless the command asks for an init or for another
    architecture.

    Raises ConfigError if the artifact has the checksum of another one alone.
    """
    known = distilled.initial_weights if distilled else {}
    if known and not _typed(run) & {"experiment", "init"}:
        if _shapes(known) == _shapes(dict(problem.network.named_parameters())):
            if ignored := sorted(_typed(run) & {"seed", "networks"}):
                names = " and ".join(ignored).replace("networks", "evaluation.networks")
                text = "%s is judged on the one network that it was made for, whatever %s; %s"
                log.warning(text, e.artifact, names, "init=random judges others")
            parameters = problem.network.named_parameters()
            weights = {name: known[name].to(parameter) for name, parameter in parameters}
            return replace(problem, init=Given(weights)), None
        log.warning("%s was made for one known network, and these have another architecture", e.artifact)
    asked = _typed(run) & {"experiment", "init", "architecture"}
    if distilled and not known and not asked and of_another_network(problem, distilled):
        allowed = f"was made for one known network, and that of init={choice_of(e.init)} is another now"
        remedy = "restore its weights, or set init.path or init to judge on other networks"
        raise refuse("artifact", e.artifact, allowed, remedy)
    return problem, pretrain(problem, e, held_out_alone=True)


def _shapes(weights: Weights) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def _typed(run: Run) -> set[str]:
    """The names in the keys of the command: `seed`, `init`, `evaluation`, `networks`, ..."""
    return {word for override in run.overrides for word in re.split("[.@+~/]", override.partition("=")[0])}
