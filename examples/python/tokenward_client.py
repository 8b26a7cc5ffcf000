"""Checks tokens: retries, deadlines, and a cache that drops what has ended."""

import hashlib
import json
import threading
import time

import grpc
from tokenward.v1 import token_admin_service_pb2 as admin_pb
from tokenward.v1 import token_admin_service_pb2_grpc as admin_grpc
from tokenward.v1 import token_service_pb2 as pb
from tokenward.v1 import token_service_pb2_grpc as pb_grpc

SERVICE_CONFIG = {
    # Every replica that the name resolves to, and none that says that it does not serve.
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "tokenward.v1.TokenService"},
    "methodConfig": [
        {
            # These are safe to repeat. IssueToken is with a request_id only; a second RevokeAll may end a session that
            # was issued after the first.
            "name": [
                {"service": "tokenward.v1.TokenService", "method": method}
                for method in ("Authenticate", "BatchAuthenticate", "Revoke")
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
# Retries included. Without one, a call waits for ever.
DEADLINE_SECONDS = 2
# A revoked token is accepted for no longer, whatever happens to the stream of revocations. Where the server
# has no such stream (UNIMPLEMENTED), it is for as long as cacheable_for says.
LONGEST_SILENCE_SECONDS = 5
MAX_ENTRIES = 10_000


def channel(address: str, ca: bytes | None = None) -> grpc.Channel:
    """`dns:///tokenward:50051` with the authority's certificates (PEM), or `127.0.0.1:50051` in clear."""
    options = [
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        # A connection that is dead without a word is noticed.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 3_000),
    ]
    if ca is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca), options)


class Client:
    """Checks tokens as one caller; `key` is the caller's own, in the server's callers file."""

    def __init__(self, channel: grpc.Channel, key: str | None = None):
        self._metadata = [("authorization", f"Bearer {key}")] if key else []
        self._tokens = pb_grpc.TokenServiceStub(channel)
        self.cache = Cache(admin_grpc.TokenAdminServiceStub(channel), self._metadata)

    def authenticate(self, token: str, scopes: tuple[str, ...] = ()) -> pb.AuthenticateResponse | None:
        """The answer for a token that is good now; None for any other.

        Raises grpc.RpcError when nobody can tell: refuse the request then, with 503 and not with 401.
        """
        name = (hashlib.sha256(token.encode()).digest(), scopes)
        if answer := self.cache.get(name):
            return answer
        mark = self.cache.mark()
        request = pb.AuthenticateRequest(token=token, required_scopes=scopes, min_revision=mark.revision)
        answer = self._tokens.Authenticate(request, timeout=DEADLINE_SECONDS, metadata=self._metadata)
        # An expired, revoked or unknown token is no error: the status is OK, and `active` is false.
        if not answer.active:
            return None
        if answer.HasField("cacheable_for"):
            self.cache.put(name, answer, mark)
        return answer


class Mark:
    """What a cache knew before a call, and when that was."""

    def __init__(self, revision: str, events: int, following: bool):
        self.revision, self.events, self.following = revision, events, following
        self.time = time.monotonic()


class Cache:
    """Answers for as long as the server allows, and no longer than their token is heard to live."""

    def __init__(self, admin: admin_grpc.TokenAdminServiceStub, metadata):
        self._admin, self._metadata = admin, metadata
        self._lock = threading.Lock()
        self._answers = {}
        self._revision, self._events = "", 0
        # When the latest message came; None before the first one, infinity where the server has no such stream.
        self._heard = None
        threading.Thread(target=self._follow, daemon=True).start()

    def get(self, name) -> pb.AuthenticateResponse | None:
        with self._lock:
            until, answer = self._answers.get(name, (0, None))
            return answer if time.monotonic() < until and self._is_fresh() else None

    def mark(self) -> Mark:
        with self._lock:
            return Mark(self._revision, self._events, self._is_fresh())

    def put(self, name, answer: pb.AuthenticateResponse, mark: Mark) -> None:
        # From before the call: counted from its receipt, a slow answer would outlive its token.
        until = mark.time + answer.cacheable_for.ToMilliseconds() / 1000
        with self._lock:
            # What came while the call was under way may be about this very token.
            if mark.following and mark.events == self._events:
                if len(self._answers) >= MAX_ENTRIES:
                    self._answers.clear()
                self._answers[name] = (until, answer)

    def is_following(self) -> bool:
        """Whether answers can be kept."""
        with self._lock:
            return self._is_fresh()

    def _is_fresh(self) -> bool:
        return self._heard is not None and time.monotonic() - self._heard < LONGEST_SILENCE_SECONDS

    def _follow(self) -> None:
        while True:
            request = admin_pb.WatchRevocationsRequest(start_revision=self._revision)
            try:
                for event in self._admin.WatchRevocations(request, metadata=self._metadata):
                    self._hear(event)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                    # An older server: what it allows in cacheable_for is all that there is.
                    self._heard = float("inf")
                    return
                if error.code() == grpc.StatusCode.OUT_OF_RANGE:
                    self._start_over()
            time.sleep(0.2)

    def _hear(self, event: admin_pb.WatchRevocationsResponse) -> None:
        subject = event.WhichOneof("subject")

        def ended(answer: pb.AuthenticateResponse) -> bool:
            return getattr(answer.token, subject) == getattr(event, subject)

        with self._lock:
            self._heard, self._revision = time.monotonic(), event.revision
            if subject is None:  # a heartbeat
                return
            self._events += 1
            self._answers = {name: kept for name, kept in self._answers.items() if not ended(kept[1])}

    def _start_over(self) -> None:
        """The server no longer knows what ended since our revision."""
        with self._lock:
            self._answers.clear()
            self._events += 1
            self._heard, self._revision = None, ""
