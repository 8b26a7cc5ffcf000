"""demo.py ADDRESS [CALLERS_KEY]: issues a token, checks it, revokes it, and checks it again."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "gen"))

import tokenward_client as client  # noqa: E402
from tokenward.v1 import token_service_pb2 as pb  # noqa: E402
from tokenward.v1 import token_service_pb2_grpc as pb_grpc  # noqa: E402


def until(what: str, holds) -> float:
    """Waits until it holds, and says how long that took."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < 20, f"not within 20 s: {what}"
        time.sleep(0.01)
    return time.monotonic() - start


def main(address: str, key: str | None = None) -> None:
    channel = client.channel(address)
    checker = client.Client(channel, key)
    metadata = [("authorization", f"Bearer {key}")] if key else []
    tokens = pb_grpc.TokenServiceStub(channel)

    request = pb.IssueTokenRequest(user_id="alice", scopes=["read"])
    secret = tokens.IssueToken(request, timeout=client.DEADLINE_SECONDS, metadata=metadata).secret
    until("the stream of revocations has begun", checker.cache.is_following)
    assert checker.authenticate("0" * 64) is None
    assert checker.authenticate(secret, ("write",)) is None
    answer = checker.authenticate(secret, ("read",))
    print("active:", answer.user.user_id, *answer.token.scopes)
    again = checker.authenticate(secret, ("read",))
    print("cached:", "yes" if again is answer else "no")

    tokens.Revoke(pb.RevokeRequest(token=secret), timeout=client.DEADLINE_SECONDS, metadata=metadata)
    limit = answer.cacheable_for.ToMilliseconds() / 1000
    took = until("the token is refused", lambda: checker.authenticate(secret, ("read",)) is None)
    print(f"refused after {took:.3f} s; the answer could have been kept for {limit:g} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
