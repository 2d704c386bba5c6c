CREATE TABLE versions (
    model      TEXT NOT NULL,
    version    INTEGER NOT NULL,
    digest     TEXT NOT NULL,
    evidence   TEXT NOT NULL,
    passport   TEXT NOT NULL,
    issued_at  TEXT NOT NULL,
    PRIMARY KEY (model, version),
    UNIQUE (model, evidence)
) STRICT;

CREATE TABLE files (
    model   TEXT NOT NULL,
    version INTEGER NOT NULL,
    name    TEXT NOT NULL,
    digest  TEXT NOT NULL,
    size    INTEGER NOT NULL,
    PRIMARY KEY (model, version, name),
    FOREIGN KEY (model, version) REFERENCES versions (model, version)
) STRICT;

-- A published version never changes.
CREATE TRIGGER versions_are_immutable BEFORE UPDATE ON versions
BEGIN
    SELECT RAISE(ABORT, 'versions are immutable');
END;

CREATE TRIGGER files_are_immutable BEFORE UPDATE ON files
BEGIN
    SELECT RAISE(ABORT, 'files are immutable');
END;
