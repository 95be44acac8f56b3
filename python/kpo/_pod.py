"""What a user hands in as a pod, as the text of a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from kpo.errors import InputError


class HasDict(Protocol):
    """An object of another library that makes itself a dict."""

    def to_dict(self) -> Any: ...


#: A Pod, PodTemplate, Job or CronJob: a dict, YAML or JSON text, or an object (``kubernetes.client.V1Pod``).
PodLike = Mapping[str, Any] | str | HasDict


def manifest(pod: PodLike) -> str:
    """The manifest's text."""
    if isinstance(pod, str):
        return pod
    value = pod if isinstance(pod, Mapping) else _of_object(pod)
    try:
        return json.dumps(_plain(value))
    except (TypeError, ValueError):
        raise InputError("the pod holds a value that is none of JSON's") from None


def _plain(value: Any) -> Any:
    """Models within a dict are made plain, too."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _of_object(value) if _is_model(value) else value


def _is_model(value: object) -> bool:
    """Whether it is one of the Kubernetes client's models, whose own ``to_dict`` does not have the API's names."""
    return hasattr(type(value), "openapi_types") and hasattr(type(value), "attribute_map")


def _of_object(pod: Any) -> Any:
    if _is_model(pod):
        return _of_model(pod)
    if not hasattr(pod, "to_dict"):
        raise InputError(f"a pod is a dict, a manifest's text, or has to_dict; {type(pod).__name__} is none of them")
    return pod.to_dict()


def _of_model(model: Any) -> Any:
    """As the client itself sends it: fields that are not set are left out."""
    fields = {}
    for name, key in type(model).attribute_map.items():
        value = getattr(model, name)
        if value is not None:
            fields[key] = _model_value(value)
    return fields


def _model_value(value: Any) -> Any:
    if _is_model(value):
        return _of_model(value)
    if isinstance(value, Mapping):
        return {key: _model_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_model_value(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else value
