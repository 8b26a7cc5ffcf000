"""A client in another language, with stubs that it generates from the contract.

    client.py ADDRESS PROTO_DIRECTORY

Prints a line for each claim that holds, and ends with an error at the first that does not.
"""

import importlib.resources
import pathlib
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from grpc_tools import protoc

SERVICES = ["CacheService", "StatusService", "TokenAdminService", "TokenService", "UserService"]
DEADLINE_SECONDS = 5


def generate(proto: pathlib.Path) -> None:
    """Generates the stubs as a user of the contract would, and makes them importable."""
    out = tempfile.mkdtemp(prefix="tokenward-stubs-")
    files = sorted(str(path) for path in (proto / "tokenward").rglob("*.proto"))
    assert files, f"no contract in {proto}"
    known = importlib.resources.files("grpc_tools") / "_proto"
    paths = [f"-I{proto}", f"-I{known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    assert protoc.main(["protoc", *paths, *files]) == 0
    sys.path.insert(0, out)


def holds(claim: str) -> None:
    print("ok:", claim, flush=True)


def refusal(call) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo, list[str]]:
    """The status, the ErrorInfo and the fields of a call that must be refused."""
    try:
        answer = call()
    except grpc.RpcError as error:
        info, fields = error_details_pb2.ErrorInfo(), []
        for detail in rpc_status.from_call(error).details:
            detail.Unpack(info)
            bad = error_details_pb2.BadRequest()
            if detail.Unpack(bad):
                fields += [violation.field for violation in bad.field_violations]
        return error.code(), info, fields
    raise AssertionError(f"it was accepted: {answer}")


def tokens(channel: grpc.Channel) -> None:
    from tokenward.v1 import token_pb2, token_service_pb2, token_service_pb2_grpc

    service = token_service_pb2_grpc.TokenServiceStub(channel)
    request = token_service_pb2.IssueTokenRequest(user_id="pythonista", scopes=["read"], metadata={"from": "Python"})
    request.ttl.FromSeconds(3600)
    issued = service.IssueToken(request, timeout=DEADLINE_SECONDS)
    assert len(issued.secret) == 64, len(issued.secret)
    assert issued.token.expire_time.ToNanoseconds() - issued.token.create_time.ToNanoseconds() == 3600 * 10**9

    asked = token_service_pb2.AuthenticateRequest(token=issued.secret, required_scopes=["read"])
    answer = service.Authenticate(asked, timeout=DEADLINE_SECONDS)
    assert answer.active and answer.user.user_id == "pythonista", answer
    assert answer.token.metadata["from"] == "Python", answer
    holds("a token is issued and authenticated")

    service.Revoke(token_service_pb2.RevokeRequest(token=issued.secret), timeout=DEADLINE_SECONDS)
    answer = service.Authenticate(asked, timeout=DEADLINE_SECONDS)
    assert not answer.active and answer.inactive_reason == token_pb2.INACTIVE_REASON_REVOKED, answer
    holds("a revoked token is inactive under OK")

    code, info, fields = refusal(
        lambda: service.Authenticate(token_service_pb2.AuthenticateRequest(), timeout=DEADLINE_SECONDS)
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT, code
    assert (info.reason, info.domain, fields) == ("INVALID_REQUEST", "tokenward.v1", ["token"]), (info, fields)
    holds("a bad request is refused with ErrorInfo and BadRequest")

    nonsense = channel.unary_unary("/tokenward.v1.TokenService/Nonsense")
    code, info, _ = refusal(lambda: nonsense(b"", timeout=DEADLINE_SECONDS))
    assert (code, info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN"), (code, info)
    holds("an unknown method is UNIMPLEMENTED with ErrorInfo")


def health(channel: grpc.Channel) -> None:
    service = health_pb2_grpc.HealthStub(channel)
    for name in ["", "database", *(f"tokenward.v1.{name}" for name in SERVICES)]:
        request = health_pb2.HealthCheckRequest(service=name)
        answer = service.Check(request, timeout=DEADLINE_SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, (name, answer)
        watch = service.Watch(request, timeout=DEADLINE_SECONDS)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING, name
        watch.cancel()
    try:
        service.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=DEADLINE_SECONDS)
        raise AssertionError("an unknown name is NOT_FOUND")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
    holds("grpcio-health-checking checks and watches every name")


def reflection(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert {f"tokenward.v1.{name}" for name in SERVICES} <= services, services
    assert "grpc.health.v1.Health" in services, services
    # A pool of its own, so that nothing comes from the stubs above.
    pool = descriptor_pool.DescriptorPool(database)
    method = pool.FindServiceByName("tokenward.v1.TokenService").FindMethodByName("Authenticate")
    request = message_factory.GetMessageClass(method.input_type)
    response = message_factory.GetMessageClass(method.output_type)
    call = channel.unary_unary(
        "/tokenward.v1.TokenService/Authenticate",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    answer = json_format.MessageToDict(call(request(token="0" * 64), timeout=DEADLINE_SECONDS))
    assert answer["inactiveReason"] == "INACTIVE_REASON_UNKNOWN", answer
    holds("grpcio-reflection finds every service and calls one without stubs")


def main(address: str, proto: str) -> None:
    generate(pathlib.Path(proto))
    with grpc.insecure_channel(address) as channel:
        tokens(channel)
        health(channel)
        reflection(channel)


if __name__ == "__main__":
    main(*sys.argv[1:])
