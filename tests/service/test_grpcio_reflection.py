"""Reflection over a real connection."""

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2

from extauthz.server.grpcio import GrpcPolicy
from extauthz.server.health import CHECK_SERVICE
from tests import oracle
from tests.grpc_bench import LISTEN, Told, channel, running

REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


async def reflected(opened: grpc.aio.Channel, **asked: str) -> reflection_pb2.ServerReflectionResponse:
    stub = opened.stream_stream(
        REFLECT,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    stream = stub(iter([reflection_pb2.ServerReflectionRequest(**asked)]), timeout=10)
    async for answer in stream:
        return answer
    raise AssertionError("no answer")


async def test_reflection_names_the_real_service_and_its_messages_can_be_used() -> None:
    policy = GrpcPolicy(listen=LISTEN, reflection=True)
    async with running(Told(), policy=policy) as server, channel(server.address) as opened:
        listed = await reflected(opened, list_services="")
        names = [service.name for service in listed.list_services_response.service]
        found = await reflected(opened, file_containing_symbol=CHECK_SERVICE)
    assert names == [CHECK_SERVICE, "grpc.reflection.v1alpha.ServerReflection"]
    files = {}
    for written in found.file_descriptor_response.file_descriptor_proto:
        file = FileDescriptorProto.FromString(written)
        files[file.name] = file
    method = pool_of(files).FindServiceByName(CHECK_SERVICE).FindMethodByName("Check")
    assert method.input_type.full_name == "envoy.service.auth.v3.CheckRequest"
    assert method.output_type.full_name == "envoy.service.auth.v3.CheckResponse"
    read = GetMessageClass(method.input_type).FromString(oracle.message({"a": "b"}))
    assert 'path: "/api/v1/runs"' in str(read)
    assert "extauthz" not in str(files)


def pool_of(files: dict[str, FileDescriptorProto]) -> DescriptorPool:
    """A pool of those files, added in the order in which they need each other."""
    pool = DescriptorPool()
    added: set[str] = set()

    def add(name: str) -> None:
        if name not in added:
            added.add(name)
            for needed in files[name].dependency:
                add(needed)
            pool.AddSerializedFile(files[name].SerializeToString())

    for name in files:
        add(name)
    return pool


async def test_without_reflection_nothing_is_described() -> None:
    async with running(Told()) as server, channel(server.address) as opened:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflected(opened, list_services="")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
