"""A Django project with django-rest-knox, and nothing that authentication does not need.

The environment says what differs between two of them:
DJANGO_DATABASE  JSON: `DATABASES["default"]`
DJANGO_EXTRA     JSON: settings that replace or join these, such as REST_KNOX or TOKENWARD
"""

import json
import os

SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["testserver"]
DATABASES = {"default": json.loads(os.environ["DJANGO_DATABASE"])}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "knox"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "project.urls"
USE_TZ = True
TIME_ZONE = "Asia/Kathmandu"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

globals().update(json.loads(os.environ.get("DJANGO_EXTRA", "{}")))
