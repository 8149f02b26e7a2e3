"""The fallback for values that nothing else here can keep: pickle, by cloudpickle where that is installed.

Loading a pickle runs code that its writer chose, and may fail with other versions of the classes inside. So these artifacts are
marked `code_bearing`, and only the run that made one loads it without being told to.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

from penstock.errors import ArtifactError
from penstock.runtime.materializers.base import Files, Materializer, Sink
from penstock.runtime.materializers.preview import described

_FILE = "value.pkl"


class Pickled(Materializer):
    """Any value that can be pickled."""

    name = "pickle"
    code_bearing = True

    def handles(self, kind: type) -> bool:
        """Every class is."""
        return True

    def save(self, value: Any, sink: Sink) -> dict[str, Any]:
        """Keep the value. Raises `ArtifactError` if it cannot be pickled."""
        return dump(value, sink, _FILE) | {"preview": described(value)}

    def load(self, files: Files, type_hint: Any) -> Any:
        """The value; runs code out of the file."""
        return read(files, _FILE)


def dump(value: Any, sink: Sink, name: str) -> dict[str, Any]:
    """Stream the pickle of `value` into a file; return what a reader must know about it."""
    try:
        # Optional: it also takes classes and functions of notebooks and of `__main__`.
        import cloudpickle
    except ImportError:
        format_, write = "pickle", pickle.dump
    else:
        format_, write = f"cloudpickle {cloudpickle.__version__}", cloudpickle.dump
    try:
        with sink.path(name).open("wb") as file:
            write(value, file, protocol=pickle.HIGHEST_PROTOCOL)
    except OSError:
        raise  # no room for the file: the value is not to blame
    except Exception as error:
        raise ArtifactError(f"it cannot be pickled: {type(error).__name__}: {described(error)}") from error
    return {"format": format_, "python": ".".join(map(str, sys.version_info[:3]))}


def read(files: Files, name: str) -> Any:
    """The value in a file that `dump` wrote. Runs code out of the file: the caller has been asked."""
    return pickle.load(files.open(name))  # noqa: S301  # the one place; `values.load` guards the way here
