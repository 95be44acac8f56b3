"""Events and outcomes are what the core writes."""

from __future__ import annotations

import dataclasses
import json
import typing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import kpo
from kpo import _decode, events

ROOT = Path(__file__).parents[2]
SAMPLES = [json.loads(line) for line in (ROOT / "docs/events.jsonl").read_text().splitlines()]


def again(value: Any) -> Any:
    """What was decoded, as the core would write it."""
    if isinstance(value, timedelta):
        return {"secs": value.seconds, "nanos": value.microseconds * 1000}
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%f")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        keys = {
            field.name: field.metadata.get("json", _decode._camel(field.name)) for field in dataclasses.fields(value)
        }
        return {key: again(getattr(value, name)) for name, key in keys.items()}
    return [again(item) for item in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["event"])
def test_each_event_of_the_core_is_read_whole(sample: dict[str, Any]) -> None:
    event = events.decode(json.dumps({**sample, "at": "2026-11-24T03:26:58.799308693Z", "lines": ["said"]}))
    assert type(event) is events.BY_NAME[sample["event"]]
    assert event.at == datetime(2026, 11, 24, 3, 26, 58, 799308, timezone.utc) and event.lines == ("said",)
    compare(sample, again(event))


def compare(wanted: Any, found: Any) -> None:
    """All that was written is there; Python's microseconds and what an attempt's verdict leaves out apart."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            if key not in ("event", "evidenceIndexes"):
                compare(value, found[key])
    elif isinstance(found, str) and isinstance(wanted, str) and wanted.endswith("Z"):
        assert wanted.startswith(found)
    else:
        assert found == wanted


def test_every_class_has_a_name_or_is_made_otherwise() -> None:
    classes = {cls for cls in vars(events).values() if isinstance(cls, type) and issubclass(cls, events.Event)}
    otherwise = {events.Event, events.Log, events.OutcomeReady, events.Other}
    assert set(events.BY_NAME.values()) == classes - otherwise
    assert {sample["event"] for sample in SAMPLES} < set(events.BY_NAME)


def test_waits_are_all_known() -> None:
    waits = {sample["because"]["for"] for sample in SAMPLES if sample["event"] == "waiting"}
    assert waits == set(typing.get_args(typing.get_type_hints(events.Because)["kind"]))


@pytest.mark.parametrize(
    "more",
    [
        {"event": "ran", "container": "base"},
        {"event": "admitted", "changes": ["a", "b"]},
        {"event": "resultLimit", "bytes": 4096},
        {"event": "trouble", "why": "no route"},
        {"event": "unused", "fields": ["spec.completions"]},
        {"event": "crashed", "why": "a bug"},
        {
            "event": "gap",
            "pod": "p",
            "container": "c",
            "cause": "rotated",
            "detail": None,
            "after": "2026-11-24T03:26:58.0Z",
            "before": None,
        },
        {"event": "logTrouble", "pod": "p", "container": "c", "why": "w", "retryIn": {"secs": 1, "nanos": 0}},
        {"event": "invented", "more": 1},
    ],
    ids=lambda more: more["event"],
)
def test_the_engines_own_are_read(more: dict[str, Any]) -> None:
    event = events.decode(json.dumps({**more, "at": "2026-11-24T03:26:58.799308693Z", "lines": []}))
    assert type(event) is events.BY_NAME.get(more["event"], events.Other)


def test_times_are_utc() -> None:
    for text, micros in [
        ("1970-01-01T00:00:00.000000999Z", 0),
        ("1970-01-01T00:00:00.5Z", 500_000),
        ("1970-01-01T00:00:00Z", 0),
    ]:
        assert _decode.time(text) == datetime(1970, 1, 1, 0, 0, 0, micros, timezone.utc)
    assert _decode.time_of_ns(1_500_000_000) == datetime(1970, 1, 1, 0, 0, 1, 500_000, timezone.utc)


def test_everything_is_frozen_and_typed() -> None:
    classes = [
        kpo.Outcome,
        kpo.Attempt,
        kpo.Verdict,
        kpo.PodRef,
        kpo.Times,
        events.Because,
        events.Next,
        *events.BY_NAME.values(),
    ]
    for cls in classes:
        assert dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_a_line_of_a_log_is_bytes() -> None:
    line = events.LogLine(1_000_000_000, b"caf\xe9", False, False, 1, 7)
    assert (line.text, line.time.year) == ("caf\ufffd", 1970)
    assert repr(line) == "LogLine(1970-01-01T00:00:01+00:00, 4 bytes)"


def test_a_result_is_parsed_where_it_is_json() -> None:
    for text, value in [('{"a": 1}', {"a": 1}), ("plain words", "plain words"), ("null", None), (None, None)]:
        assert kpo.Outcome(task="t", namespace="n", result_text=text).result == value
