"""A Django process that does what it is told: a JSON array [command, arguments] a line on standard
input, a JSON value a line on standard output. What goes wrong is {"error": text}.

    driver.py migrate     makes the tables, and ends
    driver.py             obeys until its input ends
"""

import base64
import json
import os
import sys
import traceback
from datetime import timedelta

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

import django  # noqa: E402

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402
from knox.models import get_token_model  # noqa: E402
from project.rows import token_row  # noqa: E402
from tokenward_django import client  # noqa: E402

User, Token = get_user_model(), get_token_model()
http = Client(raise_request_exception=False)


def create_user(username, active=True):
    user = User.objects.create_user(username, f"{username}@example.com", "secret", last_name="of Django")
    if not active:
        User.objects.filter(pk=user.pk).update(is_active=False)
    return str(user.pk)


def login(username):
    """knox's LoginView."""
    credentials = base64.b64encode(f"{username}:secret".encode()).decode()
    return request("POST", "/login/", f"Basic {credentials}")["body"]["token"]


def issue(user, hours=10):
    """`AuthToken.objects.create`; `hours` is None for a token without an end."""
    expiry = None if hours is None else timedelta(hours=hours)
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


def obey(line):
    name, arguments = json.loads(line)
    command = {command.__name__: command for command in COMMANDS}[name]
    return command(*arguments)


def main():
    if sys.argv[1:] == ["migrate"]:
        call_command("migrate", verbosity=0)
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
