"""What the documents name is there: paths, modules, names in them, make targets, linked files."""

import importlib
import re
from pathlib import Path

import pytest

from models.settings import Settings
from tests.installed import ROOT

DOCUMENTS = [
    *(ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "deploy" / "README.md",
]
PACKAGES = "stream|models|trainer|tests|chaos|benchmarks"
PATH = re.compile(rf"(?<![\w./-])(?:{PACKAGES}|deploy|docs)/[\w./*-]*\w")
DOTTED = re.compile(rf"(?<![\w./-])(?:{PACKAGES})(?:\.\w+)+(?![\w/])")
SOURCE = re.compile(r"(?<![\w./-])[\w./-]+\.(?:py|h|c)\b")
CLASS = re.compile(r"(?<![\w.])(?:[A-Z][a-z]+){2,}(?!\w)")

documents = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def prose(document: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def quoted(document: Path, pattern: re.Pattern[str]) -> set[str]:
    """What a pattern finds within the backticks of a document's prose, `kubectl` commands aside."""
    spans = re.findall(r"`([^`]+)`", prose(document))
    return {
        found
        for span in spans
        if not span.startswith("kubectl ")
        for found in pattern.findall(span)
    }


def added(document: Path) -> set[str]:
    """Files that a document tells its reader to write: blocks of Python that begin with a path."""
    return set(re.findall(r"^```python\n# (\S+\.py)$", document.read_text(), re.MULTILINE))


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a key of the settings, a module, or a name in a module."""
    section, _, key = dotted.partition(".")
    if key in getattr(type(getattr(Settings(), section, None)), "model_fields", ()):
        return True
    module, *names = dotted.split(".")
    found: object = importlib.import_module(module)
    for name in names:
        module = f"{module}.{name}"
        if not hasattr(found, name):
            try:
                importlib.import_module(module)
            except ModuleNotFoundError:
                return False
        found = getattr(found, name)
    return True


@documents
def test_paths_exist(document: Path) -> None:
    """Files and folders of this repository that a document names are there."""
    named = quoted(document, PATH) - added(document)
    assert sorted(name for name in named if not list(ROOT.glob(name))) == []


@documents
def test_dotted_names_exist(document: Path) -> None:
    """Modules, and classes and functions in modules, can be imported by the names given."""
    named = {name for name in quoted(document, DOTTED) if not (document.parent / name).exists()}
    assert sorted(name for name in named if not resolves(name)) == []


@documents
def test_links_lead_to_files(document: Path) -> None:
    """Relative links lead to files."""
    text = re.sub(r"`[^`]*`", "", prose(document))
    files = [name for name in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in name]
    assert [name for name in files if not (document.parent / name).exists()] == []


@documents
def test_make_targets_exist(document: Path) -> None:
    """Every `make` target that a document names is in the Makefile."""
    text = document.read_text()
    code = re.findall(r"^```.*?^```|`[^`]+`", text, re.DOTALL | re.MULTILINE)
    named = {
        name for block in code for name in re.findall(r"(?:`|^)make ([a-z-]+)", block, re.MULTILINE)
    }
    makefile = (ROOT / "Makefile").read_text()
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


def test_files_and_classes_of_the_architecture_exist() -> None:
    """ARCHITECTURE.md names a file by the end of its path, and a class by its name alone."""
    architecture = ROOT / "ARCHITECTURE.md"
    files = [
        path
        for root in (*PACKAGES.split("|"), "weir")
        for path in (ROOT / root).rglob("*")
        if path.suffix in {".py", ".h", ".c"}
    ]
    paths = [f"/{path.relative_to(ROOT)}" for path in files]
    named = quoted(architecture, SOURCE)
    assert sorted(name for name in named if not any(p.endswith(f"/{name}") for p in paths)) == []
    text = "\n".join(path.read_text() for path in files if path.suffix == ".py")
    defined = set(
        re.findall(r"\b(?:class|import) +(\w+)|^(?:type )?(\w+)(?:: \w+)? =", text, re.MULTILINE)
    )
    classes = quoted(architecture, CLASS)
    assert sorted(classes - {name for pair in defined for name in pair}) == []
