"""A connection to a cluster."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from kpo import _kpo, _wait
from kpo.errors import InputError

#: A bearer token, or a callable that gives one: asked before the first request, and again after each 401, from any thread.
Token = str | Callable[[], str]
Path = str | os.PathLike[str]


class Client:
    """A connection to one cluster, made when it is first used; in a process that was forked off, made anew there.

    Without arguments as kubectl finds it: the files of ``$KUBECONFIG``, else ``~/.kube/config``, else the service account of the pod that this
    runs in. ``HTTPS_PROXY`` and ``NO_PROXY``, and where no authority is given ``SSL_CERT_FILE``, are honoured.

    Args:
        kubeconfig: the path of a kubeconfig, or one as a dict.
        kubeconfig_text: a kubeconfig's text.
        context: of the kubeconfig. None: its current one.
        namespace: where a pod names none. None: the context's, else ``default``.
        in_cluster: only the service account of the pod that this runs in.
        host: the API server's URL; then the configuration is this and the arguments below it.
        ca: its authority, PEM: a path, or the bytes. None: the system's.
        cert, key: the client's certificate, PEM: paths, or the bytes.
        token: a bearer token, or a callable that gives one. With a callable the kubeconfig's own credentials, but for certificates, are not used.
        proxy: the URL of a proxy (``http``, ``https``, ``socks5``). None: the environment's.
        tls_server_name: the name that the server's certificate is for. None: the host's.
        verify: False trusts any server.
        shared_watch: whether all tasks of a namespace are seen by one watch, which stands as long as the client is open: for many tasks at a time.

    Raises:
        InputError: arguments that contradict each other.
    """

    def __init__(
        self,
        kubeconfig: Path | Mapping[str, Any] | None = None,
        *,
        kubeconfig_text: str | None = None,
        context: str | None = None,
        namespace: str | None = None,
        in_cluster: bool = False,
        host: str | None = None,
        ca: Path | bytes | None = None,
        cert: Path | bytes | None = None,
        key: Path | bytes | None = None,
        token: Token | None = None,
        proxy: str | None = None,
        tls_server_name: str | None = None,
        verify: bool = True,
        shared_watch: bool = False,
    ) -> None:
        given = {
            "kubeconfig": kubeconfig,
            "kubeconfig_text": kubeconfig_text,
            "in_cluster": in_cluster or None,
            "host": host,
        }
        sources = [name for name, value in given.items() if value is not None]
        if len(sources) > 1:
            raise InputError(f"{' and '.join(sources)} are different ways to a cluster: leave all but one of them out")
        of_host = {"ca": ca, "cert": cert, "key": key, "proxy": proxy, "tls_server_name": tls_server_name}
        stray = [name for name, value in of_host.items() if value is not None] + ([] if verify else ["verify"])
        if host is None and isinstance(token, str):
            stray.append("token (as a str)")
        if host is None and stray:
            raise InputError(f"{', '.join(stray)} belong to host, which is not given")
        text = kubeconfig_text
        if isinstance(kubeconfig, Mapping):
            kubeconfig, text = None, json.dumps(kubeconfig)
        if host is not None:
            text = _kubeconfig(host, ca, cert, key, token, proxy, tls_server_name, verify)
        self._file = None if kubeconfig is None else os.fspath(kubeconfig)
        self._text = text
        self._in_cluster = in_cluster
        self._context = context
        self._namespace = namespace
        self._token = token if callable(token) else None
        self._shared_watch = shared_watch
        self._native: _kpo.Client | None = None
        self._process = os.getpid()

    def __repr__(self) -> str:
        kind = self._file or ("in cluster" if self._in_cluster else "given" if self._text else "default")
        return f"Client({kind}, context={self._context!r}, namespace={self._namespace!r})"

    def _connecting(self) -> _kpo.Job:
        return _kpo.connect(
            file=self._file,
            text=self._text,
            in_cluster=self._in_cluster,
            context=self._context,
            token=self._token,
            shared_watch=self._shared_watch,
        )

    def _known(self) -> _kpo.Client | None:
        """The connection, if there is one of this process's."""
        return self._native if self._process == os.getpid() else None

    def _keep(self, native: _kpo.Client) -> _kpo.Client:
        self._native, self._process = native, os.getpid()
        return native

    def _open(self) -> _kpo.Client:
        known = self._known()
        return self._keep(_wait.done(self._connecting())) if known is None else known

    async def _open_async(self) -> _kpo.Client:
        known = self._known()
        if known is not None:
            return known
        native: _kpo.Client = await _wait.done_async(self._connecting())
        known = self._known()
        if known is None:
            return self._keep(native)
        # Another of the loop's tasks was faster.
        native.close()
        return known

    def _place(self, native: _kpo.Client, namespace: str | None) -> str:
        return namespace or self._namespace or native.namespace

    @property
    def namespace(self) -> str:
        """The namespace for what names none."""
        return self._namespace or self._open().namespace

    @property
    def server(self) -> str:
        """The API server's ``host:port``."""
        return self._open().server

    def find(self, task: str, *, namespace: str | None = None) -> list[str]:
        """The names of a task's pods, oldest attempt first. Empty: there are none."""
        native = self._open()
        names: list[str] = _wait.done(native.find(self._place(native, namespace), task))
        return names

    async def find_async(self, task: str, *, namespace: str | None = None) -> list[str]:
        """The same, for an event loop."""
        native = await self._open_async()
        names: list[str] = await _wait.done_async(native.find(self._place(native, namespace), task))
        return names

    def read_pod(self, name: str, *, namespace: str | None = None, within: float | None = None) -> dict[str, Any]:
        """Reads a pod: on a 404, and only on a 404, again after 2 s, 4 s and 8 s. ``within``: seconds for all of it, other failures
        tried again included; None: as long as it takes.

        Raises:
            PodNotFoundError: the message names what was last seen of it, and whether it was preempted.
        """
        native = self._open()
        job = native.read_pod(self._place(native, namespace), name, within)
        pod: dict[str, Any] = json.loads(_wait.done(job))
        return pod

    async def read_pod_async(
        self, name: str, *, namespace: str | None = None, within: float | None = None
    ) -> dict[str, Any]:
        """The same, for an event loop."""
        native = await self._open_async()
        job = native.read_pod(self._place(native, namespace), name, within)
        pod: dict[str, Any] = json.loads(await _wait.done_async(job))
        return pod

    def close(self) -> None:
        """Ends the connection; used again, it is made anew. Tasks under way keep what they need of it."""
        known = self._known()
        self._native = None
        if known is not None:
            known.close()

    def __enter__(self) -> Client:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Client:
        await self._open_async()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _kubeconfig(
    host: str,
    ca: Path | bytes | None,
    cert: Path | bytes | None,
    key: Path | bytes | None,
    token: Token | None,
    proxy: str | None,
    tls_server_name: str | None,
    verify: bool,
) -> str:
    """An explicit configuration as the kubeconfig that says the same: JSON is YAML."""
    cluster = {"server": host, **_pem("certificate-authority", ca)}
    cluster |= {key: value for key, value in {"proxy-url": proxy, "tls-server-name": tls_server_name}.items() if value}
    user: dict[str, Any] = {**_pem("client-certificate", cert), **_pem("client-key", key)}
    if isinstance(token, str):
        user["token"] = token
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "given",
        "clusters": [{"name": "given", "cluster": cluster | ({} if verify else {"insecure-skip-tls-verify": True})}],
        "users": [{"name": "given", "user": user}],
        "contexts": [{"name": "given", "context": {"cluster": "given", "user": "given"}}],
    }
    return json.dumps(config)


def _pem(name: str, value: Path | bytes | None) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, bytes):
        return {f"{name}-data": base64.b64encode(value).decode()}
    return {name: os.fspath(value)}
