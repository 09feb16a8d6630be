"""A journal for bulk syncs in a PostgreSQL table, which any number of hosts can share."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pandium._validation import validate_flag, validate_number
from pandium.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ConnectionString", "PostgresJournal"]

_MAX_JOB_LENGTH = 200
# A shorter lease would expire whenever a host is busy for a moment.
_MIN_LEASE, _MAX_LEASE = 1.0, 3600.0
_SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret"})
_EXAMPLE = "'postgresql://user@host/database'"
# If the password in a URL contains an unescaped @ or /, libpq takes a part of it for the host, the
# port or the database, which messages show.
_AMBIGUOUS_URL = re.compile(r"postgres(ql)?://[^?]*[/@][^?]*@")


class ConnectionString:
    """
    A connection string whose password is hidden in reprs and messages.

    :param text: the connection string, as a URL or as ``keyword=value`` pairs.
    :raises ConfigurationError: if the string is invalid. The message does not contain it.
    :ivar place: the database and the server, for messages.
    """

    __slots__ = ("_text", "place")

    place: str

    def __init__(self, text: str) -> None:
        self.place = _describe_place(_parse(text))
        self._text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._text,)

    def __repr__(self) -> str:
        return f"<{getattr(self, 'place', 'invalid')}>"  # a report of the error may call this

    def parameters(self) -> dict[str, Any]:
        """Return the parameters, which may include a password."""
        return _parse(self._text)

    def redact(self, text: str) -> str:
        """Replace the passwords in a text with ``***``."""
        parameters = self.parameters()
        secrets = [str(parameters[name]) for name in _SECRETS & parameters.keys()]
        for secret in filter(None, [*secrets, os.environ.get("PGPASSWORD")]):
            text = text.replace(secret, "***")
        return text


class PostgresJournal:
    """
    A journal in a PostgreSQL database. Pass it to ``tenants.sync_all`` as ``journal``.

    Any number of processes on any number of hosts can share a job. Each tenant is triggered by one
    of them. If a process dies or loses its connection, another one adopts its triggers. Many jobs
    can share a database. The tables are created on first use.

    ```python
    from pandium.postgres import PostgresJournal

    journal = PostgresJournal("postgresql://jobs@db.example/jobs", job="nightly-2026-11-28")
    ```

    Requires the extra ``postgres`` and PostgreSQL 12 or later. The database's role must be allowed
    to create tables, or the tables must exist.

    :param dsn: the connection string of the database, as a URL or as ``keyword=value`` pairs. What
        it omits is read from libpq's environment variables, such as ``PGPASSWORD``, and from the
        password file.
    :param job: the name of the job, with at most 200 characters. Use a new name for each job.
    :param lease: the time after which other workers adopt the triggers of a worker that has not
        renewed its lease, from 1 to 3,600 seconds by the database's clock.
    :param accept_failover: whether to continue the job on a server that has replaced the one on
        which it began. Without synchronous replication, the new server may lack the last
        transactions. The tenants in them would be triggered again.
    :raises ConfigurationError: if an argument is invalid or psycopg is not installed.
    :ivar dsn: the connection string, whose repr does not contain the password.
    :ivar name: the name of the journal in messages. It does not contain the password.
    """

    __slots__ = ("accept_failover", "dsn", "job", "lease", "name")

    dsn: ConnectionString
    job: str
    lease: float
    accept_failover: bool
    name: str

    def __init__(
        self, dsn: str, *, job: str, lease: float = 10.0, accept_failover: bool = False
    ) -> None:
        try:
            self.dsn = ConnectionString(dsn)
        except ConfigurationError as error:
            raise error.with_traceback(None) from None  # local variables contain the password
        finally:
            del dsn
        self.job = _validate_job(job)
        self.lease = _validate_lease(lease)
        try:
            self.accept_failover = validate_flag("accept_failover", accept_failover)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        self.name = f"journal {job!r} in {self.dsn.place}"

    def __repr__(self) -> str:
        if not hasattr(self, "name"):  # in a report of an invalid argument
            return f"<invalid {type(self).__name__}>"
        return f"{type(self).__name__}({self.dsn!r}, job={self.job!r})"


def _parse(dsn: object) -> dict[str, Any]:
    """Parse a connection string. No error message contains any part of it."""
    if not isinstance(dsn, str) or not dsn.strip() or "\0" in dsn:
        raise ConfigurationError(f"dsn must be a connection string, such as {_EXAMPLE}")
    try:
        from psycopg import ProgrammingError, conninfo  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(
            "PostgresJournal requires psycopg: run pip install 'pandium[postgres]'"
            f" (the import failed: {reason})"
        ) from None
    with suppress(ProgrammingError, UnicodeError):  # libpq's message may quote the password
        if not _AMBIGUOUS_URL.match(dsn):
            return conninfo.conninfo_to_dict(dsn)
    raise ConfigurationError(
        f"dsn is not a valid connection string, such as {_EXAMPLE}: in a URL, special"
        " characters of the password must be percent-encoded"
    )


def _describe_place(parameters: Mapping[str, Any]) -> str:
    database, host, port = (
        parameters.get(name) or os.environ.get(variable)
        for name, variable in (("dbname", "PGDATABASE"), ("host", "PGHOST"), ("port", "PGPORT"))
    )
    text = "PostgreSQL" if database is None else f"database {database!r}"
    if host is not None:
        text += f" at {host}" if port is None else f" at {host}:{port}"
    return text


def _validate_job(job: object) -> str:
    if isinstance(job, str) and job.strip() and job.isprintable() and len(job) <= _MAX_JOB_LENGTH:
        return job
    raise ConfigurationError(
        f"job must be a name of 1 to {_MAX_JOB_LENGTH} printable characters, not {job!r:.250}"
    )


def _validate_lease(lease: object) -> float:
    try:
        seconds = validate_number("lease", lease)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    if not _MIN_LEASE <= seconds <= _MAX_LEASE:
        raise ConfigurationError(
            f"lease must be from {_MIN_LEASE:g} to {_MAX_LEASE:g} seconds, not {seconds:g}"
        )
    return seconds
