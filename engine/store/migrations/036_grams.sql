-- Words of scripts that write none apart (Chinese, Japanese, Thai, Khmer ...) and of Korean, whose words carry their endings:
-- a passage is found by pairs of neighbouring signs, and the last sign of each run alone, so that a prefix finds any single one.
-- Letters beside such signs are words of their own. The column is filled by a trigger, so that rows without such signs are not written anew.

create function has_grams(said text) returns boolean
    language sql immutable parallel safe
    return said ~ '[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u19e0-\u19ff\u1a20-\u1aaf\u2e80-\u2fdf\u3005-\u3007\u3021-\u302f\u3031-\u303c\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u318f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff]';

create function text_grams(said text) returns tsvector
    language sql immutable parallel safe
    return to_tsvector('pg_catalog.simple', regexp_replace(said, '[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u19e0-\u19ff\u1a20-\u1aaf\u2e80-\u2fdf\u3005-\u3007\u3021-\u302f\u3031-\u303c\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u318f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff]+', ' ', 'g'))
        || array_to_tsvector(array(
            select distinct substr(run, place, 2)
            from regexp_matches(lower(said), '[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u19e0-\u19ff\u1a20-\u1aaf\u2e80-\u2fdf\u3005-\u3007\u3021-\u302f\u3031-\u303c\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u318f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff]+', 'g') as found(runs),
                lateral unnest(runs) as run, lateral generate_series(1, length(run)) as place
        ));

alter table segment add column grams tsvector;

create function segment_grams() returns trigger language plpgsql as $$
begin
  new.grams := case when has_grams(new.text) then text_grams(new.text) end;
  return new;
end $$;

create trigger segment_grams before insert or update of text on segment for each row execute function segment_grams();

update segment set grams = text_grams(text) where has_grams(text);

create index segment_grams on segment using gin (grams) where grams is not null;
