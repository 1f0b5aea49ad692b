#!/usr/bin/env python3
"""Compares api/proto/*.proto with the official descriptors.

If this fails, weft writes or reads a field under another number or type than Envoy and gRPC do.
The official descriptors come from the PyPI package xds-protos; where neither this Python nor the one
in VENV has it, the check is skipped (exit code 77).

usage: proto_check.py SOURCE_DIR [VENV]
"""

import glob
import importlib
import os
import subprocess
import sys
import tempfile

SKIP = 77


def official_pool(source_dir, venv):
    """The pool with every official file loaded, or None."""
    try:
        import envoy.service.discovery.v3.discovery_pb2  # noqa: F401
        from google.protobuf import descriptor_pool
    except ImportError:
        python = os.path.join(venv, "bin", "python") if venv else ""
        if os.path.exists(python) and not os.environ.get("PROTO_CHECK_VENV"):
            os.environ["PROTO_CHECK_VENV"] = "1"
            os.execv(python, [python] + sys.argv)
        return None
    site = os.path.dirname(importlib.import_module("envoy.service").__path__[0])
    root = os.path.dirname(site)
    for top in ("envoy", "xds", "udpa", "google/rpc"):
        for path in glob.glob(os.path.join(root, top, "**", "*_pb2.py"), recursive=True):
            name = os.path.relpath(path, root)[:-3].replace(os.sep, ".")
            importlib.import_module(name)
    return descriptor_pool.Default()


def our_files(source_dir):
    """Our files as FileDescriptorProtos."""
    from google.protobuf import descriptor_pb2

    protos = sorted(glob.glob(os.path.join(source_dir, "api", "proto", "*.proto")))
    with tempfile.TemporaryDirectory() as tmp:
        out = os.path.join(tmp, "set")
        command = ["protoc", "-I" + source_dir, "-I/usr/include", "--descriptor_set_out=" + out]
        subprocess.run(command + protos, check=True)
        with open(out, "rb") as f:
            return descriptor_pb2.FileDescriptorSet.FromString(f.read()).file


class Check:
    def __init__(self, pool):
        self.pool = pool
        self.fields = self.values = self.messages = 0
        self.wrong = []

    def say(self, text):
        self.wrong.append(text)

    def message(self, ours, name):
        try:
            theirs = self.pool.FindMessageTypeByName(name)
        except KeyError:
            # A message that only holds the name of a nested one has no fields of its own.
            return self.say(f"{name}: no such message")
        self.messages += 1
        for field in ours.field:
            self.field(ours, field, theirs)
        for nested in ours.nested_type:
            self.message(nested, f"{name}.{nested.name}")
        for enum in ours.enum_type:
            self.enum(enum, f"{name}.{enum.name}")

    def field(self, message, ours, theirs):
        where = f"{theirs.full_name}.{ours.name}"
        field = theirs.fields_by_name.get(ours.name)
        if field is None:
            return self.say(f"{where}: no such field")
        self.fields += 1
        kind = field.message_type or field.enum_type
        oneof = message.oneof_decl[ours.oneof_index].name if ours.HasField("oneof_index") else ""
        same = {
            "number": (ours.number, field.number),
            "type": (ours.type, field.type),
            "repeated": (ours.label == ours.LABEL_REPEATED, is_repeated(field)),
            "type name": (ours.type_name.lstrip("."), kind.full_name if kind else ""),
            "oneof": (oneof, field.containing_oneof.name if field.containing_oneof else ""),
            "json name": (ours.json_name, field.json_name),
        }
        for what, (mine, official) in same.items():
            if mine != official:
                self.say(f"{where}: {what} is {mine!r}, officially {official!r}")

    def enum(self, ours, name):
        try:
            theirs = self.pool.FindEnumTypeByName(name)
        except KeyError:
            return self.say(f"{name}: no such enum")
        for value in ours.value:
            self.values += 1
            official = theirs.values_by_name.get(value.name)
            if official is None or official.number != value.number:
                self.say(f"{name}.{value.name} = {value.number}: officially otherwise")
        if len(ours.value) != len(theirs.values):
            self.say(f"{name}: {len(ours.value)} values, officially {len(theirs.values)}")


def is_repeated(field):
    try:
        return field.is_repeated
    except AttributeError:  # before protobuf 6
        return field.label == field.LABEL_REPEATED


def main():
    source_dir, venv = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    pool = official_pool(source_dir, venv)
    if pool is None:
        print("skipped: 1 check (PyPI package xds-protos is not installed)")
        return SKIP
    check = Check(pool)
    for file in our_files(source_dir):
        for message in file.message_type:
            check.message(message, f"{file.package}.{message.name}")
        for enum in file.enum_type:
            check.enum(enum, f"{file.package}.{enum.name}")
    for line in check.wrong:
        print(line)
    print(f"compared {check.fields} fields of {check.messages} messages and {check.values} enum "
          f"values: {len(check.wrong)} wrong")
    return 1 if check.wrong or check.fields < 1000 else 0


if __name__ == "__main__":
    sys.exit(main())
