"""The Python API: complete, documented, quick to import, without torch."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import weir

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text()


def test_version_is_that_of_the_distribution() -> None:
    """`weir.__version__` is what pip installed."""
    assert weir.__version__ == version("weir")


@pytest.mark.parametrize("name", [name for name in weir.__all__ if not name.startswith("__")])
def test_every_name_is_there_and_documented(name: str) -> None:
    """What the package exports exists, and docs/api.md names it."""
    assert getattr(weir, name).__doc__
    assert re.search(rf"`[^`]*\b{name}\b[^`]*`", PAGE), name


def test_the_page_names_nothing_else() -> None:
    """The first word of each row of the page's tables is exported, or belongs to what is."""
    named = re.findall(r"^\| `(?:await )?(\w+)", PAGE, re.MULTILINE)
    assert len(named) > 15
    assert set(named) <= set(weir.__all__)


def test_importing_it_loads_neither_torch_nor_a_kafka_client() -> None:
    """What takes seconds to import is not imported until it is needed."""
    code = (
        "import sys, weir\n"
        "heavy = ('torch', 'sklearn', 'lightgbm', 'onnx', 'trainer', 'aiokafka', 'faust', 'rich')\n"
        "print(*(name for name in heavy if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"


@pytest.mark.parametrize("name", ["models", "stream", "trainer"])
def test_a_package_that_hides_weirs_own_is_named(name: str, tmp_path: Path) -> None:
    """A package of the same name that Python finds first is an error that says where it is."""
    (tmp_path / f"{name}.py").write_text("raise RuntimeError")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import weir"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"package {name!r} is hidden by {tmp_path / name}.py; rename yours" in done.stderr
