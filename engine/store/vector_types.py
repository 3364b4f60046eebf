"""pgvector's types on a connection. The library and numpy are loaded with the first vector: most commands never meet one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import Connection
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo

if TYPE_CHECKING:
    from pgvector import HalfVector, Vector

CLASSES = {"vector": "pgvector.vector.Vector", "halfvec": "pgvector.halfvec.HalfVector"}
"""The types that are registered, and the values they become; psycopg finds a class by this name once it is imported."""


class _Text(Dumper):
    def dump(self, obj: Vector | HalfVector) -> Buffer | None:
        return obj.to_text().encode()


class _Binary(Dumper):
    format = Format.BINARY

    def dump(self, obj: Vector | HalfVector) -> Buffer | None:
        return obj.to_binary()


class _FromText(Loader):
    kind = ""

    def load(self, data: Buffer) -> Vector | HalfVector | None:
        return _class_of(self.kind).from_text(bytes(data).decode())  # type: ignore[no-any-return]


class _FromBinary(Loader):
    format = Format.BINARY
    kind = ""

    def load(self, data: Buffer) -> Vector | HalfVector | None:
        return _class_of(self.kind).from_binary(bytes(data))  # type: ignore[no-any-return]


def _class_of(kind: str) -> Any:
    import pgvector

    return pgvector.HalfVector if kind == "halfvec" else pgvector.Vector


def register(connection: Connection[Any], info: TypeInfo) -> None:
    """Make a connection read and write the values of a type of :data:`CLASSES`."""
    info.register(connection)
    context: AdaptContext = connection
    for dumper in (_Text, _Binary):
        context.adapters.register_dumper(CLASSES[info.name], type(dumper.__name__, (dumper,), {"oid": info.oid}))
    for loader in (_FromText, _FromBinary):
        context.adapters.register_loader(info.oid, type(loader.__name__, (loader,), {"kind": info.name}))
