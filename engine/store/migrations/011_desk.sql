-- Where operators and engines meet: settings and their history, commands and their answers, engines and what they show.

-- One channel wakes every engine; the payload names the topic, never the data (payloads end at 8000 bytes).
create function gainstage_note() returns trigger language plpgsql as $$
begin
  perform pg_notify('gainstage', tg_argv[0]);
  return null;
end $$;

-- Commands and changes share one line of numbers, so that one id names either.
create sequence desk_act;

create table setting (
  key text primary key,
  value jsonb not null,
  revision bigint not null,
  by text not null,
  at timestamptz not null default clock_timestamp()
);
create trigger setting_note after insert or update or delete on setting
  for each statement execute function gainstage_note('settings');

create table change (
  id bigint primary key default nextval('desk_act'),
  revision bigint not null,                    -- made by it; of a refused one, the revision it was refused under
  at timestamptz not null default clock_timestamp(),
  by text not null,
  key text not null,
  old jsonb,                                   -- as shown: secrets are masked
  new jsonb,
  live_before boolean not null default false,  -- whether a live value stood before (else undo takes the live value away)
  refused boolean not null default false,
  text text not null default '',
  asked text[] not null default '{}',          -- engines alive when it was made
  undoes bigint[] not null default '{}',       -- revisions taken back by it
  undone_by bigint,
  predicted text,
  before jsonb,
  after jsonb,
  effect_text text
);
create unique index change_revision on change (revision) where not refused;
create index change_key on change (key, revision) where not refused;

create table change_answer (
  change bigint not null references change on delete cascade,
  engine text not null,
  at timestamptz not null default clock_timestamp(),
  after_s double precision not null,
  refused boolean not null default false,
  text text not null default '',
  primary key (change, engine)
);

create table command (
  id bigint primary key default nextval('desk_act'),
  name text not null,
  args jsonb not null default '{}',
  scope text,                                  -- one engine, or null for all
  by text not null,
  created timestamptz not null default clock_timestamp(),
  expires timestamptz not null,
  state text,                                  -- 'done' or 'refused' where no engine had to be asked
  text text not null default ''
);

create table command_answer (
  command bigint not null references command on delete cascade,
  engine text not null,
  state text not null default 'pending' check (state in ('pending', 'taken', 'done', 'refused')),
  text text not null default '',
  data jsonb,
  at timestamptz,
  primary key (command, engine)
);
create index command_answer_open on command_answer (engine, command) where state = 'pending';
create trigger command_note after insert on command_answer for each statement execute function gainstage_note('commands');

create table engine (
  id text primary key,
  host text not null,
  pid integer not null,
  home text not null,
  version text not null,
  state text not null,
  doing text not null default '',
  lease_s double precision not null,           -- silent for longer than this: lost
  ended timestamptz,                           -- signed off, or found dead by its successor on the same home
  started timestamptz not null default now(),
  heartbeat timestamptz not null default now(),
  worker bigint,                               -- its worker of procrastinate
  settings jsonb not null default '{}',        -- key: [value, origin] below the live layer; secrets are masked
  revision bigint not null default 0,          -- settings in force there
  watched_until timestamptz not null default '-infinity'
) with (fillfactor = 50);

create view engine_alive as
select id from engine where ended is null and heartbeat > now() - make_interval(secs => lease_s);

-- The newest frame of each engine, rewritten up to five times a second: telemetry, so not logged and gone after a crash.
create unlogged table engine_frame (
  engine text primary key,
  at timestamptz not null default now(),
  frame text not null
);

create table snapshot_history (
  engine text not null,
  at timestamptz not null default now(),
  frame text not null,
  primary key (engine, at)
);

create table event (
  seq bigint primary key,
  engine text,
  wall double precision not null,
  level text not null,
  kind text not null,
  text text not null,
  stage text,
  recording text,
  thread text,
  data jsonb,
  traceback text
);
create index event_recording on event (recording, seq) where recording is not null;

-- The number of the last event written and of the last one dropped. Its row lock orders the writers, so that numbers have
-- no gaps and appear in order: a reader's cursor misses nothing.
create table event_head (
  one boolean primary key default true check (one),
  seq bigint not null default 0,
  dropped bigint not null default 0
);
insert into event_head default values;
