"""The one wrapper between an Arrow function and the engines that call it from SQL.

DuckDB hands over ``ChunkedArray``s of at most 2,048 rows; Spark hands over ``Array``s, refuses a chunked
result and silently casts one of the wrong type. So every function is called through ``Udf``, which joins
chunks and checks length and type of what comes back.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute

from ..schemas.errors import ContractError

# pyarrow makes its compute functions when it is imported, where type checkers cannot see them.
pc: Any = pyarrow.compute


@dataclass(frozen=True)
class Udf:
    """An Arrow function with its contract; call it on arrays, or by ``name`` from SQL.

    Attributes:
        name: name in SQL, on every engine.
        takes: type of each argument. A scalar in SQL arrives as an array of equal values.
        returns: type of the result.
        function: the function; nulls are handed over and are its own business.
    """

    name: str
    takes: tuple[pa.DataType, ...]
    returns: pa.DataType
    function: Callable[..., pa.Array]

    def as_function(self) -> Callable[..., pa.Array]:
        """The same as a plain function with the declared signature, which is what engines inspect."""

        @functools.wraps(self.function)
        def call(*arguments: pa.Array | pa.ChunkedArray) -> pa.Array:
            return self(*arguments)

        return call

    def __reduce__(self):
        # By name: the plain function is hidden behind the declaration, and workers import the package anyway.
        return _declared, (self.function.__module__, self.name)

    def __call__(self, *arguments: pa.Array | pa.ChunkedArray) -> pa.Array:
        """Apply to arrays of equal length.

        Raises:
            ContractError: wrong number or type of arguments, or a result of another length or type.
        """
        if len(arguments) != len(self.takes):
            raise ContractError(self.name, f"{len(arguments)} arguments", f"{len(self.takes)}")
        arrays = [_whole(argument) for argument in arguments]
        for array, kind in zip(arrays, self.takes, strict=True):
            if array.type != kind:
                raise ContractError(self.name, f"an argument of {array.type}", str(kind))
        result = self.function(*arrays)
        if isinstance(result, pa.ChunkedArray):
            result = _whole(result)
        if result.type != self.returns or len(result) != len(arrays[0]):
            raise ContractError(
                self.name, f"{result.type}[{len(result)}] came back", f"{self.returns}[{len(arrays[0])}]"
            )
        return result


def udf(*takes: pa.DataType, returns: pa.DataType) -> Callable[[Callable[..., pa.Array]], Udf]:
    """Declare an Arrow function's contract; its name in SQL is its name in Python."""

    def declare(function: Callable[..., pa.Array]) -> Udf:
        declared = Udf(function.__name__, takes, returns, function)
        object.__setattr__(declared, "__doc__", function.__doc__)
        return declared

    return declare


def _declared(module: str, name: str) -> Udf:
    return getattr(importlib.import_module(module), name)


def _whole(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        combined = array.combine_chunks()
        return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)
    return array
