"""What Weir's code overrides, copies and reads of Faust, mode and aiokafka, found by inspection."""

import ast
import importlib
import inspect
import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import stream

ROOT = Path(__file__).parents[3]
PACKAGES = ("faust", "mode", "aiokafka")
#: Constants of a protocol message, and what Python or mode create by themselves.
_NOT_OVERRIDES = {"API_KEY", "API_VERSION", "FLEXIBLE_VERSION", "RESPONSE_TYPE", "SCHEMA",
                  "_abc_impl", "_tasks", "logger"}  # fmt: skip

_DUNDER = ("__next__", "__post_init__")

Names = dict[str, set[str]]


def path_of(owner: Any) -> str:
    return f"{owner.__module__}.{owner.__qualname__}"


def named(path: str) -> Any:
    """The module, class or function of a dotted path."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ImportError(path)


def signature(function: Any) -> str:
    """A signature without annotations, ``attribute`` of what has none."""
    if isinstance(function, property) or not callable(function) or inspect.isclass(function):
        return "attribute"
    found = inspect.signature(function)
    bare = [each.replace(annotation=each.empty) for each in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


def is_upstream(owner: Any) -> bool:
    return owner.__module__.partition(".")[0] in PACKAGES


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(stream.__path__, "stream."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def derived() -> Iterator[type]:
    """Classes of `stream` that derive from a class of Faust, mode or aiokafka."""
    for module in modules():
        for each in vars(module).values():
            if (
                inspect.isclass(each)
                and each.__module__ == module.__name__
                and not issubclass(each, BaseException)
                and any(map(is_upstream, each.__mro__))
            ):
                yield each


def overridden() -> Names:
    """Names that these classes define again, by the upstream class that they are of."""
    found: Names = defaultdict(set)
    for each in derived():
        for name in vars(each):
            if name in _NOT_OVERRIDES or (name.startswith("__") and name not in _DUNDER):
                continue
            for base in filter(is_upstream, each.__mro__):
                if name in vars(base):
                    found[path_of(base)].add(name)
                    break
    return dict(found)


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for root in ("stream", "models", "trainer"):
        for path in sorted((ROOT / root).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def rebound_functions() -> Names:
    """Upstream functions that `rebound` copies, and the global names that it replaces."""
    found: Names = defaultdict(set)
    for path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "rebound":
                module = importlib.import_module(
                    ".".join(path.relative_to(ROOT).with_suffix("").parts)
                )
                function = eval(ast.unparse(node.args[0]), vars(module))
                found[path_of(function)] |= {str(each.arg) for each in node.keywords}
    return dict(found)


def private_names() -> set[str]:
    """Private attributes that the code uses and nothing in Weir defines."""
    defined: set[str] = set()
    used: set[str] = set()
    for _, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                defined.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if ast.unparse(node.value) == "self":
                    defined.add(node.attr)
            elif isinstance(node, ast.Attribute):
                if node.attr.startswith("_") and not node.attr.startswith("__"):
                    own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                    used.add(node.attr if own else f"*{node.attr}")
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                defined.add(node.id)
    return {name.lstrip("*") for name in used if name.lstrip("*") not in defined}


def has(owner: Any, name: str) -> bool:
    """Whether a class, or a module, has an attribute, be it one that a method assigns."""
    if hasattr(owner, name):
        return True
    return any(name in _assigned(each) for each in owner.__mro__ if is_upstream(each))


@cache
def _assigned(owner: type) -> set[str]:
    """Attributes that the methods of a class assign."""
    return {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(owner)))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }


def _imported(tree: ast.Module) -> set[str]:
    """Names under which a module imports something of upstream."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [each for each in node.names if each.name.split(".")[0] in PACKAGES]
            found |= {each.asname or each.name.split(".")[0] for each in names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            found |= {each.asname or each.name for each in node.names}
    return found


def process_wide_patches() -> list[str]:
    """Assignments to attributes of imported upstream modules and classes."""
    found = []
    for path, tree in _trees():
        imported = _imported(tree)
        for node in ast.walk(tree):
            target: ast.expr | None = None
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
                target = node.value
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "delattr"):
                target = node.args[0]
            while isinstance(target, ast.Attribute):
                target = target.value
            if isinstance(target, ast.Name) and target.id in imported:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    return found
