-- What an operator should know of a stored recording: [{"cause", "message", "hint"}], in the order it was noticed.
alter table recording add column warnings jsonb not null default '[]';
