-- What the autopilot learned: the best numbers of slots for a machine and its models, and what was tried.
create table autopilot_memory (
  machine text not null,
  models text not null,
  best jsonb not null,                         -- value by setting
  tried jsonb not null default '[]',           -- configurations, values in the order of the settings' names
  too_much jsonb not null default '[]',        -- configurations that ran out of memory
  at timestamptz not null default now(),
  primary key (machine, models)
);
