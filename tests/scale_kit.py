"""A database of very many recordings, made by SQL in seconds: what a home holds after months.

``python -m tests.scale_kit HOME [--recordings N]`` fills the embedded database of a home.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from gainstage.config.paths import Paths
from gainstage.engine.queue.schema import ensure
from gainstage.engine.store.codec import document
from gainstage.engine.store.database import Database
from tests.engine.store_kit import decision

CAUSES = ("HTTP 403", "HTTP 404", "throttled", "no audio", "out of memory", "private video", "timeout", "members only")

_RECORDINGS = """
insert into recording (id, key, source, title, duration, channel, published, status, stage, priority, attempt, cause, error, hint,
  retryable, job, added, changed, stored, revision, facts, spans, fingerprint, segments, speakers, speech_s, labelled_s, unknown_s)
select substr(md5(n::text), 1, 11), 'youtube:' || n, 'https://www.youtube.com/watch?v=' || substr(md5(n::text), 1, 11),
  'Recording ' || n || ' of ' || n %% 977 || ': a conversation about ' || (array['tides', 'stars', 'bread', 'rivers'])[1 + n %% 4],
  60 + n %% 7200, 'channel ' || n %% 50, '2026-01-01', s.status,
  case s.status when 'failed' then (array['fetch', 'decode', 'transcribe'])[1 + n %% 3] end, n %% 3, 1,
  case when s.status in ('failed', 'skipped') then (%(causes)s::text[])[1 + n / 10 %% array_length(%(causes)s::text[], 1)] end,
  case when s.status in ('failed', 'skipped') then 'the server answered with a page that says so' end,
  case when s.status = 'failed' then 'look at it and try again' end, case when s.status = 'failed' then true end,
  case when s.status = 'queued' then n end,
  now() - make_interval(secs => 3 * (%(count)s - n)), now() - make_interval(secs => 2 * (%(count)s - n)),
  case when s.status = 'stored' then now() - make_interval(secs => 2 * (%(count)s - n)) end, 1,
  case when s.status = 'stored' then %(facts)s::jsonb else '{}'::jsonb end,
  case when s.status = 'stored' then %(spans)s::jsonb else '[]'::jsonb end,
  case when s.status = 'stored' then md5(n::text) end, case when s.status = 'stored' then 2 end,
  case when s.status = 'stored' then 1 + n %% 4 end, 50, 48, 2
from generate_series(1, %(count)s) n,
  lateral (select (array['stored', 'stored', 'stored', 'stored', 'stored', 'stored', 'queued', 'queued', 'failed', 'skipped'])
    [1 + n %% 10] as status) s
"""

_JOBS = """
insert into procrastinate_jobs (id, queue_name, task_name, priority, args)
select job, 'ingest', 'ingest', priority, jsonb_build_object('recording', id) from recording where job is not null
"""

_SEGMENTS = """
insert into segment (recording, ordinal, start_s, end_s, speaker, confidence, provenance, text, words, language)
select r.id, o, 30 * o, 30 * o + 29, case when r.n % 7 = 0 then 'Helen' else 'Speaker ' || 1 + r.n % 5 end, 0.7, 'cluster',
  'word' || r.n % 20000 || ' about the rings of Saturn, word' || r.n * 7 % 5000 || ' and the ice between them, said number ' || r.n * 2 + o,
  '[["word", 0.0, 0.5, 0.9, null, false]]', 'en'
from (select id, row_number() over (order by id) as n from recording where status = 'stored') r, generate_series(0, 1) o
"""

_DECISIONS = """
insert into decision (recording, ordinal, cluster, wall, revision, rule, speaker, split, massive, seconds, turns, mean, variance, low, high,
  spread, record)
select id, 0, 'SPEAKER_00', stored, 1, 'under limits', 'Helen', false, false, 33.5, 4, 0.5, 0.04, 0.25, 0.75, 0.5, %(record)s::jsonb
from recording where status = 'stored'
"""


def fill(connection: Connection[TupleRow], recordings: int, *, said: bool = True) -> None:
    """Recordings in every state, the queued ones with their jobs, and (``said``) two passages and a decision of each stored one."""
    stages = ("fetch", "decode", "transcribe", "diarize", "identify", "embed", "store")
    spans = [
        {"stage": name, "start_wall": 1.7e9, "wait_s": 0.1, "service_s": 2.5, "outcome": "ok", "attempt": 1, "note": None}
        for name in stages
    ]
    facts = {"language": "en", "turns": [[float(n), n + 0.9, "SPEAKER_00"] for n in range(60)]}
    values = {"count": recordings, "causes": list(CAUSES), "facts": Jsonb(facts), "spans": Jsonb(spans)}
    with connection.transaction():
        ensure(connection)
        connection.execute(_RECORDINGS, values)
        connection.execute(_JOBS)
        connection.execute("select setval('procrastinate_jobs_id_seq', %s)", [recordings])
        # else the check of each passage's recording is planned for an empty table, and reads all of it
        connection.execute("analyze recording")
        if said:
            connection.execute("insert into language (code) values ('en') on conflict do nothing")
            connection.execute(_SEGMENTS)
            connection.execute(_DECISIONS, {"record": document(decision())})
    connection.execute("vacuum analyze")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--recordings", type=int, default=200_000)
    args = parser.parse_args()
    with Database.open(None, Paths.of(args.home).ensure().database) as database, database.own_connection() as connection:
        fill(connection, args.recordings)


if __name__ == "__main__":
    main()
