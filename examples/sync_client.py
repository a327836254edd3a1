"""A client of a flaky service, in threads: give up in time, and stop calling what keeps failing.

Run it: python examples/sync_client.py
"""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
import urllib.request

import meshhook as mh
from meshhook.events import CircuitChanged


class Flaky(http.server.BaseHTTPRequestHandler):
    """Answers three requests, hangs on the next three, then is well again."""

    served = 0

    def do_GET(self) -> None:
        """Answer, sooner or later."""
        Flaky.served += 1
        if Flaky.served in (4, 5, 6):
            time.sleep(0.6)
        with contextlib.suppress(OSError):  # the client may have gone
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"12.99")

    def log_message(self, *_: object) -> None:
        """Say nothing: the client tells the story."""


@mh.circuit_breaker("prices", failure_threshold=3, reset_timeout=0.5)
@mh.timeout(0.2)
def price(url: str) -> float:
    """Ask for a price."""
    with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own server
        return float(answer.read())


def tell(change: CircuitChanged) -> None:
    """Print what the circuit does."""
    print(f"       circuit {change.name}: {change.old} -> {change.new}, {change.reason}")


def main() -> None:
    """Ask for a price again and again, and print what happens."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/price"
    began = time.monotonic()
    with mh.subscribe(tell, CircuitChanged):
        for _ in range(12):
            asked = time.monotonic()
            try:
                answer = f"price {price(url)}"
            except (mh.CircuitOpenError, mh.TimeoutError) as exc:
                answer = f"{type(exc).__name__}: {exc}"
            took = time.monotonic() - asked
            print(f"{asked - began:4.1f} s  {answer} (took {took * 1000:.1f} ms)")
            time.sleep(0.1)
    server.shutdown()
    server.server_close()
    stats = mh.registry.circuit_breakers["prices"].stats()
    print(f"{stats.successes} answered, {stats.failures} failed, {stats.rejected} refused at once")


if __name__ == "__main__":
    main()
