"""A swapped token model (KNOX_TOKEN_MODEL) with a column that the database does not fill."""

from django.db import models
from knox.models import AbstractAuthToken


class DeviceToken(AbstractAuthToken):
    device = models.CharField(max_length=32, default="of Django")
