"""What is installed: a wheel that holds the package, its data too, and nothing else."""

import zipfile
from pathlib import Path

import pytest

from escrime import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "escrime"
DATA = {  # what is no module; a new kind of file is put here, and into the wheel by itself
    "py.typed",
    "imagenet_wnids.txt",
    "attacks/core/found.pyi",
    *(f"commands/run/shipped/{name}.toml" for name in ("digits", "imagenette", "imagenette-robust")),
    "commands/catalog.json",
    *(f"report/templates/{name}.html.j2" for name in ("board", "corruptions", "deployment", "report", "model_touch")),
    *(f"report/templates/{name}.js" for name in ("board", "chart", "gallery", "page", "watch")),
    *(f"report/templates/{name}.css" for name in ("board", "report")),
}


def sources() -> set[str]:
    return {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_the_list_of_data_is_whole():
    assert {name for name in sources() if not name.endswith(".py")} == DATA


def test_the_wheel_holds_the_package_its_license_and_the_command(tmp_path):
    wheels = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed: pip install '.[test]'")
    made = next(wheels.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(made) as wheel:
        names = set(wheel.namelist())
        about = f"escrime-{__version__}.dist-info"
        entries, facts = (wheel.read(f"{about}/{name}").decode() for name in ("entry_points.txt", "METADATA"))
    assert {name.removeprefix("escrime/") for name in names if name.startswith("escrime/")} == sources()
    assert {name for name in names if not name.startswith("escrime/")} == {
        f"{about}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    assert "escrime = escrime.cli:main" in entries and "Description-Content-Type: text/markdown" in facts
