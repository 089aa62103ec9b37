"""Offline mode refuses the network at the socket, whoever asks and however."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request

import pytest

import ragkit
from ragkit.errors import OfflineError
from ragkit.offline import is_offline


def test_names_and_addresses_are_refused() -> None:
    with ragkit.offline():
        with pytest.raises(OfflineError, match=r"example\.org"):
            socket.create_connection(("example.org", 80), timeout=1)
        with socket.socket() as s, pytest.raises(OfflineError, match=r"192\.0\.2\.1"):
            s.connect(("192.0.2.1", 80))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s, pytest.raises(OfflineError):
            s.sendto(b"x", ("192.0.2.1", 53))
        with pytest.raises(OSError, match="ragkit is offline"):  # urllib wraps it in its own URLError
            urllib.request.urlopen("http://192.0.2.1/", timeout=1)


def test_loopback_and_unix_sockets_work() -> None:
    with ragkit.offline(), socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), timeout=5) as client:
            served, _ = server.accept()
            served.close()
            assert client.recv(1) == b""
        a, b = socket.socketpair()
        a.close()
        b.close()


def test_hub_switches_are_set_inside_and_restored() -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("RAGKIT_OFFLINE", "HF_HUB_OFFLINE")}
    script = (
        "import os, ragkit\nfrom ragkit.offline import is_offline\n"
        "assert not is_offline()\n"
        "with ragkit.offline():\n    assert os.environ['HF_HUB_OFFLINE'] == '1' and is_offline()\n"
        "    with ragkit.offline(): pass\n    assert is_offline()\n"
        "assert 'HF_HUB_OFFLINE' not in os.environ and not is_offline()\n"
    )
    assert subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True).stderr == ""


def test_the_environment_variable_holds_for_the_whole_process() -> None:
    script = (
        "import ragkit, socket\ntry:\n    socket.create_connection(('192.0.2.1', 9), 1)\n"
        "except ragkit.RagkitError as e:\n    print(type(e).__name__)"
    )
    env = {**os.environ, "RAGKIT_OFFLINE": "1"}
    out = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "OfflineError"


def test_the_suite_itself_runs_offline() -> None:
    assert is_offline()
