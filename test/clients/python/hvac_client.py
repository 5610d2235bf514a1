"""Shows the token of examples/python in a file, and looks for a new one each
half second, as an application does that calls an API."""

import os
import time

import hvac

from panta import Headers

panta = Headers(hvac.Client(), os.environ["CLIENT_PATH"])
while True:
    token = panta.current()["Authorization"].removeprefix("Bearer ")
    with open("token.new", "w") as file:
        file.write(token)
    os.replace("token.new", "token")
    time.sleep(0.5)
