"""A small server of Firestore's documented gRPC interface, for tests, over the client's own types.

Served: BatchGetDocuments; Commit of updates and deletes, all or nothing, with the preconditions
`exists` and `update_time` and with update masks; RunQuery with AND of comparisons and IN, orders,
limit and offset; RunAggregationQuery with count. A comparison holds between values of one kind
alone, and a document without a field that is compared or ordered by is not found.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.cloud.firestore_v1.types import (
    aggregation_result,
    document,
    firestore,
    query,
    write,
)
from google.protobuf.timestamp_pb2 import Timestamp

SERVICE = "google.firestore.v1.Firestore"
START = datetime(2026, 3, 1, tzinfo=UTC)
COMPARE = {
    "EQUAL": lambda a, b: a == b,
    "LESS_THAN_OR_EQUAL": lambda a, b: a <= b,
    "LESS_THAN": lambda a, b: a < b,
    "GREATER_THAN_OR_EQUAL": lambda a, b: a >= b,
    "GREATER_THAN": lambda a, b: a > b,
}


class Refused(Exception):
    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class FirestoreServer:
    """Keeps documents by their names. `host` is what FIRESTORE_EMULATOR_HOST is set to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._documents: dict[str, document.Document] = {}
        self._ticks = itertools.count(1)
        self._pool = ThreadPoolExecutor(16)
        self._server = grpc.server(self._pool)
        handlers = {
            "BatchGetDocuments": _stream(self._get, firestore.BatchGetDocumentsRequest),
            "Commit": _unary(self._commit, firestore.CommitRequest),
            "RunQuery": _stream(self._query, firestore.RunQueryRequest),
            "RunAggregationQuery": _stream(self._count, firestore.RunAggregationQueryRequest),
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        self.host = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(grace=None).wait()
        self._pool.shutdown(wait=True)

    def _get(self, request: Any) -> Any:
        with self._lock:
            found = {name: self._documents.get(name) for name in request.documents}
        for name, one in found.items():
            answer = firestore.BatchGetDocumentsResponse(read_time=self._now())
            if one is None:
                answer.missing = name
            else:
                answer.found = one
            yield answer

    def _commit(self, request: Any) -> Any:
        with self._lock:
            for one in request.writes:
                self._check(one)
            at = self._now()
            for one in request.writes:
                self._apply(one, at)
        results = [write.WriteResult(update_time=at) for _ in request.writes]
        return firestore.CommitResponse(write_results=results, commit_time=at)

    def _check(self, one: Any) -> None:
        name = one.delete or one.update.name
        stored = self._documents.get(name)
        wanted = one.current_document
        if "exists" in wanted:
            if wanted.exists and stored is None:
                raise Refused(grpc.StatusCode.NOT_FOUND, f"No document to update: {name}")
            if not wanted.exists and stored is not None:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"Document already exists: {name}")
        if "update_time" in wanted:
            if stored is None:
                raise Refused(grpc.StatusCode.NOT_FOUND, f"No document to update: {name}")
            if stored.update_time != wanted.update_time:
                raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "The update time differs.")

    def _apply(self, one: Any, at: Any) -> None:
        if one.delete:
            self._documents.pop(one.delete, None)
            return
        stored = self._documents.get(one.update.name)
        fields = dict(one.update.fields)
        if "update_mask" in one and stored is not None:
            told = set(one.update_mask.field_paths)
            kept = {k: v for k, v in stored.fields.items() if k not in told}
            fields = kept | {k: v for k, v in fields.items() if k in told}
        self._documents[one.update.name] = document.Document(
            name=one.update.name, fields=fields, update_time=at,
            create_time=stored.create_time if stored else at,
        )  # fmt: skip

    def _query(self, request: Any) -> Any:
        for one in self._run(request.parent, request.structured_query):
            yield firestore.RunQueryResponse(document=one, read_time=self._now())

    def _count(self, request: Any) -> Any:
        asked = request.structured_aggregation_query
        number = len(self._run(request.parent, asked.structured_query))
        told = {a.alias: document.Value(integer_value=number) for a in asked.aggregations}
        yield firestore.RunAggregationQueryResponse(
            result=aggregation_result.AggregationResult(aggregate_fields=told),
            read_time=self._now(),
        )

    def _run(self, parent: str, asked: Any) -> list[Any]:
        (source,) = asked.from_
        prefix = f"{parent}/{source.collection_id}/"
        with self._lock:
            found = [one for name, one in self._documents.items()
                     if name.startswith(prefix) and "/" not in name[len(prefix):]]  # fmt: skip
        if "where" in asked:
            found = [one for one in found if _holds(asked.where, one)]
        for order in reversed(asked.order_by):
            path = order.field.field_path
            found = [one for one in found if path in one.fields]
            is_last_first = order.direction == query.StructuredQuery.Direction.DESCENDING
            found.sort(key=lambda one, path=path: _sortable(one.fields[path]),
                       reverse=is_last_first)  # fmt: skip
        limit = asked.limit if "limit" in asked else len(found)
        return found[asked.offset :][:limit]

    def _now(self) -> Timestamp:
        stamp = Timestamp()
        stamp.FromDatetime(START + timedelta(microseconds=next(self._ticks)))
        return stamp


def _holds(where: Any, one: Any) -> bool:
    if "composite_filter" in where:
        assert where.composite_filter.op.name == "AND"
        return all(_holds(part, one) for part in where.composite_filter.filters)
    told = where.field_filter if "field_filter" in where else None
    assert told is not None, where
    field = one.fields.get(told.field.field_path)
    if field is None:
        return False
    if told.op.name == "IN":
        return any(_value(field) == _value(v) for v in told.value.array_value.values)
    (kind, given), (wanted_kind, wanted) = _value(field), _value(told.value)
    return kind == wanted_kind and COMPARE[told.op.name](given, wanted)


def _value(field: Any) -> tuple[str, Any]:
    """(kind, comparable) of a value."""
    kind = document.Value.pb(field).WhichOneof("value_type")
    return kind, getattr(field, kind)


def _sortable(field: Any) -> tuple[int, Any]:
    kind, value = _value(field)
    return (0, 0) if kind == "null_value" else (1, value)


def _behaviour(function: Any) -> Any:
    def answered(request: Any, context: Any) -> Any:
        try:
            return function(request)
        except Refused as refused:
            context.abort(refused.code, str(refused))

    return answered


def _unary(function: Any, kind: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        _behaviour(function), request_deserializer=kind.deserialize,
        response_serializer=lambda answer: type(answer).serialize(answer),
    )  # fmt: skip


def _stream(function: Any, kind: Any) -> Any:
    return grpc.unary_stream_rpc_method_handler(
        _behaviour(function), request_deserializer=kind.deserialize,
        response_serializer=lambda answer: type(answer).serialize(answer),
    )  # fmt: skip
