"""How a task is to be run: the command line's flags, by the same names and with the same defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypedDict

from kpo.errors import InputError

#: A span of time: seconds, or a timedelta.
Seconds = float | timedelta


class Options(TypedDict, total=False):
    """See docs/python.md for what each means; docs/cli.md has the same as flags."""

    name: str | None
    namespace: str | None
    image: str | None
    container: str | None
    command: bool
    args: Sequence[str]
    env: Mapping[str, str]
    set: Mapping[str, Any]
    rerun: Literal["never", "if-not-started", "until-commit", "idempotent"]
    rerun_never_started: int
    rerun_started: int
    retries: int
    on_unsigned_delete: Literal["end", "recreate"]
    exit_zero_after_term: Literal["success", "disrupted"]
    init_may_rerun: bool
    replace_unreachable_after: Seconds | None
    disturb: Literal["deny", "allow"] | None
    queue_timeout: Seconds | None
    schedule_timeout: Seconds | None
    start_timeout: Seconds | None
    run_timeout: Seconds | None
    timeout: Seconds | Literal["manifest"] | None
    fail_fast_images: bool
    result: bool | str
    results: Literal["sidecar", "message", "exec"]
    results_image: str | None
    results_resources: Mapping[str, str] | None
    results_security: Mapping[str, Any] | None
    results_absent: str | None
    on_finish: Literal["delete", "keep", "keep-failed"]
    keep_failed_for: Seconds | None
    protect: bool
    fixed_name: bool
    logs: bool | Sequence[str]


#: Where upstream's operator expects a result, and the command line's ``--result`` without a path.
RESULT_PATH = "/airflow/xcom/return.json"

DEFAULTS: Options = {
    "name": None,
    "namespace": None,
    "image": None,
    "container": None,
    "command": False,
    "args": (),
    "env": {},
    "set": {},
    "rerun": "if-not-started",
    "rerun_never_started": 8,
    "rerun_started": 3,
    "retries": 0,
    "on_unsigned_delete": "end",
    "exit_zero_after_term": "success",
    "init_may_rerun": False,
    "replace_unreachable_after": None,
    "disturb": None,
    "queue_timeout": None,
    "schedule_timeout": None,
    "start_timeout": 600,
    "run_timeout": None,
    "timeout": "manifest",
    "fail_fast_images": False,
    "result": False,
    "results": "sidecar",
    "results_image": None,
    "results_resources": None,
    "results_security": None,
    "results_absent": None,
    "on_finish": "delete",
    "keep_failed_for": None,
    "protect": False,
    "fixed_name": False,
    "logs": True,
}

_TIMES = {name for name in DEFAULTS if name.endswith("timeout")} | {"replace_unreachable_after", "keep_failed_for"}


def containers(logs: bool | Sequence[str]) -> list[str] | None:
    """Whose logs are wanted. None: all containers'."""
    if isinstance(logs, bool):
        return None if logs else []
    return [logs] if isinstance(logs, str) else list(logs)


def asked(manifest: str | None, options: Options) -> str:
    """What the native half is asked for."""
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        raise InputError(f"there is no option {', '.join(unknown)}")
    values: dict[str, Any] = {**DEFAULTS, **options}
    for name in _TIMES:
        values[name] = _seconds(values[name])
    values["env"] = [f"{name}={value}" for name, value in values["env"].items()]
    values["set"] = [f"{path}={json.dumps(value)}" for path, value in values["set"].items()]
    values["args"] = list(values["args"])
    values["logs"] = containers(values["logs"])
    values["result"] = {True: RESULT_PATH, False: None}.get(values["result"], values["result"])
    for name in ("results_resources", "results_security"):
        values[name] = None if values[name] is None else dict(values[name])
    try:
        return json.dumps({"manifest": manifest, **values})
    except TypeError:
        raise InputError("an option has a value of a wrong type") from None


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value
