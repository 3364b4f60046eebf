-- Times only grow: in an index that lists them downwards each new one goes to the left end of its group, where a full page is split in
-- halves that are never filled. Upwards a page is left full, and a query reads the index backwards.

drop index recording_status_changed;
create index recording_status_changed on recording (status, changed);
drop index recording_run;
create index recording_run on recording (run, changed);
