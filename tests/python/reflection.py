"""The public API from what its reflection tells alone: calls, errors, health, and both versions of reflection."""

import functools

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2

from lib import api as address
from lib import connect, run, values
from push_api import DIRECT, PATIENCE

SERVICE = "fanfare.v1.PushService"
SERVING = b"\x08\x01"


async def scenario(api):
    recorded = await connect()
    news = await recorded.subscribe("news")
    await news.subscribed.count(1)
    receipt = await api.push({"channel": "news"}, {"hello": "world"})
    assert (receipt["written"], receipt["pending"], receipt["complete"]) == (1, 0, True), receipt
    await news.publications.count(1)
    assert values(news.publications) == [{"hello": "world"}]
    await recorded.client.disconnect()

    message = {"json": "1"}
    code, info = await error_of(api.publish({"target": {"channel": "#42"}, "message": message}))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert info == ("INVALID_FIELD", "fanfare.v1"), info
    request = {"target": {"channel": "news"}, "message": message, "wait_for": 9}
    code, info = await error_of(api.publish(request))
    assert code == grpc.StatusCode.UNIMPLEMENTED
    assert info == ("OPTION_NOT_AVAILABLE", "fanfare.v1"), info

    with grpc.insecure_channel(address, options=DIRECT) as channel:
        check_health(channel)
        for version in ("v1", "v1alpha"):
            names = services(channel, version)
            assert SERVICE in names, f"{version}: {names}"


async def error_of(call):
    """The code of a call that fails, and the reason and domain that its details give."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        status_type, error_info_type = rpc_types()
        status = status_type.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        assert status.code == error.code().value[0], status
        [info] = [each.value for each in status.details if each.type_url.endswith("/google.rpc.ErrorInfo")]
        info = error_info_type.FromString(info)
        return error.code(), (info.reason, info.domain)
    raise AssertionError(f"expected an error: {answer}")


@functools.cache
def rpc_types():
    """`google.rpc.Status` and `google.rpc.ErrorInfo`, as far as they are needed."""
    file = descriptor_pb2.FileDescriptorProto(name="google_rpc.proto", package="google.rpc", syntax="proto3")
    file.dependency.append(any_pb2.DESCRIPTOR.name)
    field = descriptor_pb2.FieldDescriptorProto
    status, info = file.message_type.add(name="Status"), file.message_type.add(name="ErrorInfo")
    status.field.add(name="code", number=1, type=field.TYPE_INT32)
    details = {"label": field.LABEL_REPEATED, "type": field.TYPE_MESSAGE}
    status.field.add(name="details", number=3, type_name=".google.protobuf.Any", **details)
    info.field.add(name="reason", number=1, type=field.TYPE_STRING)
    info.field.add(name="domain", number=2, type=field.TYPE_STRING)
    pool = descriptor_pool.Default()
    pool.Add(file)
    names = ("google.rpc.Status", "google.rpc.ErrorInfo")
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names]


def check_health(channel):
    """The whole and the service serve; a health request is a name, an answer one number."""
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    for name in ("", SERVICE):
        request = bytes([0x0A, len(name)]) + name.encode() if name else b""
        assert check(request, timeout=PATIENCE) == SERVING, name


def services(channel, version):
    """The services that this version of reflection lists; the messages of both are the same."""
    info = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = info(iter([request]), timeout=PATIENCE)
    return [service.name for answer in answers for service in answer.list_services_response.service]


run(scenario)
