"""Where a store lies: a folder of this machine, or a URL that Delta Lake and fsspec take."""

from pathlib import Path
from typing import Final

from models.errors import UserError

_FILE: Final = "file://"


class StoreError(UserError, RuntimeError):
    """A store that cannot be used; the message names the table or the file, and the fix."""


def is_local(store: str) -> bool:
    """Whether the store is a folder of this machine."""
    return "://" not in store or store.startswith(_FILE)


def local_folder(store: str) -> Path:
    """The absolute folder of a local store."""
    return Path(store.removeprefix(_FILE)).absolute()


def create_folder(store: str) -> None:
    """Create the folder of a local store; object stores have none.

    Raises:
        OSError: If that is not possible; it names the folder as it was given.
    """
    if is_local(store):
        Path(store.removeprefix(_FILE)).mkdir(parents=True, exist_ok=True)


def place(store: str, name: str) -> str:
    """URL of a part of the store; an absolute path if the store is local."""
    if is_local(store):
        return str(local_folder(store) / name)
    return f"{store.rstrip('/')}/{name}"


def working_folder(store: str, scratch: str) -> Path:
    """Folder of this machine for rebuilds: in the store if that is local, else `scratch`.

    Raises:
        StoreError: If the store is not local and no scratch folder is given.
    """
    if is_local(store):
        return local_folder(store)
    if not scratch:
        raise StoreError(
            f"trainer.store: {store} is not a folder of this machine, so rebuilds need one: "
            "name it in trainer.scratch"
        )
    return Path(scratch).absolute()
