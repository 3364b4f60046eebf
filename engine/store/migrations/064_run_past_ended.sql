-- When a recording ended that a later run took again: what ended today counts for today, whatever became of it since.

alter table run_past add column ended timestamptz;
update run_past set ended = coalesce(case when status = 'stored' then row ->> 'stored' end, row ->> 'changed')::timestamptz;
create index run_past_ended on run_past (ended) include (status, duration);

create or replace function run_past_keep() returns trigger language plpgsql as $$
begin
  insert into run_past (run, recording, status, duration, row, voices, ended)
  values (old.run, old.id, old.status, old.duration, to_jsonb(old) - '{extra,traceback}'::text[], coalesce((
    select jsonb_object_agg(speaker, seconds)
    from (select speaker, sum(end_s - start_s) as seconds from segment where recording = old.id group by speaker) as each
  ), '{}'), case when old.status = 'stored' then coalesce(old.stored, old.changed) else old.changed end)
  on conflict do nothing;
  return null;
end $$;
