"""What Airflow's metrics are sent to."""

from __future__ import annotations

import socket
import threading
from collections import Counter


class MetricsServer:
    """Takes what a StatsD server would."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.counts: Counter[str] = Counter()
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                text = self._socket.recv(65536).decode()
            except OSError:
                return  # it is closed
            for line in text.splitlines():
                name, _, value = line.partition(":")
                number, _, kind = value.partition("|")
                self.counts[name.removeprefix("airflow.")] += int(number) if kind == "c" else 1
