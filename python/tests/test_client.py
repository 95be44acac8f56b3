"""Ways to a cluster."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import ENDLESS, pod, until_gone, until_running

import kpo


def authority(lab: kpo.Lab) -> bytes:
    found = re.search(r"certificate-authority-data: (\S+)", lab.kubeconfig)
    assert found is not None
    return base64.b64decode(found[1])


def test_a_given_server_and_token(kpo_lab: kpo.Lab, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority(kpo_lab))
    ways: dict[str, Path | str | bytes] = {"path": ca, "text": str(ca), "bytes": authority(kpo_lab)}
    for name, given in ways.items():
        with kpo.Client(host=kpo_lab.url, ca=given, token=kpo_lab.token, namespace="default") as client:
            assert kpo.run(pod("true", name=name), client=client).succeeded
    with kpo.Client(host=kpo_lab.url, verify=False, token=kpo_lab.token) as client:
        assert client.find("juice") == [] and client.server == kpo_lab.url.removeprefix("https://")


def test_a_kubeconfig_as_a_dict_and_the_environments(kpo_lab: kpo.Lab) -> None:
    cluster = {"server": kpo_lab.url, "certificate-authority-data": base64.b64encode(authority(kpo_lab)).decode()}
    config = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": kpo_lab.token}}],
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
    }
    with kpo.Client(config, context="one") as client:
        assert client.namespace == "team" and client.find("juice") == []
    with kpo.Client() as client:
        assert client.namespace == "default" and client.find("juice") == []


def test_an_untrusted_server_is_told_at_once(kpo_lab: kpo.Lab) -> None:
    with kpo.Client(host=kpo_lab.url, token=kpo_lab.token) as client:
        with pytest.raises(kpo.ConnectError, match="certificate") as raised:
            kpo.run(pod("true"), client=client)
        assert kpo_lab.token not in str(raised.value)
    with kpo.Client(host=kpo_lab.url, ca=authority(kpo_lab), token="wr0ng") as client:
        with pytest.raises(kpo.ConnectError, match="does not accept the credentials"):
            kpo.run(pod("true"), client=client)
    assert kpo_lab.requests().get("create pods") is None


def test_ssl_cert_file_is_honoured(kpo_lab: kpo.Lab, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority(kpo_lab))
    code = f"import kpo; print(kpo.Client(host={kpo_lab.url!r}, token={kpo_lab.token!r}).find('juice'))"
    ran = [sys.executable, "-c", code]
    trusted = subprocess.run(
        ran, env={**os.environ, "SSL_CERT_FILE": str(ca)}, capture_output=True, text=True, check=False
    )
    assert trusted.stdout == "[]\n", trusted.stderr
    assert "ConnectError" in subprocess.run(ran, capture_output=True, text=True, check=False).stderr


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy that knows CONNECT, and what it was asked for. Whatever host is asked for, it connects to this machine."""
    asked: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pipe(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve(inner: socket.socket) -> None:
        with inner:
            head = b""
            while b"\r\n\r\n" not in head:
                head += inner.recv(65536)
            asked.append(head.split(b"\r\n")[0].decode())
            port = int(head.split()[1].rsplit(b":", 1)[1])
            with socket.create_connection(("127.0.0.1", port)) as outer:
                inner.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=pipe, args=(outer, inner))
                back.start()
                pipe(inner, outer)
                back.join()

    def accept() -> None:
        serving = []
        while True:
            try:
                inner, _ = listener.accept()
            except OSError:
                break
            serving.append(threading.Thread(target=serve, args=(inner,)))
            serving[-1].start()
        for thread in serving:
            thread.join()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        # Closing alone does not wake who accepts.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()


def test_proxies_are_honoured(kpo_lab: kpo.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    port = kpo_lab.url.rsplit(":", 1)[1]
    host = f"https://api.example:{port}"
    given: dict[str, Any] = {
        "host": host,
        "ca": authority(kpo_lab),
        "token": kpo_lab.token,
        "tls_server_name": "localhost",
    }
    with proxy() as (url, asked):
        with kpo.Client(**given, proxy=url) as client:
            assert kpo.run(pod("true"), client=client).succeeded
        assert asked and set(asked) == {f"CONNECT api.example:{port} HTTP/1.1"}
        asked.clear()
        monkeypatch.setenv("HTTPS_PROXY", url)
        with kpo.Client(**given) as client:
            assert client.find("juice") == [] and asked
        asked.clear()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with kpo.Client() as client:
            assert client.find("juice") == [] and not asked


class Vault:
    """Gives tokens, each good until it is taken back."""

    def __init__(self, lab: kpo.Lab) -> None:
        self.lab = lab
        self.given: list[str] = []

    def __call__(self) -> str:
        self.given.append(f"t0ken-{len(self.given)}")
        self.lab.grant(self.given[-1])
        return self.given[-1]

    def take_back(self) -> None:
        self.lab.expire(self.given[-1])


def test_a_callback_gives_a_fresh_token_when_one_has_expired(kpo_lab: kpo.Lab) -> None:
    vault = Vault(kpo_lab)
    with kpo.Client(host=kpo_lab.url, ca=authority(kpo_lab), token=vault) as client:
        with kpo.Task(ENDLESS, client=client) as task:
            until_running(task)
            assert len(vault.given) == 1
            vault.take_back()
            task.cancel()
            assert task.outcome().verdict == "cancelled"
        until_gone(client)
    assert len(vault.given) == 2


def test_a_callback_that_fails_is_told_without_its_words(kpo_lab: kpo.Lab) -> None:
    class VaultError(Exception):
        pass

    def fails() -> str:
        raise VaultError("the password hunter2 is wrong")

    given: dict[str, Any] = {"host": kpo_lab.url, "ca": authority(kpo_lab)}
    with (
        pytest.raises(kpo.ConnectError, match="the token callback raised VaultError") as raised,
        kpo.Client(**given, token=fails) as client,
    ):
        client.find("juice")
    assert "hunter2" not in str(raised.value)
    with pytest.raises(kpo.ConnectError, match="gave no str"), kpo.Client(**given, token=lambda: 7) as client:  # type: ignore[arg-type]
        client.find("juice")


@pytest.mark.parametrize(
    "given",
    [
        {"host": "https://h", "in_cluster": True},
        {"kubeconfig": "a", "kubeconfig_text": "b"},
        {"ca": b"x"},
        {"token": "t0ken"},
        {"verify": False},
        {"kubeconfig": "a", "proxy": "http://p"},
    ],
)
def test_arguments_that_contradict_each_other_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(kpo.InputError) as raised:
        kpo.Client(**given)
    assert "t0ken" not in str(raised.value)


def test_no_secret_is_in_a_repr(kpo_lab: kpo.Lab) -> None:
    secret = pod("true")
    secret["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "s3cret"}]
    client = kpo.Client(host=kpo_lab.url, ca=authority(kpo_lab), token=kpo_lab.token)
    task = kpo.Task(secret, client=client, env={"OTHER": "s3cret"})
    seen: list[object] = [client, task, kpo_lab]
    with task:
        seen += list(task)
        seen += [task, task.outcome(), client._open(), task._native, kpo.TaskFailed(task.outcome())]
    client.close()
    text = repr(seen)
    assert "s3cret" not in text and kpo_lab.token not in text


def test_a_missing_right_names_the_rule(tmp_path: Path) -> None:
    script = "node node-1\ntoken runner may get,watch on pods in default"
    with kpo.lab(script) as lab, pytest.raises(kpo.ForbiddenError, match=r'resources: \["pods"\], verbs: \["list"\]'):
        with kpo.Client(lab.kubeconfig_path, context="runner") as client:
            client.find("juice")


def test_a_pod_is_read_as_specified(client: kpo.Client) -> None:
    kpo.run(pod("true"), client=client, on_finish="keep")
    while client.read_pod("juice-1")["status"]["phase"] != "Succeeded":
        # The kubelet writes the phase when it has torn the pod down.
        pass
    with pytest.raises(kpo.PodNotFoundError, match="nobody") as raised:
        client.read_pod("nobody", within=0.2)
    assert isinstance(raised.value, kpo.NotFoundError)


def test_a_client_is_opened_again(client: kpo.Client) -> None:
    assert client.find("juice") == []
    client.close()
    assert client.find("juice") == []


def test_there_is_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(kpo.ConnectError, match="none"), kpo.Client():
        pass


def test_tasks_of_a_loop_that_open_it_at_once_share_one_connection(client: kpo.Client) -> None:
    async def together() -> list[object]:
        return await asyncio.gather(*(client._open_async() for _ in range(5)))

    opened = asyncio.run(together())
    assert all(native is opened[0] for native in opened)
    client.close()
