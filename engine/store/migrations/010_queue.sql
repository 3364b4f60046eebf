-- The queue's side of a recording. A job of procrastinate exists exactly while its recording is queued or running;
-- everything that outlives the job (attempts, cause, error, host) is kept here.

alter table recording add column if not exists wish text;  -- asked for while it runs: cancelled, skipped
alter table recording add column if not exists deaths integer not null default 0;  -- engines that died holding it

create index if not exists recording_job on recording (job) where job is not null;
create index if not exists recording_retrying on recording (next_try) where status = 'queued' and next_try is not null;

-- Counts per status, kept by statement triggers as rows of differences, so that no two transactions wait for one counter.
-- Summed by every reader, folded together now and then (see engine/queue/counts.py).
create table recording_tally (
  status text not null,
  recordings bigint not null,
  seconds double precision not null,  -- of those whose duration is known
  unknown bigint not null             -- recordings of unknown duration
);

create function recording_tally_insert() returns trigger language plpgsql as $$
begin
  insert into recording_tally
  select status, count(*), coalesce(sum(duration), 0), count(*) filter (where duration is null) from fresh group by status;
  return null;
end $$;

create function recording_tally_update() returns trigger language plpgsql as $$
begin
  insert into recording_tally
  select status, sum(n), sum(seconds), sum(unknown)
  from (
    select status, 1 as n, coalesce(duration, 0) as seconds, (duration is null)::int as unknown from fresh
    union all
    select status, -1, -coalesce(duration, 0), -(duration is null)::int from stale
  ) as both_sides
  group by status having sum(n) <> 0 or sum(seconds) <> 0 or sum(unknown) <> 0;
  return null;
end $$;

create function recording_tally_delete() returns trigger language plpgsql as $$
begin
  insert into recording_tally
  select status, -count(*), -coalesce(sum(duration), 0), -count(*) filter (where duration is null) from stale group by status;
  return null;
end $$;

create function recording_tally_truncate() returns trigger language plpgsql as $$
begin
  delete from recording_tally;
  return null;
end $$;

create trigger recording_tally_insert after insert on recording
  referencing new table as fresh for each statement execute function recording_tally_insert();
create trigger recording_tally_update after update on recording
  referencing old table as stale new table as fresh for each statement execute function recording_tally_update();
create trigger recording_tally_delete after delete on recording
  referencing old table as stale for each statement execute function recording_tally_delete();
create trigger recording_tally_truncate after truncate on recording
  for each statement execute function recording_tally_truncate();

insert into recording_tally
select status, count(*), coalesce(sum(duration), 0), count(*) filter (where duration is null) from recording group by status;
