-- The tables of the store, version 1. How a version becomes the next: migrations.py.
--
-- What is asked for stands in a job's first columns and never changes; `request_sum` is its
-- checksum. What becomes of it stands in the others, under `course_sum`. SQLite itself would not
-- notice a flipped bit in a value. The two that may be large come last, so that reading the others
-- does not read them.

-- One row, written with every transaction.
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    identity TEXT NOT NULL,      -- of this database, in every copy of it and in nothing else
    commits INTEGER NOT NULL,    -- how many transactions there were
    next INTEGER NOT NULL,       -- the number of the next job: never used before
    next_event INTEGER NOT NULL, -- and that of the next event
    instance TEXT,               -- the runner whose events are being applied
    applied INTEGER NOT NULL,    -- the number of the last of them
    sum INTEGER NOT NULL
);

-- Names of tasks and owners, once each: rows and indexes hold small numbers.
CREATE TABLE names (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    sum INTEGER NOT NULL
);

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    task INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    created INTEGER NOT NULL,    -- all times are microseconds since the epoch
    rerun INTEGER NOT NULL,
    once_key TEXT,
    unique_key TEXT,
    place INTEGER NOT NULL,      -- in its batch, from 0: `id - place` is the batch's first job
    request_sum INTEGER NOT NULL,
    state INTEGER NOT NULL,      -- rows.py has the numbers of states and statuses
    status INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    started INTEGER,
    ended INTEGER,
    fraction INTEGER,            -- billionths
    message TEXT,
    exit INTEGER,
    course_sum INTEGER NOT NULL,
    arguments BLOB NOT NULL,
    result BLOB
);

-- An index has the id behind its columns. Those that were launched. Those that wait have none: they
-- are read once, when the daemon starts, and each new one would have to be entered in it.
CREATE INDEX jobs_launched ON jobs (state) WHERE state > 0 AND ended IS NULL;
-- History, by the time of the end, for each choice of owner and task.
CREATE INDEX jobs_ended ON jobs (status, ended) WHERE ended IS NOT NULL;
CREATE INDEX jobs_ended_owner ON jobs (owner, status, ended) WHERE ended IS NOT NULL;
CREATE INDEX jobs_ended_task ON jobs (task, status, ended) WHERE ended IS NOT NULL;
CREATE INDEX jobs_ended_both ON jobs (owner, task, status, ended) WHERE ended IS NOT NULL;
CREATE UNIQUE INDEX jobs_once ON jobs (owner, once_key, place) WHERE once_key IS NOT NULL;
CREATE UNIQUE INDEX jobs_unique ON jobs (owner, unique_key, place)
    WHERE unique_key IS NOT NULL AND ended IS NULL;

-- Only while their job has not ended. rows.py says why each value is padded.
CREATE TABLE secrets (
    job INTEGER PRIMARY KEY,
    sum INTEGER NOT NULL,
    value BLOB NOT NULL
);

-- The event log, in two parts, numbered as one: log.py says what is in a row. What is told of tasks
-- needs no index, which nearly every transaction would have to enter something in.
CREATE TABLE log_tasking (
    first INTEGER PRIMARY KEY,   -- the number of its first event
    count INTEGER NOT NULL,
    time INTEGER NOT NULL,       -- of writing
    level INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    entries TEXT NOT NULL
);
CREATE TABLE log_others (
    first INTEGER PRIMARY KEY,   -- the number of its first event
    count INTEGER NOT NULL,
    time INTEGER NOT NULL,       -- of writing
    level INTEGER NOT NULL,
    sum INTEGER NOT NULL,
    entries TEXT NOT NULL
);
CREATE INDEX log_level ON log_others (level);

-- Each value is a key's JSON text, padded as a secret is.
CREATE TABLE keys (
    id INTEGER PRIMARY KEY,
    sum INTEGER NOT NULL,
    value BLOB NOT NULL
);

-- What was set for groups, over the configuration.
CREATE TABLE groups (
    name TEXT PRIMARY KEY,
    slots INTEGER,
    paused INTEGER NOT NULL,
    sum INTEGER NOT NULL
);
