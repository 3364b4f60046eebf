-- Who said which passages, in their order: a search among one person's passages reads the index alone, from any passage on.
create index segment_said_by on segment (lower(speaker), id) include (speaker);
drop index segment_speaker;
