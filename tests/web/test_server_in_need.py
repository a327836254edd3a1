"""A server in a process that has no more files to open: it waits, and does not spin."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, resource, socket, time, meshhook as mh
from http.client import HTTPConnection

server = mh.serve(0)
client = socket.socket()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
client.connect(("127.0.0.1", server.port))
began = time.process_time()
time.sleep(1)
spent = time.process_time() - began
for each in taken:
    os.close(each)
connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
connection.request("GET", "/health/live")
print(connection.getresponse().status, spent)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX")
def test_no_file_left_for_a_client() -> None:
    """The client waits as the server does, calls lose nothing, and it goes on when there are."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, timeout=60, check=True, text=True
    )
    status, spent = done.stdout.split()
    assert status == "200"
    assert float(spent) < 0.2
    assert done.stderr == ""
