"""What an application would supply to the blocks of docs/tracker.md."""

import atexit
import threading

from paydesk.testing import databases

session_id = "cs_test_9"
credits = {}


def credit(user_id, amount, *, key):
    """Add credits once per key."""
    credits.setdefault(key, (user_id, amount))


class teller:
    """The API of a provider that was paid."""

    @staticmethod
    def session(session_id):
        return {"paid": True, "cents": 999, "currency": "usd"}


class _Collection:
    """The calls of a document database that the page's store makes."""

    def __init__(self):
        self._lock = threading.Lock()
        self._documents = {}

    def insert_one(self, document):
        with self._lock:
            self._documents[document["id"]] = dict(document)

    def find_one(self, query):
        with self._lock:
            for document in self._documents.values():
                if all(document[name] == value for name, value in query.items()):
                    return dict(document)

    def replace_one(self, query, document):
        with self._lock:
            stored = self._documents.get(query["id"])
            found = stored and all(stored[name] == value for name, value in query.items())
            if found:
                self._documents[document["id"]] = dict(document)
        return _Result(int(bool(found)))


class _Result:
    def __init__(self, modified_count):
        self.modified_count = modified_count


class db:
    payments = _Collection()


class your_supabase_client:
    """Only handed over on that page; tests/tracker tries the store with the real client."""

    @staticmethod
    def table(name):
        raise AssertionError(f"the page reads no {name}")


_database = databases.empty_database()
atexit.register(databases.drop_database, _database)
dsn = _database.owner_dsn
