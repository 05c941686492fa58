"""The generated messages are those of the Hub protocol, number by number and byte by byte."""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor

from arbd.wire.pb import arbd_client_pb2, hub_pb2

S, B = FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES


def test_the_fields_of_every_message() -> None:
    fields = {
        name: [(field.number, field.name, field.type) for field in message.fields]
        for name, message in hub_pb2.DESCRIPTOR.message_types_by_name.items()
    }
    assert fields == {
        "ProviderRequest": [(1, "provider", S), (2, "auth_token", S)],
        "Task": [(1, "id", S), (2, "action", S), (3, "payload", B), (4, "account", B)],
        "TaskResult": [
            (1, "id", S), (2, "provider", S), (3, "auth_token", S), (4, "status", S),
            (5, "action", S), (6, "payload", S), (7, "result", S), (8, "account", S),
        ],
    }  # fmt: skip


def test_the_service_has_no_package() -> None:
    service = hub_pb2.DESCRIPTOR.services_by_name["Hub"]
    methods = {m.full_name: (m.input_type.name, m.output_type.name) for m in service.methods}
    assert methods == {
        "Hub.GetTask": ("ProviderRequest", "Task"),
        "Hub.SubmitTaskResult": ("TaskResult", "Task"),
    }


def test_a_task_on_the_wire() -> None:
    task = hub_pb2.Task(id="1", action="a", payload=b"{}", account=b"")
    assert task.SerializeToString() == b"\x0a\x011\x12\x01a\x1a\x02{}"


def test_the_client_service_has_a_package_of_its_own() -> None:
    service = arbd_client_pb2.DESCRIPTOR.services_by_name["Client"]
    assert service.full_name == "arbd.client.v1.Client"
    assert [method.name for method in service.methods] == ["Submit", "Await", "Cancel", "History", "Stats", "Status"]
