"""Users with keys of other types than the default's. AUTH_USER_MODEL chooses one of them."""

import uuid

from django.contrib.auth.models import AbstractBaseUser, UserManager
from django.db import models


class Person(AbstractBaseUser):
    username = models.CharField(max_length=150, unique=True)
    email = models.EmailField()
    last_name = models.CharField(max_length=150, default="")
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    is_superuser = models.BooleanField(default=False)

    objects = UserManager()
    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"

    class Meta:
        abstract = True


class Numbered(Person):
    """Beyond 32 bits."""

    id = models.BigAutoField(primary_key=True)


class Unguessable(Person):
    """`uuid` on PostgreSQL and MariaDB, `char(32)` on SQLite."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)


class Char32UUIDField(models.UUIDField):
    """What a project that is older than Django 5 has on MariaDB (release notes of Django 5.0)."""

    def db_type(self, connection):
        return "char(32)"

    def get_db_prep_value(self, value, connection, prepared=False):
        value = super().get_db_prep_value(value, connection, prepared)
        return value if value is None else uuid.UUID(str(value)).hex


class Longstanding(Person):
    id = Char32UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
