"""An authorization server made of django-oauth-toolkit, with its tokens in a database in the working directory.

Usage: server.py FILE. The file is the JSON of oauthservers.Config.
"""

import json
import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.urls import path

with open(sys.argv[1], encoding="utf-8") as file:
    config = json.load(file)

settings.configure(
    SECRET_KEY="of-a-test",
    ALLOWED_HOSTS=["127.0.0.1"],
    DEBUG=True,  # the server of development serves nothing else
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    # SQLite refuses a transaction that begins with a read while another one writes.
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "server.db", "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20}}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider"],
    # Nobody guesses these passwords, and hashing them well takes most of a login.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    OAUTH2_PROVIDER={
        "ACCESS_TOKEN_EXPIRE_SECONDS": config["token_life"],
        "REFRESH_TOKEN_EXPIRE_SECONDS": config["refresh_life"],
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
        "ROTATE_REFRESH_TOKEN": True,
        "SCOPES": {scope: scope for client in config["clients"] for scope in client["scope"].split()},
        # Where a proxy is before it, as in production.
        "ALLOWED_REDIRECT_URI_SCHEMES": ["http", "https"],
    },
    LOGGING={
        "version": 1,
        "handlers": {"stderr": {"class": "logging.StreamHandler"}},
        "loggers": {"oauth2_provider": {"handlers": ["stderr"], "level": "INFO"}},
    },
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402: models need the setup
from oauth2_provider import views  # noqa: E402
from oauth2_provider.models import Application  # noqa: E402

urlpatterns = [
    path(config["token_path"].lstrip("/"), views.TokenView.as_view()),
    path(config["revocation_path"].lstrip("/"), views.RevokeTokenView.as_view()),
    path(config["introspection_path"].lstrip("/"), views.IntrospectTokenView.as_view()),
]

call_command("migrate", verbosity=0)
for name, password in config["users"].items():
    User.objects.create_user(name, password=password)
for client in config["clients"]:
    # A client has one grant; a password client may refresh besides.
    grant = client["grant_types"][0].replace("_", "-")
    public = client["token_endpoint_auth_method"] == "none"
    Application.objects.create(
        name=client["client_id"],
        client_id=client["client_id"],
        client_secret=client.get("client_secret", ""),
        client_type=Application.CLIENT_PUBLIC if public else Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=grant,
    )
call_command("runserver", f"127.0.0.1:{config['port']}", use_reloader=False)
