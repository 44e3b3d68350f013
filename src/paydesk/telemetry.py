"""OpenTelemetry spans and metrics, through the API alone: without an SDK they cost next to nothing.

Names follow the semantic conventions; ours begin with `paydesk.`. No customer and no amount is
ever an attribute. Where the API is not installed nothing is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from paydesk import __version__

try:
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ImportError:  # An installation without it works the same.
    metrics = propagate = trace = None  # type: ignore[assignment]

NAME = "paydesk"
#: What the API answers with where no SDK was set.
_IDLE = frozenset({"ProxyTracerProvider", "NoOpTracerProvider", "_ProxyMeterProvider",
                   "NoOpMeterProvider"})  # fmt: skip
#: A gauge's reading: value and attributes, as often as it has them.
Readings = Iterable[tuple[float, Mapping[str, str]]]


def is_on() -> bool:
    """Whether an SDK records spans in this process."""
    return trace is not None and type(trace.get_tracer_provider()).__name__ not in _IDLE


def is_counting() -> bool:
    """Whether an SDK collects metrics in this process."""
    return metrics is not None and type(metrics.get_meter_provider()).__name__ not in _IDLE


@contextmanager
def span(
    name: str, *, kind: str = "internal", headers: Mapping[str, str] | None = None,
    **attributes: Any,
) -> Iterator[Callable[..., None]]:  # fmt: skip
    """A span around what happens inside; the caller before it is its parent, or the one that
    `headers` name (W3C trace context).

    Yields a function that adds attributes (`_` stands for `.`) and may rename it (`span_name`).
    An exception makes it an error whose `error.type` is the exception's class; its text stays out.
    """
    if not is_on():
        yield _ignore
        return
    tracer = trace.get_tracer(NAME, __version__)
    parent = propagate.extract(dict(headers)) if headers else None
    with tracer.start_as_current_span(
        name, context=parent, kind=SpanKind[kind.upper()], attributes=_dotted(attributes),
        record_exception=False, set_status_on_exception=False,
    ) as made:  # fmt: skip

        def tell(span_name: str | None = None, **more: Any) -> None:
            if span_name:
                made.update_name(span_name)
            made.set_attributes(_dotted(more))
            if "error_type" in more:
                made.set_status(Status(StatusCode.ERROR))

        try:
            yield tell
        except BaseException as exc:
            tell(error_type=type(exc).__name__)
            raise


def _ignore(span_name: str | None = None, **more: Any) -> None:
    """What a span yields where nothing is recorded."""


#: Attributes whose names have an underscore of their own.
_NAMES = {"http_response_status_code": "http.response.status_code",
          "http_request_method": "http.request.method", "error_type": "error.type",
          "paydesk_event_type": "paydesk.event.type",
          "paydesk_group_size": "paydesk.group.size"}  # fmt: skip


def _dotted(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {_NAMES.get(name) or name.replace("_", "."): value
            for name, value in attributes.items() if value is not None}  # fmt: skip


def past_span(name: str, started_ns: int, error: str | None = None, **attributes: Any) -> None:
    """A span of what is over: for loops whose empty rounds are not worth one."""
    if not is_on():
        return
    tracer = trace.get_tracer(NAME, __version__)
    made = tracer.start_span(name, attributes=_dotted(attributes), start_time=started_ns)
    if error is not None:
        made.set_attribute("error.type", error)
        made.set_status(Status(StatusCode.ERROR))
    made.end(time.time_ns())


# Metrics ------------------------------------------------------------------------------------------

_made: dict[str, Any] = {}


def count(name: str, by: int, **attributes: Any) -> None:
    """Add to a counter such as `paydesk.payment`."""
    if not is_counting():
        return
    if name not in _made:
        _made[name] = metrics.get_meter(NAME, __version__).create_counter(name, unit="1")
    _made[name].add(by, _dotted(attributes))


def record(name: str, value: float, *, unit: str, **attributes: Any) -> None:
    """Add one measurement to a histogram such as `http.server.request.duration`."""
    if not is_counting():
        return
    if name not in _made:
        _made[name] = metrics.get_meter(NAME, __version__).create_histogram(name, unit=unit)
    _made[name].record(value, _dotted(attributes))


def observe(name: str, unit: str, description: str, read: Callable[[], Readings]) -> None:
    """A gauge that is read whenever an SDK collects; a reading that fails is left out."""
    if metrics is None:
        return

    def readings(options: Any) -> list[Any]:
        try:
            found = list(read())
        except Exception:  # The edge towards the SDK: the database may be away.
            return []
        return [metrics.Observation(value, dict(told)) for value, told in found]

    metrics.get_meter(NAME, __version__).create_observable_gauge(
        name, callbacks=[readings], unit=unit, description=description
    )
