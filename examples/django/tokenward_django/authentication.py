"""A drop-in for `knox.auth.TokenAuthentication` that asks tokenward instead of the database."""

import logging
from datetime import timezone as zone

import grpc
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.models import get_token_model
from knox.settings import CONSTANTS
from rest_framework.exceptions import APIException, AuthenticationFailed

from tokenward.v1 import token_pb2, token_service_pb2

from . import client

logger = logging.getLogger(__name__)


class AuthenticationUnavailable(APIException):
    """Nobody can say whether the token is good: neither 401, which would sign people out, nor an accept."""

    status_code = 503
    default_detail = _("Authentication is temporarily unavailable.")
    default_code = "authentication_unavailable"
    wait = 1  # Retry-After, in seconds


class TokenwardAuthentication(TokenAuthentication):
    """The rules and texts for the header are knox's own, inherited.

    `request.user` and `request.auth` are instances of the project's models that cost no
    query: a field that tokenward did not tell is read from the database when it is used.
    `request.auth.delete()` is a Revoke.
    """

    def authenticate_credentials(self, token):
        try:
            token = token.decode("utf-8")
        except UnicodeDecodeError:
            raise AuthenticationFailed(_("Invalid token.")) from None
        answer = call("Authenticate", token_service_pb2.AuthenticateRequest(token=token), "TIMEOUT")
        if answer.active:
            user = user_of(answer.user)
            return user, auth_of(answer.token, token, user)
        if answer.inactive_reason == token_pb2.INACTIVE_REASON_USER_DISABLED:
            raise AuthenticationFailed(_("User inactive or deleted."))
        raise AuthenticationFailed(_("Invalid token."))


def call(method, request, timeout):
    """Any status but OK is about the service, never about the token."""
    try:
        return getattr(client.stub(), method)(request, timeout=client.setting(timeout))
    except grpc.RpcError as error:
        logger.warning("tokenward did not answer %s: %s", method, error.code())
        raise AuthenticationUnavailable from error


def user_of(user):
    """Not `is_active`: that a view saves this instance must not undo what has just been done to the user."""
    model = get_user_model()
    texts = {field.attname for field in model._meta.concrete_fields if isinstance(field, models.CharField)}
    known = {name: text for name, text in user.attributes.items() if name in texts}
    pk = model._meta.pk
    return row(model, **known, **{pk.attname: pk.to_python(user.user_id)})


def auth_of(record, token, user):
    expiry = moment(record.expire_time) if record.HasField("expire_time") else None
    key = token[: CONSTANTS.TOKEN_KEY_LENGTH]
    values = {"digest": hash_token(token), "token_key": key, "created": moment(record.create_time), "expiry": expiry}
    auth = row(get_token_model(), **values, user_id=user.pk)
    auth.user = user
    revoke = token_service_pb2.RevokeRequest(token=token, reason=token_pb2.REVOCATION_REASON_SIGNED_OUT)
    auth.delete = lambda: call("Revoke", revoke, "REVOKE_TIMEOUT")
    return auth


def row(model, **values):
    """An instance as a query for just these columns gives it."""
    names = [field.attname for field in model._meta.concrete_fields if field.attname in values]
    return model.from_db(router.db_for_read(model), names, [values[name] for name in names])


def moment(timestamp):
    time = timestamp.ToDatetime(zone.utc)
    return time if settings.USE_TZ else timezone.make_naive(time)
