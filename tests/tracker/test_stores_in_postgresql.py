"""The stores over PostgreSQL pass the contract: by psycopg, and by Supabase's own client."""

import psycopg
import psycopg_pool
import pytest
from postgrest_server import PostgrestServer
from supabase import create_client

from paydesk.testing import StoreContract
from paydesk.tracker import AmountTooLarge, get_payment_tracker, migration_sql
from paydesk.tracker.stores.postgres import PostgresPaymentStore
from paydesk.tracker.stores.supabase import SupabasePaymentStore

KEY = "service-role-key-of-the-tests"


@pytest.fixture(scope="module")
def migrated(dsn):
    PostgresPaymentStore(dsn=dsn).migrate()
    return dsn


@pytest.fixture(scope="module")
def supabase_client(migrated):
    with PostgrestServer(migrated, KEY) as server:
        yield create_client(server.url, KEY)


# S2.7 S2.8 C9
class TestPostgresStore(StoreContract):
    @pytest.fixture
    def store(self, migrated):
        with psycopg_pool.ConnectionPool(migrated, min_size=1, max_size=8) as pool:
            yield PostgresPaymentStore(pool=pool)


class TestPostgresStoreByDsn(StoreContract):
    @pytest.fixture
    def store(self, migrated):
        return PostgresPaymentStore(dsn=migrated)


class TestPostgresStoreOnOneConnection(StoreContract):
    @pytest.fixture
    def store(self, migrated):
        with psycopg.connect(migrated) as connection:
            yield PostgresPaymentStore(connection=connection)


class TestSupabaseStore(StoreContract):
    @pytest.fixture
    def store(self, supabase_client):
        return SupabasePaymentStore(supabase_client)


# S2.2 S2.3 S2.4 S2.5 S2.6
def test_the_documents_own_lines_run_on_supabase(supabase_client):
    tracker = get_payment_tracker(
        store_type="supabase", supabase_client=supabase_client, session_expiry_minutes=30
    )
    payment = tracker.create_pending_payment(
        user_id="user_123",
        amount_cents=999,
        credits_to_add=150,
        provider="stripe",
        session_id="cs_xxx",
        package_id="creator",
        package_name="Creator Pack",
    )
    tracker.mark_completed(payment.id)
    tracker.mark_credits_added(payment.id)
    assert tracker.is_duplicate("cs_xxx")
    stored = tracker.get(payment.id)
    assert (stored.status, stored.credits_added, str(stored.amount_usd)) == (
        "completed",
        True,
        "9.99",
    )


def test_an_amount_beyond_the_column_is_refused_not_wrapped(migrated, supabase_client):
    # I11
    for store in (PostgresPaymentStore(dsn=migrated), SupabasePaymentStore(supabase_client)):
        tracker = get_payment_tracker(store=store)
        with pytest.raises(AmountTooLarge):
            tracker.create_pending_payment("user_123", 2**31, 150, "stripe")
        assert tracker.create_pending_payment("user_123", 2**31 - 1, 150, "stripe")


def test_payment_and_credits_commit_together_on_one_connection(migrated):
    # I1: the claim, the grant and the mark share one transaction.
    with psycopg.connect(migrated) as connection:
        connection.execute("create table grants (id uuid primary key, credits int)")
        connection.commit()
        tracker = get_payment_tracker("postgres", connection=connection)

        def grant(payment):
            connection.execute(
                "insert into grants values (%s, %s)",
                [payment.credit_transaction_id, payment.credits_to_add],
            )

        def die(payment):
            grant(payment)
            raise SystemExit

        tracker.create_pending_payment("user_123", 999, 150, "stripe", "cs_joint")
        connection.commit()
        with pytest.raises(SystemExit), connection.transaction():
            tracker.complete_once("cs_joint", die)
        assert tracker.get_by_session("cs_joint").status == "pending"
        with connection.transaction():
            assert tracker.complete_once("cs_joint", grant)
        with connection.transaction():
            assert not tracker.complete_once("cs_joint", grant)
        assert connection.execute("select sum(credits) from grants").fetchone() == (150,)


class TestMigration:
    """S2.18 S2.8: creates the table or adds what an existing one lacks, as often as it is run."""

    @pytest.fixture
    def connection(self, dsn):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("create schema fresh")
            connection.execute("set search_path to fresh")
            yield connection
            connection.execute("drop schema fresh cascade")

    def types(self, connection):
        query = """
            select column_name, data_type from information_schema.columns
            where table_schema = 'fresh' and table_name = 'payment_transactions'
        """
        return dict(connection.execute(query).fetchall())

    def test_it_creates_the_documents_columns(self, connection):
        connection.execute("create table user_profiles (id uuid primary key)")
        connection.execute(migration_sql().encode())
        documented = {
            "id": "uuid",
            "user_id": "uuid",
            "amount_cents": "integer",
            "amount_usd": "numeric",
            "credits_to_add": "integer",
            "status": "text",
            "provider": "text",
            "provider_session_id": "text",
            "provider_payment_id": "text",
            "package_id": "text",
            "package_name": "text",
            "credits_added": "boolean",
            "credits_added_at": "timestamp without time zone",
            "credit_transaction_id": "uuid",
            "created_at": "timestamp without time zone",
            "updated_at": "timestamp without time zone",
            "completed_at": "timestamp without time zone",
            "expires_at": "timestamp without time zone",
            "error_message": "text",
            "error_code": "text",
            "metadata": "jsonb",
        }
        assert documented.items() <= self.types(connection).items()
        references = connection.execute(
            "select confrelid::regclass::text from pg_constraint"
            " where conrelid = 'payment_transactions'::regclass and contype = 'f'"
        ).fetchall()
        assert references == [("user_profiles",)]

    def test_without_user_profiles_a_user_has_any_id(self, connection):
        connection.execute(migration_sql().encode())
        assert self.types(connection)["user_id"] == "text"

    def test_a_second_run_changes_nothing(self, connection):
        connection.execute(migration_sql().encode())
        before = self.types(connection)
        connection.execute(migration_sql().encode())
        assert self.types(connection) == before

    def test_it_completes_an_older_table_and_keeps_its_rows(self, connection):
        connection.execute("""
            create table payment_transactions (
                id uuid primary key, user_id uuid, amount_cents integer not null,
                credits_to_add integer not null, status text not null, provider text not null,
                provider_session_id text, created_at timestamptz default now());
            insert into payment_transactions
            values ('6f1f4f5e-4a6f-4f7e-8d28-5f7d0a3c9b11', '0b0e8a54-8c3e-4a53-9c0a-3f0e6d1f7f10',
                    999, 150, 'completed', 'stripe', 'cs_old', '2024-01-31 12:00+02')
        """)
        connection.execute(migration_sql().encode())
        store = PostgresPaymentStore(connection=connection)
        tracker = get_payment_tracker(store=store)
        old = tracker.get_by_session("cs_old")
        assert (old.status, old.state, old.captured_cents, old.version) == (
            "completed",
            "succeeded",
            999,
            0,
        )
        assert old.created_at.isoformat() == "2024-01-31T10:00:00+00:00"
        assert tracker.complete_once("cs_old", lambda payment: None)
        assert tracker.history(old.user_id, status="completed").total_count == 1
        assert tracker.history("of-another-shape").total_count == 0

    def test_times_are_utc_whatever_the_session_zone_and_column_type(self, connection):
        connection.execute("set time zone 'America/Port-au-Prince'")
        connection.execute(migration_sql().encode())
        store = PostgresPaymentStore(connection=connection)
        for kind in ("timestamp", "timestamptz"):
            connection.execute(
                f"alter table payment_transactions alter expires_at type {kind}".encode()
            )
            tracker = get_payment_tracker(store=store)
            made = tracker.create_pending_payment("user_123", 999, 150, "stripe")
            assert store.get_by_id(made.id).expires_at == made.expires_at
            assert not tracker.expire_stale()
            assert [p.id for p in tracker.expire_stale(made.expires_at)] == [made.id]

    def test_a_table_with_double_sessions_is_completed_with_a_warning(self, connection):
        notices = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        connection.execute(migration_sql().encode())
        connection.execute("drop index payment_transactions_session")
        connection.execute("""
            insert into payment_transactions
                (id, user_id, amount_cents, credits_to_add, status, provider, provider_session_id)
            select gen_random_uuid(), 'user_123', 999, 150, 'pending', 'stripe', 'cs_twice'
            from generate_series(1, 2)
        """)
        connection.execute(migration_sql().encode())
        assert any("sessions twice" in notice for notice in notices)
        connection.execute(
            "delete from payment_transactions where ctid = "
            "(select min(ctid) from payment_transactions)"
        )
        connection.execute(migration_sql().encode())
        indexes = connection.execute(
            "select indexname from pg_indexes where tablename = 'payment_transactions'"
            " and schemaname = 'fresh'"
        ).fetchall()
        assert ("payment_transactions_session",) in indexes
