"""What can go wrong with the database, told apart by what the caller may do next.

PaydeskError
├── Unavailable
│   ├── DatabaseUnavailable      nothing happened: try again
│   │   ├── DiskNearlyFull       nothing was started: free some space
│   │   └── ConnectionLost       lost in an open transaction: nothing was committed
│   │       └── CommitUnknown    lost while committing: repeat with the same keys
│   └── Busy                     a lock was not to be had in time: nothing happened
├── DatabaseVersionMismatch      the data needs another major version of PostgreSQL
├── MigrationRefused             an applied file changed, or a statement failed
└── UnknownCustomer              no head to lock
"""

from __future__ import annotations

from paydesk.errors import NotFound, OutcomeUnknown, PaydeskError, Unavailable


class DatabaseUnavailable(Unavailable):
    """No connection could be had, or the server refuses to work. Nothing happened."""

    code = "database_unavailable"
    title = "The database cannot be reached"


class DiskNearlyFull(DatabaseUnavailable):
    """Less than the reserve is free where the database lives, so it was not started."""

    code = "disk_nearly_full"
    title = "The disk is nearly full"


class ConnectionLost(DatabaseUnavailable):
    """The connection broke inside a transaction before its commit: nothing was committed."""

    code = "connection_lost"
    title = "The connection to the database was lost; nothing happened"


class CommitUnknown(ConnectionLost, OutcomeUnknown):
    """The connection broke while the commit was under way: it may or may not have happened."""

    code = OutcomeUnknown.code
    title = OutcomeUnknown.title


class DatabaseVersionMismatch(PaydeskError):
    """The data was made by another major version. The message carries the commands to move it."""

    code = "database_version_mismatch"
    http_status = 503
    title = "The data belongs to another major version of PostgreSQL"


class MigrationRefused(PaydeskError):
    """The schema was left as it was: an applied file changed, or a file could not be applied."""

    code = "migration_refused"
    http_status = 503
    title = "The database schema could not be brought up to date"


class UnknownCustomer(NotFound):
    """A customer whose head was to be locked does not exist."""

    code = "customer_not_found"
    title = "No such customer"
