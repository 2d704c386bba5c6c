CREATE TABLE runs (
    id         TEXT PRIMARY KEY,
    revision   INTEGER NOT NULL,
    state      TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE receipts (
    run    TEXT NOT NULL REFERENCES runs (id),
    round  INTEGER NOT NULL,
    bundle TEXT NOT NULL,
    PRIMARY KEY (run, round)
) STRICT;

CREATE TABLE trainings (
    run    TEXT NOT NULL REFERENCES runs (id),
    digest TEXT NOT NULL,
    bundle TEXT NOT NULL,
    PRIMARY KEY (run, digest)
) STRICT;

CREATE TABLE sites (
    name        TEXT PRIMARY KEY,
    key         TEXT NOT NULL UNIQUE,
    state       TEXT NOT NULL CHECK (state IN ('enrolled', 'revoked')),
    certificate BLOB NOT NULL,
    enrolled_at TEXT NOT NULL
) STRICT;

CREATE TABLE tokens (
    hash       TEXT PRIMARY KEY,
    site       TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    used_by    TEXT
) STRICT;
