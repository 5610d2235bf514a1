"""Headers for an API behind Vault, always with a token that is good.

    panta = Headers(hvac.Client(), "panta/creds/dmo")
    requests.get(url, headers=panta.current())
"""

import threading
import time


class Headers:
    """The headers of one path of the engine, creds/ or static-creds/."""

    def __init__(self, vault, path):
        self._vault, self._path = vault, path
        self._lock = threading.Lock()
        self._answer, self._read_again = None, 0.0

    def current(self):
        """Reads Vault only where the last answer will soon be too old."""
        with self._lock:
            if time.monotonic() >= self._read_again:
                self._read({})
            return self._answer["headers"]

    def refused(self):
        """After a 401 of the API: the engine asks the server, and answers a token
        that works. One call is enough: repeat the request, and then give up."""
        with self._lock:
            self._read({"rejected": self._answer["session_id"]})
            return self._answer["headers"]

    def _read(self, options):
        response = self._vault.adapter.get("/v1/" + self._path, params=options)
        if response["lease_id"]:
            lasts = response["lease_duration"] * 0.8
        else:  # static-creds: when the next token will be there
            lasts = response["data"]["ttl"] + 1
        self._answer = response["data"]
        self._read_again = time.monotonic() + lasts
