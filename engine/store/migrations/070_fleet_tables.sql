-- Tables that a large fleet writes hundreds of rows a second into stay small: dead rows go once a minute, however long the table is.

alter table recording_tally set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
alter table recording set (autovacuum_vacuum_scale_factor = 0.02);

-- procrastinate's own history of each job is not read by anybody here, nor are its notes: three rows less to write and to remove for
-- each recording. The triggers of a new database are switched off in engine/queue/schema.py.
do $$
begin
  if to_regclass('procrastinate_jobs') is not null then
    alter table procrastinate_jobs disable trigger procrastinate_trigger_status_events_insert_v1;
    alter table procrastinate_jobs disable trigger procrastinate_trigger_status_events_update_v1;
    alter table procrastinate_jobs disable trigger procrastinate_trigger_scheduled_events_v1;
    alter table procrastinate_jobs disable trigger procrastinate_jobs_notify_queue_job_inserted_v1;
    truncate procrastinate_events;
  end if;
end $$;
