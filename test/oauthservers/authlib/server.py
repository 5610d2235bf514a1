"""An authorization server made of Authlib and Flask, with its tokens in memory.

Usage: server.py FILE. The file is the JSON of oauthservers.Config.
"""

import json
import logging
import os
import sys
import time

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants, scope_to_list
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from flask import Flask
from joserfc.jwk import KeySet

with open(sys.argv[1], encoding="utf-8") as file:
    config = json.load(file)

# Authlib has a name of its own for private_key_jwt.
ASSERTION = JWTBearerClientAssertion.CLIENT_AUTH_METHOD
METHODS = ["client_secret_basic", "client_secret_post", "none", ASSERTION]


class Client(ClientMixin):
    def __init__(self, registered):
        self.client_id = registered["client_id"]
        self.secret = registered.get("client_secret", "")
        self.method = registered["token_endpoint_auth_method"].replace("private_key_jwt", ASSERTION)
        self.grants = registered["grant_types"]
        self.scopes = registered["scope"].split()
        self.jwks = registered.get("jwks")

    def get_client_id(self):
        return self.client_id

    def get_allowed_scope(self, scope):
        return " ".join(s for s in scope_to_list(scope) or [] if s in self.scopes)

    def check_client_secret(self, secret):
        return secret == self.secret

    def check_endpoint_auth_method(self, method, endpoint):
        return method == self.method

    def check_grant_type(self, grant_type):
        return grant_type in self.grants


class Token(TokenMixin):
    """What one answer of the token endpoint gave: access and refresh token end together."""

    def __init__(self, answer, client, user):
        self.access_token = answer["access_token"]
        self.refresh_token = answer.get("refresh_token")
        self.scope = answer.get("scope", "")
        self.expires_at = time.time() + answer.get("expires_in", 3600)
        self.client, self.user = client, user
        self.revoked = False

    def check_client(self, client):
        return client is self.client

    def get_scope(self):
        return self.scope

    def get_user(self):
        return self.user

    def get_client(self):
        return self.client

    def is_expired(self):
        return time.time() > self.expires_at

    def is_revoked(self):
        return self.revoked


clients = {c["client_id"]: Client(c) for c in config["clients"]}
tokens = {}  # by access token and by refresh token
spent = set()  # the jti of each assertion


def save_token(answer, request):
    token = Token(answer, request.client, request.user)
    tokens[token.access_token] = token
    if token.refresh_token:
        tokens[token.refresh_token] = token


class Password(grants.ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def authenticate_user(self, username, password):
        return username if config["users"].get(username) == password else None


class ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS


class Refresh(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        token = tokens.get(refresh_token)
        return token if token and token.refresh_token == refresh_token and not token.revoked else None

    def authenticate_user(self, token):
        return token.user

    def revoke_old_credential(self, token):
        token.revoked = True


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = METHODS

    def query_token(self, token, hint):
        return tokens.get(token)

    def revoke_token(self, token, request):
        token.revoked = True


class Introspection(IntrospectionEndpoint):
    CLIENT_AUTH_METHODS = METHODS

    def query_token(self, token, hint):
        return tokens.get(token)

    def check_permission(self, token, client, request):
        return True

    def introspect_token(self, token):
        return {"active": True, "client_id": token.client.client_id, "scope": token.scope}


class Assertion(JWTBearerClientAssertion):
    def get_audiences(self):
        return [config["issuer"] + config["token_path"]]

    def resolve_client_public_key(self, client):
        return KeySet.import_key_set(client.jwks)

    def validate_jti(self, claims, jti):
        fresh = jti not in spent
        spent.add(jti)
        return fresh


os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # it is behind a proxy
logging.getLogger("werkzeug").setLevel(logging.WARNING)
app = Flask(__name__)
app.config["OAUTH2_TOKEN_EXPIRES_IN"] = dict.fromkeys(["password", "client_credentials", "refresh_token"], config["token_life"])
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
server = AuthorizationServer(app, query_client=clients.get, save_token=save_token)
server.register_client_auth_method(ASSERTION, Assertion())
for grant in (Password, ClientCredentials, Refresh):
    server.register_grant(grant)
for endpoint in (Revocation, Introspection):
    server.register_endpoint(endpoint)

app.post(config["token_path"], endpoint="token")(server.create_token_response)
app.post(config["revocation_path"], endpoint="revoke")(lambda: server.create_endpoint_response("revocation"))
app.post(config["introspection_path"], endpoint="introspect")(lambda: server.create_endpoint_response("introspection"))

app.run("127.0.0.1", config["port"], threaded=True)
