"""The public API as a gRPC client that knows nothing but what the server's reflection tells it."""

import json

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

PATIENCE = 20
DIRECT = [("grpc.enable_http_proxy", 0)]


class PushApi:
    """`fanfare.v1.PushService`."""

    def __init__(self, address):
        with grpc.insecure_channel(address, options=DIRECT) as channel:
            self.pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            service = self.pool.FindServiceByName("fanfare.v1.PushService")
        method = service.methods_by_name["Publish"]
        self._request = GetMessageClass(method.input_type)
        self._response = GetMessageClass(method.output_type)
        self._channel = grpc.aio.insecure_channel(address, options=DIRECT)
        self._publish = self._channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=self._request.SerializeToString,
            response_deserializer=self._response.FromString,
        )

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self._channel.close()

    async def publish(self, request):
        """Makes a call with a request in JSON's terms, and returns the answer in the same."""
        answer = await self._publish(ParseDict(request, self._request()), timeout=PATIENCE)
        names = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
        return MessageToDict(answer, descriptor_pool=self.pool, **names)

    async def push(self, target, value, *, wait_for="WAIT_FOR_WRITTEN", **message):
        """Pushes a value and returns its receipt, with numbers as numbers."""
        message["json"] = json.dumps(value)
        answer = await self.publish({"target": target, "message": message, "wait_for": wait_for})
        receipt = answer["receipt"]
        return {key: int(part) if isinstance(part, str) else part for key, part in receipt.items()}
