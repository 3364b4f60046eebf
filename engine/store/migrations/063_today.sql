-- What ended today without a look at the recordings: the tally also says in which quarter of an hour they ended. Every time zone's
-- midnight begins one. Quarters older than two days are folded together (engine/queue/counts.py).

create function recording_quarter(status text, stored timestamptz, changed timestamptz) returns timestamptz language sql stable as $$
  select case when status not in ('queued', 'running') then
    date_bin('15 minutes', case when status = 'stored' then coalesce(stored, changed) else changed end, timestamptz '2000-01-01 00:00+00')
  end
$$;

delete from recording_tally;
alter table recording_tally add column quarter timestamptz;  -- null: not ended, or long ago
insert into recording_tally (status, recordings, seconds, unknown, run, quarter)
select status, count(*), coalesce(sum(duration), 0), count(*) filter (where duration is null), run, recording_quarter(status, stored, changed)
from recording group by status, run, recording_quarter(status, stored, changed);

create or replace function recording_tally_insert() returns trigger language plpgsql as $$
begin
  insert into recording_tally (status, recordings, seconds, unknown, run, quarter)
  select status, count(*), coalesce(sum(duration), 0), count(*) filter (where duration is null), run,
    recording_quarter(status, stored, changed)
  from fresh group by status, run, recording_quarter(status, stored, changed);
  return null;
end $$;

create or replace function recording_tally_update() returns trigger language plpgsql as $$
begin
  insert into recording_tally (status, recordings, seconds, unknown, run, quarter)
  select status, sum(n), sum(seconds), sum(unknown), run, quarter
  from (
    select status, run, recording_quarter(status, stored, changed) as quarter, 1 as n, coalesce(duration, 0) as seconds,
      (duration is null)::int as unknown
    from fresh
    union all
    select status, run, recording_quarter(status, stored, changed), -1, -coalesce(duration, 0), -(duration is null)::int from stale
  ) as both_sides
  group by status, run, quarter having sum(n) <> 0 or sum(seconds) <> 0 or sum(unknown) <> 0;
  return null;
end $$;

create or replace function recording_tally_delete() returns trigger language plpgsql as $$
begin
  insert into recording_tally (status, recordings, seconds, unknown, run, quarter)
  select status, -count(*), -coalesce(sum(duration), 0), -count(*) filter (where duration is null), run,
    recording_quarter(status, stored, changed)
  from stale group by status, run, recording_quarter(status, stored, changed);
  return null;
end $$;

-- The end of a run is the end of its last recording.
create index recording_run_end on recording (run, (case when status = 'stored' then stored else changed end));
