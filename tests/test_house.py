"""The house (CONTRIBUTING.md), as far as import-linter, which `make lint` runs, cannot say it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src"
PACKAGE = ROOT / "dataset_distillation"
#: What takes so long to import that `distill --help` must not wait for it.
HEAVY = {
    "torch", "torchvision", "pytorch_lightning", "lightning_fabric", "pandas", "numpy", "scipy", "sklearn",
    "matplotlib", "PIL", "joblib", "safetensors", "wandb", "jinja2", "rich", "higher",
}  # fmt: skip


def files() -> dict[str, Path]:
    """Each module of the package, by its name."""
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


FILES = files()


def imported(node: ast.stmt) -> Iterator[str]:
    """The modules that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            submodule = f"{node.module}.{alias.name}"
            yield submodule if submodule in FILES else node.module


def at_once(tree: ast.Module) -> set[str]:
    """What is imported as soon as the file is."""
    return {name for node in tree.body for name in imported(node)}


def later(tree: ast.Module) -> set[str]:
    """What is imported inside functions or under TYPE_CHECKING alone."""
    nested = {name for node in ast.walk(tree) if isinstance(node, ast.stmt) for name in imported(node)}
    return nested - at_once(tree)


@cache
def heavy(module: str) -> bool:
    """Whether to import `module` is to import something heavy, at once or through others of ours."""
    seen: set[str] = set()
    left = {module}
    while left:
        seen.add(name := left.pop())
        names = at_once(ast.parse(FILES[name].read_text()))
        if any(other.partition(".")[0] in HEAVY for other in names):
            return True
        parents = {name.rsplit(".", number)[0] for number in range(1, name.count("."))}
        left |= ({*names, *parents} & FILES.keys()) - seen
    return False


def test_of_our_own_files_only_heavy_ones_are_imported_later() -> None:
    """All others are imported at the top, where everybody sees them; but `cli` listens to signals first."""
    needless = {
        f"{module} -> {name}"
        for module, path in FILES.items()
        if module != "dataset_distillation.cli"
        for name in later(ast.parse(path.read_text()))
        if name in FILES and not heavy(name)
    }
    assert needless == set()


def test_the_top_of_the_package_has_six_files() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {
        "__init__.py", "errors.py", "files.py", "problem.py", "randomness.py", "user_code.py",
    }  # fmt: skip


def test_no_file_is_long_and_no_function() -> None:
    for name, path in FILES.items():
        text = path.read_text()
        assert len(text.splitlines()) <= 300, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                docstring = node.body[0] if ast.get_docstring(node) else node
                begin = docstring.end_lineno if docstring is not node else node.lineno
                assert node.end_lineno is not None
                assert begin is not None
                assert node.end_lineno - begin <= 60, f"{name}.{node.name}"


def test_only_experiment_pipeline_and_cli_know_an_experiment() -> None:
    for name, path in FILES.items():
        if name.split(".")[1:2] in (["experiment"], ["pipeline"], ["cli"]):
            continue
        words = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not {"Experiment", "Evaluate"} & words, name
