"""The one door of a live change: validate, write with the next revision, be acknowledged; and its way back.

Every change is kept, refused ones with the reason. Undo is a change like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from psycopg.sql import SQL, Literal
from pydantic import SecretStr, ValidationError

from gainstage.config.errors import SettingError
from gainstage.config.origins import MASK, explain, parse, spec_of
from gainstage.config.setting_keys import split_scope, with_scope
from gainstage.config.settings import SPECS, Effect, Settings, Spec, changed, value_of
from gainstage.engine.clean import value_text
from gainstage.engine.queue.rows import Link, document, plain
from gainstage.engine.store.database import Database
from gainstage.engine.views.commands import Ack
from gainstage.engine.views.rows import ChangeRow, Figures

SCOPE = re.compile(r"[\w.-]+(/[\w-]+)?")
"""A host, or one engine of it."""

WHERE_IT_LIVES = frozenset({"store.database", "engines.gpus", "engines.count"})
"""Read before the database is reached, so it cannot be set there."""


def set_value(db: Database, key: str, value: Any, by: str, *, below: Mapping[str, Any] | None = None) -> Ack:
    """Set ``key`` live for every engine, or for those of its scope (``key@host``, ``key@host/engine``). Text is read as a person typed it (``none``, ``on``, ``4``).

    ``below`` are the values under the live layer, by key, where somebody knows them (an engine's own); they only serve to
    show the old value. The acknowledgement is refused (unknown key, bad value), done (no engine runs, nothing to change),
    or pending until the engines alive have it: see :func:`ack`. Raises :class:`gainstage.engine.errors.Transient` in an outage.
    """
    with db.transaction() as connection:
        live = _lock_live(connection)
        try:
            settled = _settle(key, value, live)
        except SettingError as error:
            return _refuse(connection, key, value, by, str(error), live, below)
        return _write(connection, key, settled, by, live, below)


def undo(db: Database, by: str, to_revision: int | None = None, *, below: Mapping[str, Any] | None = None) -> Ack:
    """Take back the last change that still stands, or (``to_revision``) all after a revision.

    Undoing again goes one change further back. The acknowledgement is that of the last change made; its text names all.
    """
    with db.transaction() as connection:
        live = _lock_live(connection)
        if to_revision is None:
            which = SQL("undone_by is null and undoes = '{{}}' order by revision desc limit 1")
        else:
            which = SQL("revision > %(to)s order by revision desc")
        standing = connection.execute(
            SQL("select revision, key, old, live_before from change where not refused and {}").format(which), {"to": to_revision}
        ).fetchall()
        first: dict[str, tuple[Any, bool]] = {}
        for _, key, old, live_before in standing:  # newest first: the oldest change of a key is written last and stays
            first[key] = (old, live_before)
        first = {
            key: (old, was_live)
            for key, (old, was_live) in first.items()
            if (key in live) != was_live or (was_live and live[key] != old)
        }
        if not first:
            return Ack(0, "refused", "nothing to undo" if to_revision is None else f"nothing differs from revision {to_revision}")
        if secret := next((k for k, (_, was_live) in first.items() if was_live and _secret(k)), None):
            return Ack(0, "refused", f"{secret} is a secret: its old value was not kept; set it anew")
        texts = []
        result = Ack(0, "done")
        for key, (old, live_before) in sorted(first.items()):
            taken = [revision for revision, k, *_ in standing if k == key]
            result = _write(connection, key, old if live_before else None, by, live, below, remove=not live_before, undoes=taken)
            texts.append(f"{key} {value_text(result.old)} → {value_text(result.new)}")
        return Ack(
            result.id,
            result.state,
            "; ".join(texts),
            result.revision,
            result.old,
            result.new,
            result.effect,
            result.applied_after_s,
        )


def ack(db: Database, id: int) -> Ack:
    """What has become of a change. Raises KeyError for an unknown number."""
    with db.transaction() as connection:
        rows = _history(connection, SQL("c.id = %s"), [id], 1)
        if not rows:
            raise KeyError(id)
        row, effect = rows[0]
        state = {"applied": "done", "refused": "refused", "pending": "pending"}[row.state]
        return Ack(
            id,
            state,  # type: ignore[arg-type]
            row.text,
            None if row.state == "refused" else row.revision,
            row.old,
            row.new,
            effect,
            row.applied_after_s,
        )


def history(db: Database, limit: int = 200) -> tuple[ChangeRow, ...]:
    """The changes, newest first."""
    with db.transaction() as connection:
        return history_of(connection, limit)


def history_of(connection: Link, limit: int = 200) -> tuple[ChangeRow, ...]:
    """The changes, newest first, as a connection sees them."""
    return tuple(row for row, _ in _history(connection, SQL("true"), [], limit))


def live_values(connection: Link) -> dict[str, tuple[Any, int]]:
    """(value, revision) of every key that is set live; secrets masked."""
    return {
        key: (_mask(key, value), revision)
        for key, value, revision in connection.execute("select key, value, revision from setting order by key")
    }


def predict(db: Database, revision: int, text: str, gain: float | None = None) -> None:
    """Keep what was expected of a change before it was made; ``gain`` is the relative change of throughput."""
    with db.transaction() as connection:
        connection.execute(
            "update change set predicted = %s, predicted_gain = %s where revision = %s and not refused",
            [plain(text), gain, revision],
        )


def record_effect(
    db: Database,
    revision: int,
    before: Figures | None,
    after: Figures | None,
    text: str,
    *,
    gain: tuple[float, float, float] | None = None,
    interim: bool = False,
) -> None:
    """Keep the measured effect of a change beside it; None is "not enough data". ``gain`` is (gain, low, high), relative."""
    with db.transaction() as connection:
        connection.execute(
            "update change set before = %s, after = %s, effect_text = %s, gain = %s, gain_low = %s, gain_high = %s, interim = %s"
            " where revision = %s and not refused",
            [
                before and document(asdict(before)),
                after and document(asdict(after)),
                plain(text),
                *(gain or (None, None, None)),
                interim,
                revision,
            ],
        )


def _lock_live(connection: Link) -> dict[str, Any]:
    """The live values, held against other writers until the transaction ends; readers are not kept waiting."""
    connection.execute("lock table setting in share row exclusive mode")
    return dict(connection.execute("select key, value from setting").fetchall())


def _settle(key: str, value: Any, live: Mapping[str, Any]) -> Any:
    """The value as it will be stored (plain JSON), checked by the schema; raises SettingError with the reason."""
    name, scope = split_scope(key)
    spec_of(name)
    if "@" in key and not SCOPE.fullmatch(scope):
        raise SettingError(f"{key}: after @ stands a host, or host/engine")
    if name in WHERE_IT_LIVES:
        raise SettingError(f"{name} is read before the database is reached: set it in the file, the environment or the command")
    try:
        settings = changed(_over_defaults(live), name, parse(name, value) if isinstance(value, str) else value)
    except ValidationError as error:
        raise SettingError(explain(error)) from None
    return _json(value_of(settings, name))


def _over_defaults(live: Mapping[str, Any]) -> Settings:
    settings = Settings()
    for key, value in live.items():
        try:
            settings = changed(settings, key, value)
        except (KeyError, ValidationError):
            continue  # left by another version: engines report it
    return settings


def _write(
    connection: Link,
    key: str,
    value: Any,
    by: str,
    live: dict[str, Any],
    below: Mapping[str, Any] | None,
    *,
    remove: bool = False,
    undoes: Sequence[int] = (),
) -> Ack:
    under = _under(key, live, below)
    old, new = live.get(key, under), under if remove else value
    effect = spec.effect.value if (spec := _spec(key)) else Effect.RUN.value
    if not undoes and key in live and old == new:
        revision = connection.execute("select revision from setting where key = %s", [key]).fetchall()[0][0]
        return Ack(0, "done", f"{key} is {value_text(_mask(key, new))} already", revision, _mask(key, old), _mask(key, new), effect)
    id, revision, engines = connection.execute(
        """
        insert into change (revision, by, key, old, new, live_before, undoes, asked)
        select coalesce((select max(revision) from change where not refused), 0) + 1, %s, %s, %s, %s, %s, %s::bigint[],
          array(select id from engine_alive order by id)
        returning id, revision, asked
        """,
        [plain(by), key, document(_mask(key, old)), document(_mask(key, new)), key in live, list(undoes)],
    ).fetchall()[0]
    if undoes:
        connection.execute("update change set undone_by = %s where revision = any(%s) and not refused", [revision, list(undoes)])
    if remove:
        connection.execute("delete from setting where key = %s", [key])
        live.pop(key, None)
    else:
        connection.execute(
            "insert into setting (key, value, revision, by) values (%s, %s, %s, %s) on conflict (key) do update "
            "set value = excluded.value, revision = excluded.revision, by = excluded.by, at = clock_timestamp()",
            [key, document(value), revision, plain(by)],
        )
        live[key] = value
    text = "" if engines else "no engine is running: it holds from the next start"
    return Ack(id, "pending" if engines else "done", text, revision, _mask(key, old), _mask(key, new), effect)


def _refuse(
    connection: Link, key: str, value: Any, by: str, text: str, live: Mapping[str, Any], below: Mapping[str, Any] | None
) -> Ack:
    old = _mask(key, live.get(key, _under(key, live, below)))
    new = _mask(key, value)
    ((id,),) = connection.execute(
        "insert into change (revision, by, key, old, new, live_before, refused, text) "
        "select coalesce((select max(revision) from change where not refused), 0), %s, %s, %s, %s, %s, true, %s returning id",
        [plain(by), plain(key)[:200], document(old), document(_json(new)), key in live, plain(text)],
    ).fetchall()
    return Ack(id, "refused", text, None, old, new)


def _history(connection: Link, where: SQL, values: list[Any], limit: int) -> list[tuple[ChangeRow, str]]:
    """Rows with their effect class. Applied is: every engine asked has answered, or is gone."""
    rows = connection.execute(
        SQL(
            """
            select c.id, c.revision, extract(epoch from c.at)::float8, c.by, c.key, c.old, c.new,
              case when c.refused then 'refused'
                when exists (select 1 from engine_alive e where e.id = any(c.asked)
                  and not exists (select 1 from change_answer x where x.change = c.id and x.engine = e.id)) then 'pending'
                else 'applied' end,
              concat_ws('; ', nullif(c.text, ''),
                (select string_agg(x.engine || ': ' || x.text, '; ' order by x.engine) from change_answer x
                 where x.change = c.id and x.text <> '')),
              (select max(x.after_s) from change_answer x where x.change = c.id),
              c.before, c.after, c.effect_text, c.undone_by, c.predicted, c.predicted_gain, c.gain, c.gain_low, c.gain_high, c.interim
            from change c where {} order by c.id desc limit {}
            """
        ).format(where, Literal(limit)),
        values,
    ).fetchall()
    history = []
    for _, *columns in rows:
        columns[9:11] = [Figures(**figures) if figures else None for figures in columns[9:11]]
        row = ChangeRow(*columns)
        history.append((row, spec.effect.value if (spec := _spec(row.key)) else ""))
    return history


def _under(key: str, live: Mapping[str, Any], below: Mapping[str, Any] | None) -> Any:
    """What holds where ``key`` is not set live: the value of a wider scope, else the engine's own, else the default."""
    name, scope = split_scope(key)
    host, _, engine = scope.partition("/")
    for wider in (host, "") if engine else ("",) if host else ():
        if (at := with_scope(name, wider)) in live:
            return live[at]
    if below is not None and name in below:
        return below[name]
    return _json(spec.default) if (spec := _spec(key)) else None


def _json(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _mask(key: str, value: Any) -> Any:
    return MASK if value is not None and _secret(key) else value


def _spec(key: str) -> Spec | None:
    return SPECS.get(split_scope(key)[0])


def _secret(key: str) -> bool:
    spec = _spec(key)
    return spec is not None and spec.secret
