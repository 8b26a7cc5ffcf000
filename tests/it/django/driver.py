"""A Django process that does what it is told: a JSON array [command, arguments] a line on standard
input, a JSON value a line on standard output. What goes wrong is {"error": text}.

    driver.py migrate     makes the tables, and ends
    driver.py             obeys until its input ends
"""

import base64
import json
import os
import sys
import threading
import traceback
from datetime import timedelta

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

import django  # noqa: E402

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.db.models import Q  # noqa: E402
from django.db.models.signals import post_init  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402
from knox import models as knox  # noqa: E402
from project.rows import token_row  # noqa: E402
from tokenward_django import client  # noqa: E402

# knox 4.2 knows no other model than its own.
User, Token = get_user_model(), getattr(knox, "get_token_model", lambda: knox.AuthToken)()
http = Client(raise_request_exception=False)


def create_user(username, active=True, pk=None):
    key = {} if pk is None else {"pk": pk}
    user = User.objects.create_user(username, f"{username}@example.com", "secret", last_name="of Django", **key)
    if not active:
        User.objects.filter(pk=user.pk).update(is_active=False)
    return str(user.pk)


def login(username):
    """knox's LoginView."""
    credentials = base64.b64encode(f"{username}:secret".encode()).decode()
    return request("POST", "/login/", f"Basic {credentials}")["body"]["token"]


def issue(user, seconds=36000):
    """`AuthToken.objects.create`; `seconds` is None for a token without an end."""
    expiry = None if seconds is None else timedelta(seconds=seconds)
    token, secret = Token.objects.create(user=User.objects.get(pk=user), expiry=expiry)
    return {"secret": secret, "row": row(token.digest)}


def request(method, path, authorization=None):
    """`authorization` is sent as it stands; characters up to U+00FF are bytes, as WSGI has them."""
    headers = {} if authorization is None else {"HTTP_AUTHORIZATION": authorization}
    response = http.generic(method, path, **headers)
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    return {
        "status": response.status_code,
        "body": json.loads(response.content) if is_json else None,
        "challenge": response.headers.get("WWW-Authenticate"),
        "retry_after": response.headers.get("Retry-After"),
    }


def queries(method, path, authorization):
    """How many SQL statements a request takes."""
    with connection.execute_wrapper(count := Counter()):
        request(method, path, authorization)
    return count.statements


class Counter:
    statements = 0

    def __call__(self, execute, sql, params, many, context):
        self.statements += 1
        return execute(sql, params, many, context)


def forked(method, path, authorization):
    """The same request from a worker that is forked now, as gunicorn forks them, and whether it
    was made on the connection of this process."""
    connection.close()
    inherited = client._stub
    readable, writable = os.pipe()
    if child := os.fork():
        os.close(writable)
        with os.fdopen(readable) as answers:
            answer = answers.read()
        os.waitpid(child, 0)
        return json.loads(answer)
    try:
        answer = request(method, path, authorization) | {"shared": client.stub() is inherited}
        os.write(writable, json.dumps(answer).encode())
    finally:
        os._exit(0)


def row(digest):
    token = Token.objects.filter(pk=digest).first()
    return None if token is None else token_row(token)


def delete_token(digest):
    return Token.objects.get(pk=digest).delete()[0]


def delete_queryset(user):
    return Token.objects.filter(user_id=user).delete()[0]


def delete_in_admin(digest):
    """The admin site's form, sent by a superuser."""
    browser = Client()
    browser.force_login(User.objects.create_superuser(f"root {digest[:8]}", "root@example.com", "secret"))
    return browser.post(f"/admin/knox/authtoken/{digest}/delete/", {"post": "yes"}).status_code


def delete_meanwhile(digest, *at_the_same_time):
    """Deletes the token in a transaction that commits after a request which began before the commit."""
    answers = []

    def elsewhere():
        answers.append(request(*at_the_same_time)["status"])
        connection.close()

    with transaction.atomic():
        Token.objects.get(pk=digest).delete()
        (thread := threading.Thread(target=elsewhere)).start()
        thread.join()
    return answers[0]


def overtaken(digest, *fills):
    """The same request, whose cache write comes after a logout that began later: knox-redis alone."""
    from knox_redis.cache import TokenCache

    write = TokenCache.set_token

    def late(token):
        Token.objects.get(pk=digest).delete()
        return write(token)

    TokenCache.set_token = late
    try:
        return request(*fills)["status"]
    finally:
        TokenCache.set_token = write


def many(user, count):
    """Tokens without an end."""
    tokens = [Token(digest=f"{n:0128x}", token_key=f"{n:015x}", user_id=user) for n in range(count)]
    return len(Token.objects.bulk_create(tokens))


def loaded(*asked):
    """How many token rows a request reads."""
    rows = []

    def count(**_):
        rows.append(1)

    post_init.connect(count, sender=Token)
    try:
        request(*asked)
    finally:
        post_init.disconnect(count, sender=Token)
    return len(rows)


def live():
    """Digests of the tokens that have not expired, the oldest first, as a project of Django's asks for them."""
    tokens = Token.objects.filter(Q(expiry__gt=timezone.now()) | Q(expiry=None))
    return list(tokens.order_by("created").values_list("digest", flat=True))


def prolong(digest):
    return Token.objects.filter(pk=digest).update(expiry=timezone.now() + timedelta(hours=1))


def device(digest):
    """The column that a swapped model adds."""
    return Token.objects.get(pk=digest).device


def delete_by_sql(digest):
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {Token._meta.db_table} WHERE digest = %s", [digest])
        return cursor.rowcount


def expire(digest):
    return Token.objects.filter(pk=digest).update(expiry=timezone.now() - timedelta(seconds=1))


def deactivate(user):
    return User.objects.filter(pk=user).update(is_active=False)


def delete_user(user):
    return User.objects.get(pk=user).delete()[0]


COMMANDS = [create_user, login, issue, request, queries, forked, row]
COMMANDS += [delete_token, delete_queryset, delete_by_sql, expire, deactivate, delete_user]
COMMANDS += [delete_in_admin, delete_meanwhile, overtaken, many, loaded, live, prolong, device]


def obey(line):
    name, arguments = json.loads(line)
    command = {command.__name__: command for command in COMMANDS}[name]
    return command(*arguments)


def main():
    if sys.argv[1:] == ["migrate"]:
        # This project's own models have no migrations.
        call_command("migrate", run_syncdb=True, verbosity=0)
        return
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer = obey(line)
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


main()
