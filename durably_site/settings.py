"""Settings, all from the environment (https://12factor.net/config).

With no variable set, everything lies in one SQLite file under ``var/``.
"""

from __future__ import annotations

from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

import dj_database_url
from csp.constants import NONE, SELF
from environs import Env

from durably_site.environment import about
from durably_site.secret_key import kept_secret_key
from runs.connections import noticing_loss

env = Env()
BASE_DIR = Path(__file__).resolve().parent.parent

# Where this installation writes. Made when needed.
VAR_DIR = env.path("VAR_DIR", BASE_DIR / "var")
with about("VAR_DIR", "Name a folder that this user may write, or may make."):
    VAR_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = env.bool("DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", "") or kept_secret_key(VAR_DIR / "secret_key")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [])
PORT = env.int("PORT", 8000)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "django_htmx",
    "runs",
    "jobs",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "durably_site.urls"
ASGI_APPLICATION = "durably_site.asgi.application"

# Where the files of the API's page lie. As an installed app, ninja would be loaded by every
# worker, which serves no API: 6 MB each.
_NINJA = Path(getattr(find_spec("ninja"), "origin", "")).parent

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates", _NINJA / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "runs.dashboard.preferences.shell",
                "runs.dashboard.shell.counters",
            ],
        },
    },
]

# How long a worker's claim of a run holds without renewal.
LEASE_SECONDS = env.float("LEASE_SECONDS", 30)

# The database. SQLite: a writer takes the lock when its transaction begins (IMMEDIATE) and
# waits for it up to 20 s; readers never wait (WAL). The log is moved into the database every
# 16 MB instead of 4: checkpoints write the same few pages again and again.
SQLITE_SYNCHRONOUS = env.str("SQLITE_SYNCHRONOUS", "FULL").upper()
DATABASE_POOLER = env.bool("DATABASE_POOLER", False)
DATABASE_URL = env.str("DATABASE_URL", "") or f"sqlite:///{VAR_DIR / 'db.sqlite3'}"
with about(
    "DATABASE_URL",
    "It has to be postgres://user:password@host/name, with %23 for # and the like in the "
    "password, or sqlite:////path/to/file.",
):
    DATABASES = {"default": dj_database_url.parse(DATABASE_URL)}
    if DATABASES["default"]["ENGINE"].rpartition(".")[2] not in ("sqlite3", "postgresql"):
        raise ValueError
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": (
            f"PRAGMA journal_mode=WAL; PRAGMA synchronous={SQLITE_SYNCHRONOUS}; "
            "PRAGMA cache_size=-16000; PRAGMA wal_autocheckpoint=4000;"
        ),
    }
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # A lost connection is noticed before the leases of its worker run out.
    _given = DATABASES["default"].get("OPTIONS", {})
    _found = noticing_loss(LEASE_SECONDS, _given, pooler=DATABASE_POOLER)
    # The engine's statements are prepared at their second execution, those of the ORM never.
    _found.setdefault("prepare_threshold", None if DATABASE_POOLER else 1)
    DATABASES["default"]["OPTIONS"] = _found
    DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = DATABASE_POOLER
# Connections to PostgreSQL that the requests of one web process share; see asgi.py.
DATABASE_POOL_SIZE = env.int("DATABASE_POOL_SIZE", 0 if DATABASE_POOLER else 10)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Huey's messages. Empty: a SQLite file beside the database, or the PostgreSQL of DATABASE_URL.
HUEY_URL = env.str("HUEY_URL", "")

# The engine; see docs/reference/settings.md.
DATA_DIR = env.path("DATA_DIR", VAR_DIR / "data")
RELEASE = env.str("RELEASE", "")
WORKER_CONCURRENCY = env.int("WORKER_CONCURRENCY", 4)
SHUTDOWN_SECONDS = env.float("SHUTDOWN_SECONDS", 8)
MAX_RECOVERIES = env.int("MAX_RECOVERIES", 5)
RETAIN_RUNS = env.str("RETAIN_RUNS", "") or None
MAX_INPUT_BYTES = env.int("MAX_INPUT_BYTES", 1_000_000)
# What a request may bring: JSON can take three bytes for one that is stored, and a batch has many.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(10_000_000, 4 * MAX_INPUT_BYTES)
MAX_RESULT_BYTES = env.int("MAX_RESULT_BYTES", 10_000_000)
MAX_LOG_BYTES = env.int("MAX_LOG_BYTES", 20_000)
ACCESS_POLICY = env.str("ACCESS_POLICY", "runs.access.AccessPolicy")
TENANT_LABEL = env.str("TENANT_LABEL", "tenant")

# HTTPS: for browsers that reach the site through a proxy that ends TLS. Over plain HTTP, as on
# this machine, they would not send a secure cookie back.
HTTPS = env.bool("HTTPS", False)
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]  # probes come past the proxy
HSTS_SECONDS = env.int("HSTS_SECONDS", 365 * 24 * 3600)
SECURE_HSTS_SECONDS = HSTS_SECONDS if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("HSTS_SUBDOMAINS", True)
SECURE_HSTS_PRELOAD = env.bool("HSTS_PRELOAD", False)
# Browsers' preload lists bind a whole domain for years: not for a default to decide.
SILENCED_SYSTEM_CHECKS = ["security.W021"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
if HTTPS:  # browsers then take these cookies from this very host only, and over HTTPS
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"

# Who may say, by X-Forwarded-For and X-Forwarded-Proto, who asks and how; see asgi.py. A proxy
# that says the latter otherwise is believed whoever asks, so it has to remove that header.
TRUSTED_PROXIES: list[str] = env.list("TRUSTED_PROXIES", [])
if _header := env.str("SECURE_PROXY_SSL_HEADER", ""):
    _name, _, _value = _header.partition(":")
    SECURE_PROXY_SSL_HEADER = (f"HTTP_{_name.strip().upper().replace('-', '_')}", _value.strip())

# People.
with about("SESSION_AGE", "It has to be a time such as 14d, 12h or 90m."):
    SESSION_COOKIE_AGE = int(env.timedelta("SESSION_AGE", timedelta(days=14)).total_seconds())
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # refuses who failed too often
    "django.contrib.auth.backends.ModelBackend",
]
AXES_HANDLER = "runs.access.attempts.SignInAttempts"
AXES_CLIENT_IP_CALLABLE = "runs.access.attempts.client_address"
AXES_LOCKOUT_CALLABLE = "runs.dashboard.auth.locked_out"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = env.int("LOGIN_ATTEMPTS", 5)
with about("LOGIN_LOCKOUT", "It has to be a time such as 15m, 1h or 1d."):
    AXES_COOLOFF_TIME = env.timedelta("LOGIN_LOCKOUT", timedelta(minutes=15))
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_DISABLE_ACCESS_LOG = True  # refusals have a record of their own
AXES_ENABLE_ADMIN = False
AXES_SENSITIVE_PARAMETERS = ["csrfmiddlewaretoken"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en"
TIME_ZONE = env.str("TIME_ZONE", "UTC")
with about("TIME_ZONE", "It has to be the name of a time zone, such as Europe/Zurich."):
    ZoneInfo(TIME_ZONE)
USE_TZ = True
USE_I18N = False

# Static files are served by the web process itself, also with DEBUG off, without a build step.
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static", _NINJA / "static"]
WHITENOISE_USE_FINDERS = True

# Nothing inline, nothing from elsewhere.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "upgrade-insecure-requests": HTTPS,
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "class": "durably_site.logs.Indented",
            "format": "{asctime} {levelname:<7} {name}: {message}",
            "style": "{",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        # One line a doorbell message is noise: runs have a log of their own.
        "huey": {"level": "WARNING"},
        "axes": {"level": "ERROR"},  # failed sign-ins are logged by runs.access
        "django.request": {"level": "ERROR"},
    },
}
