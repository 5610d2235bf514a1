"""Reads a token with hvac and shows it in a file: again at four fifths of a
lease or, where there is none, when ttl is over."""

import os
import time

import hvac

client = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["VAULT_TOKEN"])
while True:
    answer = client.read(os.environ["CLIENT_PATH"])
    with open("token.new", "w") as file:
        file.write(answer["data"]["access_token"])
    os.replace("token.new", "token")
    if answer["lease_id"]:
        time.sleep(answer["lease_duration"] * 0.8)
    else:
        time.sleep(answer["data"]["ttl"] + 1)
