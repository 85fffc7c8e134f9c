"""The one-way dependencies between the folders, read off the imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {"schemas": set(), "udfs": {"schemas"}, "examples": set(), "pipelines": {"schemas", "udfs", "examples"}}
LAYERS["airflow_dags"] = {"pipelines", "schemas", "examples"}
STAGES = {"ingest", "consult", "fetch", "screen", "filter", "dedup", "balance", "emit", "train", "audit"}
FILES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Modules of the project that a file imports, such as ``udfs.urls``."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            found |= {".".join((*base, *filter(None, [node.module]), alias.name)) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fairshard."):
            found |= {f"{node.module}.{alias.name}".removeprefix("fairshard.") for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("fairshard.") for alias in node.names if alias.name.startswith("fairshard.")
            }
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dependencies_point_one_way(path):
    layer = path.relative_to(ROOT).parts[0]
    allowed = LAYERS[layer] | {layer}
    assert {name for name in imports(path) if name.split(".")[0] not in allowed} == set()


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_stages_do_not_import_each_other(stage):
    path = ROOT / "pipelines" / f"{stage}.py"
    others = {f"pipelines.{name}" for name in STAGES - {stage}}
    assert {name for name in imports(path) if any(name == o or name.startswith(f"{o}.") for o in others)} == set()


@pytest.mark.parametrize(
    "path", ["pipelines/_duckdb.py", "pipelines/_engine.py", "pipelines/_spark.py", "pipelines/_spark_files.py"]
)
def test_engines_know_no_stage(path):
    names = {node.value for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.Constant)}
    assert names & STAGES == set()
    known = ("pipelines._duckdb.", "pipelines._engine.", "pipelines._files.", "pipelines._spark_files.")
    assert [name for name in imports(ROOT / path) if name.startswith("pipelines.") and not name.startswith(known)] == []


def test_schemas_import_pyarrow_and_the_standard_library_only():
    import sys

    names = set()
    for path in (ROOT / "schemas").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add((node.module or "").split(".")[0])
    assert names - set(sys.stdlib_module_names) <= {"pyarrow", "yaml"}


@pytest.mark.parametrize("stage", sorted(STAGES - {"train", "audit"}))
def test_a_stage_file_says_what_it_reads_and_writes(stage):
    import importlib

    from fairshard.schemas.tables import TABLES

    module = importlib.import_module(f"fairshard.pipelines.{stage}")
    assert module.__doc__.startswith(f"{stage}: ")
    assert set(module.READS) | set(module.WRITES) <= set(TABLES)
