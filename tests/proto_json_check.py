#!/usr/bin/env python3
"""Compares our JSON mapping and our wire bytes with the official implementation, on random messages.

If this fails, what `/config_dump` shows or a JSON patch says is read differently by other tools, or a
message of ours has other bytes than the same message of Envoy. Each random message goes

    official wire -> our JSON -> official parser      must be the same message
    official JSON -> our parser -> our wire           must be the official bytes

usage: proto_json_check.py SOURCE_DIR PB_CONVERT [VENV] [ROUNDS]
"""

import json
import random
import subprocess
import sys

import proto_check

SKIP = proto_check.SKIP
TEXTS = ["", "a", "*.example.com", '"\\\n\x01\x7f', "aé日\U0001f600", "0"]
WELL_KNOWN_DEPTH = 3


class Generator:
    """Random official messages that use only what our subset has."""

    def __init__(self, pool, files, types, seed):
        from google.protobuf import message_factory

        self.random = random.Random(seed)
        self.make = message_factory.GetMessageClass
        self.pool = pool
        self.types = types
        self.known = set()
        for file in files:
            for message in file.message_type:
                self.learn(f"{file.package}.{message.name}", message)

    def learn(self, name, message):
        self.known.update(f"{name}.{field.name}" for field in message.field)
        for nested in message.nested_type:
            self.learn(f"{name}.{nested.name}", nested)

    def message(self, name, depth):
        msg = self.make(self.pool.FindMessageTypeByName(name))()
        self.fill(msg, depth)
        return msg

    def fill(self, msg, depth):
        name = msg.DESCRIPTOR.full_name
        special = getattr(self, "fill_" + name.replace(".", "_"), None)
        if special:
            return special(msg, depth)
        for field in msg.DESCRIPTOR.fields:
            ours = name.startswith("google.protobuf.") or f"{name}.{field.name}" in self.known
            if not ours or self.random.random() < 0.3:
                continue
            if field.containing_oneof and self.random.random() < 0.6:
                continue
            self.fill_field(msg, field, depth)

    def fill_field(self, msg, field, depth):
        if field.message_type and depth <= 0:
            return
        if field.message_type and field.message_type.GetOptions().map_entry:
            return self.fill_map(msg, field, depth)
        if not proto_check.is_repeated(field):
            if field.message_type:
                getattr(msg, field.name).SetInParent()
                return self.fill(getattr(msg, field.name), depth - 1)
            return setattr(msg, field.name, self.scalar(field))
        for _ in range(self.random.randrange(4)):
            if field.message_type:
                self.fill(getattr(msg, field.name).add(), depth - 1)
            else:
                getattr(msg, field.name).append(self.scalar(field))

    def fill_map(self, msg, field, depth):
        value = field.message_type.fields_by_name["value"]
        entries = getattr(msg, field.name)
        for i in range(self.random.randrange(4)):
            key = self.random.choice(["", "b", "a", "é", "~"]) + str(i)
            if value.message_type:
                entries[key].SetInParent()
                self.fill(entries[key], depth - 2)
            else:
                entries[key] = self.scalar(value)

    def scalar(self, field):
        r = self.random
        if field.enum_type:
            return r.choice(field.enum_type.values).number
        kind = field.cpp_type
        if kind == field.CPPTYPE_STRING:
            if field.type == field.TYPE_BYTES:
                return bytes(r.randrange(256) for _ in range(r.randrange(5)))
            return r.choice(TEXTS)
        if kind == field.CPPTYPE_BOOL:
            return r.random() < 0.5
        if kind == field.CPPTYPE_DOUBLE:
            return r.choice([0.0, 1.5, 0.1, -3e300, 5e-324, 1e21, r.random(), float("inf")])
        if kind == field.CPPTYPE_FLOAT:
            return r.choice([0.0, 1.5, 0.25, -3e30, float("-inf")])
        bits = 64 if "64" in {1: "", 2: "64", 3: "", 4: "64"}[kind] else 32
        low = -(1 << bits - 1) if kind in (field.CPPTYPE_INT32, field.CPPTYPE_INT64) else 0
        high = (1 << bits - (low < 0)) - 1
        return r.choice([0, 1, low, high, 127, 128, r.randint(low, high)])

    def fill_google_protobuf_Any(self, msg, depth):
        if depth > 0:
            msg.Pack(self.message(self.random.choice(self.types), depth - 2), deterministic=True)

    def fill_google_protobuf_Duration(self, msg, depth):
        msg.FromNanoseconds(self.random.choice([0, 1, -1, 1500000000, -2000000000, 10**18]))

    def fill_google_protobuf_Timestamp(self, msg, depth):
        msg.FromNanoseconds(self.random.choice([0, -1, 951782400123000000, 10**18]))

    def fill_google_protobuf_Struct(self, msg, depth):
        for i in range(self.random.randrange(4) if depth > 0 else 0):
            self.fill_google_protobuf_Value(msg.fields[f"k{i}"], min(depth, WELL_KNOWN_DEPTH) - 1)

    def fill_google_protobuf_ListValue(self, msg, depth):
        for _ in range(self.random.randrange(4) if depth > 0 else 0):
            self.fill_google_protobuf_Value(msg.values.add(), min(depth, WELL_KNOWN_DEPTH) - 1)

    def fill_google_protobuf_Value(self, msg, depth):
        kind = self.random.randrange(6)
        if kind == 0:
            msg.number_value = self.random.choice([0, -1.5, 3, 1e300])
        elif kind == 1:
            msg.string_value = self.random.choice(TEXTS)
        elif kind == 2:
            msg.bool_value = self.random.random() < 0.5
        elif kind == 3 and depth > 0:
            msg.struct_value.SetInParent()
            self.fill_google_protobuf_Struct(msg.struct_value, depth - 1)
        elif kind == 4 and depth > 0:
            msg.list_value.SetInParent()
            self.fill_google_protobuf_ListValue(msg.list_value, depth - 1)
        else:
            msg.null_value = 0


class Convert:
    """Our side, as a process that answers line by line."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, direction, name="", body=""):
        self.process.stdin.write(f"{direction} {name} {body}\n".encode())
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().rstrip("\n")

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


def compare(convert, msg, number):
    """None, or what differs."""
    from google.protobuf import json_format

    name = msg.DESCRIPTOR.full_name
    wire = msg.SerializeToString(deterministic=True)
    text = convert.ask("wire", name, wire.hex())
    if text.startswith("!"):
        return f"{name} #{number}: our printer: {text}"
    official = json_format.MessageToJson(msg, indent=None)
    back = json_format.Parse(text, type(msg)())
    # By JSON again: the official parser writes the maps inside an Any in any order.
    if json_format.MessageToDict(back) != json.loads(official):
        return f"{name} #{number}: our JSON reads as another message: {text}"
    got = convert.ask("json", name, official)
    if got != wire.hex():
        return f"{name} #{number}: we read {official}\n  as {got}\n  not {wire.hex()}"
    return None


def main():
    source_dir, program = sys.argv[1:3]
    venv = sys.argv[3] if len(sys.argv) > 3 else ""
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 20
    pool = proto_check.official_pool(source_dir, venv)
    if pool is None:
        print("skipped: 1 check (PyPI package xds-protos is not installed)")
        return SKIP
    convert, wrong, compared = Convert(program), [], 0
    types, files = convert.ask("types").split(), proto_check.our_files(source_dir)
    for number in range(rounds):
        generator = Generator(pool, files, types, number)
        for name in types:
            problem = compare(convert, generator.message(name, 6), number)
            compared += 1
            if problem:
                wrong.append(problem)
    for problem in wrong[:10]:
        print(problem[:2000])
    print(f"compared {compared} messages of {len(types)} types both ways: {len(wrong)} differ")
    return 1 if convert.close() or wrong or compared < 1000 else 0


if __name__ == "__main__":
    sys.exit(main())
