-- The recordings table at 200,000 rows: whatever it is filtered and sorted by lies in one narrow index, so that no wide row is read but
-- those shown. A cause is a short group of words; a longer one (of an earlier version) would not fit an index entry.
update recording set cause = left(cause, 200) where length(cause) > 200;

drop index recording_changed;
create index recording_changed on recording (changed, id)
    include (find, status, stage, cause, duration, added, priority, attempt, segments, speakers);

-- What was stored last, and everything stored in that order: estimates of a run, exports.
create index recording_stored on recording (stored, id) where status = 'stored';
