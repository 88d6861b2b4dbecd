"""The SQLite schema of a book of labels. Rows are added; the file itself refuses to change or remove one."""

from __future__ import annotations

from typing import Final

#: "StLb": what SQLite's header says of a book of labels.
APPLICATION_ID: Final = 0x53744C62
FORMAT: Final = 1

_TABLES: Final = """
CREATE TABLE fact (
    key TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL);
CREATE TABLE frame (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL);
CREATE TABLE site (
    id INTEGER PRIMARY KEY,
    frame INTEGER NOT NULL REFERENCES frame (id),
    y_px REAL NOT NULL,
    x_px REAL NOT NULL,
    sublattice TEXT NOT NULL CHECK (sublattice IN ('M', 'X')),
    stratum TEXT NOT NULL,
    inclusion REAL CHECK (inclusion > 0 AND inclusion <= 1),
    found TEXT NOT NULL,
    probability REAL NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('pass', 'flag', 'abstain')),
    posterior TEXT NOT NULL,
    patch BLOB NOT NULL,
    picture BLOB NOT NULL,
    picture_angstrom REAL NOT NULL,
    surroundings BLOB NOT NULL,
    surroundings_angstrom REAL NOT NULL,
    UNIQUE (frame, y_px, x_px));
CREATE TABLE annotator (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    folded TEXT NOT NULL UNIQUE,
    seed TEXT NOT NULL,
    joined_utc TEXT NOT NULL);
CREATE TABLE answer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_utc TEXT NOT NULL,
    annotator INTEGER NOT NULL REFERENCES annotator (id),
    site INTEGER NOT NULL REFERENCES site (id),
    kind TEXT NOT NULL CHECK (kind IN ('label', 'skip', 'undo')),
    label TEXT NOT NULL,
    undoes INTEGER UNIQUE REFERENCES answer (id),
    seconds REAL NOT NULL,
    request TEXT NOT NULL UNIQUE,
    CHECK ((kind = 'label') = (label <> '')),
    CHECK ((kind = 'undo') = (undoes IS NOT NULL)));
CREATE INDEX answer_of ON answer (annotator, site);
-- What holds now: of each annotator and site the last answer that was not taken back.
CREATE VIEW standing AS
    SELECT max(id) AS id, annotator, site FROM answer
    WHERE kind <> 'undo' AND id NOT IN (SELECT undoes FROM answer WHERE undoes IS NOT NULL)
    GROUP BY annotator, site;
"""

#: What makes a row of each table the same as another: INSERT OR REPLACE would remove the first without a word.
_SAME: Final = {
    "fact": "key = NEW.key",
    "frame": "id = NEW.id OR sha256 = NEW.sha256",
    "site": "id = NEW.id OR (frame = NEW.frame AND y_px = NEW.y_px AND x_px = NEW.x_px)",
    "annotator": "id = NEW.id OR folded = NEW.folded",
    "answer": "id = NEW.id OR request = NEW.request OR undoes = NEW.undoes",
}


def _guards(table: str, same: str) -> str:
    never = "SELECT RAISE(ABORT, 'rows of a book of labels are only added')"
    return (
        f"CREATE TRIGGER {table}_never_changes BEFORE UPDATE ON {table} BEGIN {never}; END;\n"
        f"CREATE TRIGGER {table}_never_goes BEFORE DELETE ON {table} BEGIN {never}; END;\n"
        f"CREATE TRIGGER {table}_is_not_replaced BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) BEGIN {never}; END;\n"
    )


SCHEMA: Final = (
    _TABLES
    + "".join(_guards(*item) for item in _SAME.items())
    + f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {FORMAT};\n"
)
