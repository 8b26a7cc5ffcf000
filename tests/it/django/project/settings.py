"""A Django project with django-rest-knox, and little that authentication does not need.

The environment says what differs between two of them:
DJANGO_DATABASE  JSON: `DATABASES["default"]`
DJANGO_EXTRA     JSON: settings that replace or join these, such as REST_KNOX, TOKENWARD or AUTH_USER_MODEL
DJANGO_REDIS     a Redis, for a project that uses django-rest-knox-redis
"""

import json
import os

import pymysql

# Without a compiler, which mysqlclient needs.
pymysql.install_as_MySQLdb()

SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["testserver"]
DATABASES = {"default": json.loads(os.environ["DJANGO_DATABASE"])}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "knox"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "project.urls"
USE_TZ = True
TIME_ZONE = "Asia/Kathmandu"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

globals().update(extra := json.loads(os.environ.get("DJANGO_EXTRA", "{}")))

if "AUTH_USER_MODEL" in extra:
    INSTALLED_APPS += ["project.people"]
else:
    # Users of this project's own have no permissions, which the admin site asks for.
    INSTALLED_APPS += ["django.contrib.admin", "django.contrib.messages", "django.contrib.sessions"]
    MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    PROCESSORS = ["auth.context_processors.auth", "messages.context_processors.messages"]
    TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    *(f"django.contrib.{processor}" for processor in PROCESSORS),
                ]
            },
        }
    ]
if "KNOX_TOKEN_MODEL" in extra:
    INSTALLED_APPS += ["project.devices"]
if redis := os.environ.get("DJANGO_REDIS"):
    INSTALLED_APPS += ["knox_redis"]
    CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis}}
