-- Predicted and measured gain of a change as numbers, so that predictions are kept beside their outcomes.

alter table change add column predicted_gain double precision;  -- relative change of throughput: 0.1 is +10 %
alter table change add column gain double precision;
alter table change add column gain_low double precision;
alter table change add column gain_high double precision;
alter table change add column interim boolean not null default false;  -- measured after a minute of work; the final one comes later
