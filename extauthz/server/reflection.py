"""gRPC server reflection, opt-in: describes `envoy.service.auth.v3.Authorization` under its real names.

The descriptors are made from our own schema in a pool of their own, where they cannot collide with those of another package.
"""

from typing import Final

import grpc
from google.protobuf import struct_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from extauthz._gen.wire.v3 import external_auth_pb2 as wire
from extauthz.server.health import CHECK_SERVICE

_AUTH: Final = "envoy/service/auth/v3/external_auth.proto"
_CORE: Final = "envoy/config/core/v3/base.proto"
_TYPE: Final = "envoy/type/v3/http_status.proto"
_RPC: Final = "google/rpc/status.proto"
_ELSEWHERE: Final = {
    "Address": _CORE,
    "SocketAddress": _CORE,
    "Pipe": _CORE,
    "EnvoyInternalAddress": _CORE,
    "HeaderMap": _CORE,
    "HeaderValue": _CORE,
    "HeaderValueOption": _CORE,
    "Metadata": _CORE,
    "HttpStatus": _TYPE,
    "Status": _RPC,
}
"""The messages that are not of Envoy's auth service itself, and where they are from."""


def add_reflection(server: grpc.aio.Server) -> None:
    """Let `server` describe the check service. To be called before it starts."""
    servicer = reflection.aio.ReflectionServicer((CHECK_SERVICE, reflection.SERVICE_NAME), pool=envoy_pool())
    add_ServerReflectionServicer_to_server(servicer, server)


def envoy_pool() -> DescriptorPool:
    """A pool that knows what we know of Envoy's API, under Envoy's names."""
    pool = DescriptorPool()
    for known in (struct_pb2, wrappers_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    for name, file in _renamed_files().items():
        file.dependency.extend(_dependencies(name))
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _renamed_files() -> dict[str, FileDescriptorProto]:
    """Our one file as four, each under its own package; those that others need come first."""
    ours = FileDescriptorProto.FromString(wire.DESCRIPTOR.serialized_pb)
    files = {name: _empty(name) for name in (_RPC, _TYPE, _CORE, _AUTH)}
    for message in ours.message_type:
        _rename_types(message)
        files[_home(message.name)].message_type.append(message)
    service = files[_AUTH].service.add()
    service.CopyFrom(ours.service[0])
    for method in service.method:
        method.input_type, method.output_type = _renamed(method.input_type), _renamed(method.output_type)
    return files


def _empty(name: str) -> FileDescriptorProto:
    return FileDescriptorProto(name=name, package=_package(name), syntax="proto3")


def _home(message: str) -> str:
    return _ELSEWHERE.get(message, _AUTH)


def _package(file: str) -> str:
    return file.rpartition("/")[0].replace("/", ".")


def _dependencies(file: str) -> tuple[str, ...]:
    well_known = (struct_pb2.DESCRIPTOR.name, wrappers_pb2.DESCRIPTOR.name)
    return {_CORE: well_known, _AUTH: (*well_known, _RPC, _TYPE, _CORE)}.get(file, ())


def _rename_types(message: DescriptorProto) -> None:
    for field in message.field:
        if field.type_name:
            field.type_name = _renamed(field.type_name)
    for nested in message.nested_type:
        _rename_types(nested)


def _renamed(type_name: str) -> str:
    ours = f".{wire.DESCRIPTOR.package}."
    if not type_name.startswith(ours):
        return type_name
    message = type_name.removeprefix(ours)
    return f".{_package(_home(message.partition('.')[0]))}.{message}"
