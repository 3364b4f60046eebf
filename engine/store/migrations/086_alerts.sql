-- Alerts that were sent or are being sent: the row is the claim, so that of several engines exactly one sends each.
create table alert (
  key text primary key,
  kind text not null,
  title text not null,
  text text not null,
  engine text not null,
  state text not null default 'sending' check (state in ('sending', 'sent', 'failed', 'held back')),
  at timestamptz not null default now()
);
create index alert_at on alert (at);
