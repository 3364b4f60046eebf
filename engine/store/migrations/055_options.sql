
-- Options of one recording that replace settings for it: language, speakers, hotwords.
alter table recording add column options jsonb not null default '{}';
