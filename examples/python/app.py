"""Calls an API five times a second, for so many seconds: app.py PATH URL SECONDS"""

import sys
import time

import hvac
import requests

from panta import Headers

path, url, seconds = sys.argv[1:]
panta = Headers(hvac.Client(), path)  # VAULT_ADDR and VAULT_TOKEN say where and who
calls, end = 0, time.monotonic() + float(seconds)
while time.monotonic() < end:
    response = requests.get(url, headers=panta.current(), timeout=10)
    if response.status_code == 401:
        response = requests.get(url, headers=panta.refused(), timeout=10)
    if response.status_code != 200:
        sys.exit(f"refused: {response.text}")
    calls += 1
    time.sleep(0.2)
print(f"{calls} calls, none refused")
