"""The engine's connection, made of the Python client that upstream's hook has configured: so every hook that makes one serves, private ones too."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from requests.utils import should_bypass_proxies

import kpo

#: Where a configuration keeps its bearer token.
_BEARER = "BearerToken"


def bearer(configuration: Any) -> str | None:
    """The bearer token of a client's configuration, renewed by its own hook where it has one. None: it has none."""
    settings = configuration.auth_settings().get(_BEARER)
    value = settings["value"] if settings else None
    return value.removeprefix("Bearer ").removeprefix("bearer ") if value else None


def _proxy(configuration: Any) -> str | None:
    """Where the client itself goes through one (``kubernetes/client/rest.py``): it has taken both from the environment, perhaps."""
    no_proxy = getattr(configuration, "no_proxy", None) or ""
    is_direct = not configuration.proxy or should_bypass_proxies(configuration.host, no_proxy=no_proxy)
    return None if is_direct else str(configuration.proxy)


class _Tokens:
    """The token, and after a 401 that of a client which was made anew."""

    def __init__(self, configuration: Any, again: Callable[[], Any]) -> None:
        self._configuration, self._again = configuration, again
        self._was_asked = False
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            if self._was_asked:
                self._configuration = self._again()
            self._was_asked = True
            return bearer(self._configuration) or ""


def of(operator: Any) -> kpo.Client:
    """A connection like that of the operator's own client."""

    def again() -> Any:
        # It deletes what must be there.
        _ = operator.hook, operator.client, operator.pod_manager
        operator._refresh_cached_properties()
        return operator.client.api_client.configuration

    return client(operator.client.api_client.configuration, again)


def client(
    configuration: Any, again: Callable[[], Any], *, namespace: str | None = None, shared_watch: bool = False
) -> kpo.Client:
    """A connection like that client's. ``again``: gives the configuration of one made anew, when its token is refused; called from any thread."""
    return kpo.Client(
        host=configuration.host,
        ca=configuration.ssl_ca_cert or None,
        cert=configuration.cert_file or None,
        key=configuration.key_file or None,
        token=None if bearer(configuration) is None else _Tokens(configuration, again),
        proxy=_proxy(configuration),
        tls_server_name=getattr(configuration, "tls_server_name", None) or None,
        verify=bool(configuration.verify_ssl),
        namespace=namespace,
        shared_watch=shared_watch,
    )
