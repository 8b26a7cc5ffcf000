"""Rows as JSON. Times are whole microseconds since 1970, so that they can be compared exactly."""

from datetime import datetime, timedelta, timezone as zone

from django.utils import timezone

EPOCH = datetime(1970, 1, 1, tzinfo=zone.utc)


def micros(time):
    if time is None:
        return None
    aware = time if timezone.is_aware(time) else timezone.make_aware(time)
    return (aware - EPOCH) // timedelta(microseconds=1)


def token_row(token):
    return {
        "digest": token.digest,
        "token_key": token.token_key,
        "user": str(token.user_id),
        "created": micros(token.created),
        "expiry": micros(token.expiry),
    }
