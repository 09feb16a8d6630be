"""The tables of journals in PostgreSQL, which are created and upgraded on first use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pandium._bulk.journal import validate_properties
from pandium.errors import UnusableJournal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandium._bulk.postgres_connection import Statements

__all__ = ["CLAIMED", "has_tables", "open_job", "prepare_tables"]

_LOCK = 0x50414E44  # "PAND", the advisory lock under which the tables are created
# The statements that upgrade the tables to each version, from version 1. Never change an entry
# that has been released, because some databases already have its tables.
_UPGRADES = (
    (
        "CREATE TABLE pandium_schema (version integer NOT NULL)",
        "INSERT INTO pandium_schema VALUES (1)",
        """
        CREATE TABLE pandium_jobs (
            id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text NOT NULL UNIQUE,
            properties text NOT NULL,
            server text NOT NULL,
            began timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """,
        """
        CREATE TABLE pandium_workers (
            owner text PRIMARY KEY,
            job_id integer NOT NULL REFERENCES pandium_jobs ON DELETE CASCADE,
            revision bigint NOT NULL DEFAULT 0,
            lease interval NOT NULL,
            expires timestamptz NOT NULL,
            share double precision NOT NULL DEFAULT 0,
            is_closed boolean NOT NULL DEFAULT false
        )
        """,
        "CREATE INDEX pandium_workers_of_job ON pandium_workers (job_id)",
        # A lease that ends too far in the future was renewed before the database's clock was set
        # back. Treat it as expired.
        """
        CREATE VIEW pandium_live_workers AS
        SELECT * FROM pandium_workers
        WHERE clock_timestamp() BETWEEN expires - 2 * lease AND expires
        """,
        """
        CREATE TABLE pandium_syncs (
            job_id integer NOT NULL REFERENCES pandium_jobs ON DELETE CASCADE,
            tenant_id bigint NOT NULL,
            state text NOT NULL,
            owner text NOT NULL,
            claim bigint NOT NULL,
            trigger_id text NOT NULL DEFAULT '',
            status text NOT NULL DEFAULT '',
            error text NOT NULL DEFAULT '',
            is_retry boolean NOT NULL DEFAULT false,
            claimed timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (job_id, tenant_id)
        )
        """,
        """
        CREATE INDEX pandium_syncs_in_progress ON pandium_syncs (job_id, tenant_id)
        WHERE state IN ('sending', 'triggered')
        """,
    ),
)
_VERSION = len(_UPGRADES)
# The date in this column of pandium_syncs, in UTC as ISO 8601.
CLAIMED = """to_char(claimed AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""

_FIND_TABLE = """
    SELECT FROM pg_catalog.pg_tables
    WHERE tablename = 'pandium_schema' AND schemaname = ANY (current_schemas(false))
"""
# This prefix is reserved.
_IS_TEMPORARY = "SELECT starts_with(current_schema(), 'pg_temp_')"
_CREATE_JOB = """
    INSERT INTO pandium_jobs (name, properties, server)
    VALUES (%(job)s, %(properties)s, %(server)s)
    ON CONFLICT (name) DO NOTHING
"""
# The lock makes workers that register at the same time divide the rate one after the other.
_LOCK_JOB = """
    SELECT id, properties, server FROM pandium_jobs WHERE name = %(job)s FOR NO KEY UPDATE
"""
_ACCEPT_SERVER = "UPDATE pandium_jobs SET server = %(server)s WHERE name = %(job)s"


def prepare_tables(db: Statements, name: str) -> None:
    """
    Create or upgrade the tables.

    :param name: the name of the journal in error messages.
    :raises UnusableJournal: if the tables were created by a newer version of this package, or if
        new tables would be temporary.
    """
    # Look first, because a role that may not create tables can use those that exist.
    version = _read_version(db, name)
    if version < _VERSION:
        _validate_permanent(db, name)
        db.begin()
        db.execute("SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": _LOCK})
        for statements in _UPGRADES[_read_version(db, name) :]:
            for statement in statements:
                db.execute(statement)
        db.execute("COMMIT")
    elif version > _VERSION:
        raise UnusableJournal(f"{name} was written by a newer version of pandium")


def _validate_permanent(db: Statements, name: str) -> None:
    # The tables would be deleted when the session ends, and each session would have its own.
    [(is_temporary,)] = db.execute(_IS_TEMPORARY).fetch()
    if is_temporary:
        raise UnusableJournal(
            f"{name} would consist of temporary tables, because the search path begins with"
            " pg_temp: set search_path to a permanent schema, such as public"
        )


def has_tables(db: Statements) -> bool:
    """Return whether the tables exist."""
    # Not to_regclass, which would not see a table that was created while waiting for the lock.
    return bool(db.execute(_FIND_TABLE).fetch())


def _read_version(db: Statements, name: str) -> int:
    if not has_tables(db):
        return 0
    match db.execute("SELECT version FROM pandium_schema").fetch():
        case [(int(version),)] if version > 0:
            return version
    raise UnusableJournal(
        f"{name} cannot be used, because the table pandium_schema was changed or has another"
        " purpose: use another schema or database"
    )


def open_job(
    db: Statements,
    name: str,
    parameters: Mapping[str, object],
    properties: Mapping[str, str],
    *,
    accept_failover: bool,
) -> int:
    """
    Create a job, or validate an existing one, and lock it until the end of the transaction.

    :param name: the name of the journal in error messages.
    :param parameters: the name of the ``job`` and the identity of the ``server``.
    :param properties: the properties of the job, such as its mode.
    :param accept_failover: whether to continue the job on another server.
    :returns: the job's id.
    :raises UnusableJournal: if the job has other properties or began on another server.
    """
    db.execute(_CREATE_JOB, {**parameters, "properties": json.dumps(properties)})
    [(job_id, found, server)] = db.execute(_LOCK_JOB, parameters).fetch()
    validate_properties(name, json.loads(found), properties)
    if server != parameters["server"]:
        if not accept_failover:
            raise UnusableJournal(
                f"{name} began on a server that has failed over since, and its last transactions"
                " may be missing, so tenants could be triggered again: check their runs, then pass"
                " accept_failover=True, or sync the remaining tenants with a new job"
            )
        db.execute(_ACCEPT_SERVER, parameters)
    return int(job_id)
