"""The connection to tokenward: one for each process, made at its first call.

A channel has threads, and threads do not survive a fork. So nothing is connected when
this module is imported, and a worker that is forked after a call begins anew.
"""

import os
import threading

import grpc
from django.conf import settings
from django.utils.module_loading import import_string

from tokenward.v1 import token_service_pb2_grpc

DEFAULTS = {
    "TARGET": "127.0.0.1:50051",
    "TIMEOUT": 1.0,
    "REVOKE_TIMEOUT": 5.0,
    "CHANNEL": "tokenward_django.client.plain_channel",
}
OPTIONS = [
    # Otherwise the pause between two attempts to connect grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A server that is gone without a word is noticed, and another one is tried.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]

_lock = threading.Lock()
_stub = None
# Closing a channel of the parent in a child can hang, so it is kept.
_inherited = []


def setting(name):
    """One of `settings.TOKENWARD`, or its default."""
    return getattr(settings, "TOKENWARD", {}).get(name, DEFAULTS[name])


def plain_channel(target):
    """Without TLS: for loopback, or a proxy beside this process."""
    return grpc.insecure_channel(target, options=OPTIONS)


def stub():
    """The client of this process. Threads share it."""
    global _stub
    with _lock:
        if _stub is None:
            channel = import_string(setting("CHANNEL"))(setting("TARGET"))
            _stub = token_service_pb2_grpc.TokenServiceStub(channel)
        return _stub


def _begin_anew():
    global _lock, _stub
    _inherited.append(_stub)
    _lock, _stub = threading.Lock(), None


os.register_at_fork(after_in_child=_begin_anew)
