-- A model is its content: the same weights under another name or in another folder are the same row, by an alias.

alter table model add column content text not null default '';   -- "sha256:..." of its weights; empty while unknown

create index model_content on model (role, content) where content <> '';

create table model_alias (
    role text not null,
    name text not null,
    revision text not null,
    dimension int not null,
    model int not null references model (id) on delete cascade,
    primary key (role, name, revision, dimension)
);
