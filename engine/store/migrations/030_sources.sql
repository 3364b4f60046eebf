-- A file that has grown is found by its path. Hashed, as an address may be longer than a page of an ordinary index allows.
create index recording_source on recording using hash (source);
