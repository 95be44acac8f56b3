"""An embedded cluster: a Kubernetes API server, scheduler, nodes and kubelets in this process. Containers are local processes, and any image
name "pulls"."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from kpo import _kpo, _wait
from kpo._client import Client
from kpo.errors import ClosedError, InputError

#: ``"quiet"``, ``"preemption"``, a script's text, or (a path) its file.
Script = str | os.PathLike[str]


class Lab:
    """A cluster that lives as long as its block. ``kpo help scripts`` says what can be written into a script.

    Raises:
        InputError: when it begins: the script cannot be read.
        LocalError: when it begins: containers cannot be run on this machine.
    """

    def __init__(self, script: Script = "quiet") -> None:
        self._script = _text(script)
        self._native: _kpo.Cluster | None = None
        self._folder: str | None = None
        self._process = os.getpid()
        self._clients: list[Client] = []

    def __repr__(self) -> str:
        return f"Lab({self._native.url if self._native else 'not running'})"

    def _cluster(self) -> _kpo.Cluster:
        if self._native is None:
            raise ClosedError("the lab does not run: use it as a context manager")
        return self._native

    @property
    def url(self) -> str:
        """``https://127.0.0.1:port``"""
        return self._cluster().url

    @property
    def token(self) -> str:
        """The admin's bearer token."""
        return self._cluster().token

    @property
    def kubeconfig(self) -> str:
        """The admin's kubeconfig: YAML."""
        return self._cluster().kubeconfig

    @property
    def kubeconfig_path(self) -> str:
        """The same in a file, which goes with the lab; readable by its owner only."""
        cluster = self._cluster()
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="kpo-lab-")
            cluster.write_kubeconfig(Path(self._folder, "kubeconfig.yaml"))
        return str(Path(self._folder, "kubeconfig.yaml"))

    def client(self, *, namespace: str | None = None, shared_watch: bool = False) -> Client:
        """A connection of its own to it, closed with the lab."""
        client = Client(kubeconfig_text=self.kubeconfig, namespace=namespace, shared_watch=shared_watch)
        self._clients.append(client)
        return client

    def play(self, script: str) -> None:
        """Lets more happen: the lines of a script, from now on."""
        self._cluster().play(script)

    def grant(self, token: str) -> None:
        """Makes a bearer token the admin's, too."""
        self._cluster().grant(token)

    def expire(self, token: str) -> None:
        """Makes a bearer token invalid from now on."""
        self._cluster().expire(token)

    def requests(self) -> dict[str, int]:
        """How often each kind of request came: ``{"create pods": 1}``."""
        return self._cluster().requests()

    def refusals(self) -> list[str]:
        """What of the script came to nothing, and why."""
        return self._cluster().refusals()

    def close(self) -> None:
        """Ends it, and its containers. In a process that was forked off: nothing, it is the parent's."""
        if self._process != os.getpid():
            return
        native, self._native = self._native, None
        folder, self._folder = self._folder, None
        clients, self._clients = self._clients, []
        for client in clients:
            client.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if native is not None:
            native.close()

    def __enter__(self) -> Lab:
        self._process = os.getpid()
        self._native = _wait.done(_kpo.lab(self._script))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Lab:
        self._process = os.getpid()
        self._native = await _wait.done_async(_kpo.lab(self._script))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lab(script: Script = "quiet") -> Lab:
    """An embedded cluster, as a context manager (``with`` or ``async with``)."""
    return Lab(script)


def _text(script: Script) -> str:
    if not isinstance(script, str):
        return Path(script).read_text(encoding="utf-8")
    known = _kpo.lab_scripts()
    if script not in known and not any(c.isspace() for c in script):
        raise InputError(f"there is no script {script!r}: {', '.join(known)}, a script's text, or its file as a Path")
    return script
