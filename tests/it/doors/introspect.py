"""A resource server with Authlib.

    introspect.py URL NAME KEY TOKEN

Prints a line for each claim that holds, and ends with an error at the first that does not.
"""

import sys

from authlib.integrations.requests_client import OAuth2Session


def main(url: str, name: str, key: str, token: str) -> None:
    client = OAuth2Session(name, key, token_endpoint_auth_method="client_secret_basic")
    for hint in [None, "access_token", "refresh_token"]:
        answer = client.introspect_token(f"{url}/introspect", token=token, token_type_hint=hint)
        assert answer.status_code == 200, answer.text
        claims = answer.json()
        assert claims["active"] is True and claims["sub"] == "alice" and claims["scope"] == "read", claims
    print("ok: Authlib introspects a token")

    assert client.revoke_token(f"{url}/revoke", token=token).status_code == 200
    assert client.introspect_token(f"{url}/introspect", token=token).json() == {"active": False}
    print("ok: Authlib revokes it")

    stranger = OAuth2Session(name, "0" * 48, token_endpoint_auth_method="client_secret_basic")
    assert stranger.introspect_token(f"{url}/introspect", token=token).status_code == 401
    print("ok: another key is refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
