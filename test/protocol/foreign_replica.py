"""A replica in Python, written from docs/replica-protocol.md alone: standard library only, one thread.

Methods: `call` gives back what it gets (HTTP: the body as JSON), `count` streams numbers, `wait` answers when cancelled, `ask` calls
another deployment through its first handle.
"""
import json
import os
import selectors
import socket
import struct
import sys

HELLO, WELCOME, START, READY, FAILED, RECONFIGURE, RECONFIGURED, CHECK, CHECKED, STOP = range(1, 11)
PING, PONG = 16, 17
CALL, BEGUN, RESULT, ERROR, OPEN, CHUNK, END, CANCEL, CREDIT = range(32, 41)
INITIAL_CREDIT = 262_144


def pad8(length):
    return (length + 7) & ~7


def dumps(value):
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def encode(kind, meta, skeleton=b"", segments=()):
    """`segments`: (dtype, shape or None, bytes)."""
    if segments:
        meta = {**meta, "segs": [[dtype, shape, len(data)] for dtype, shape, data in segments]}
    text = dumps(meta)
    body = (text + skeleton).ljust(pad8(16 + len(text) + len(skeleton)) - 16, b"\0")
    for _, _, data in segments:
        body += data.ljust(pad8(len(data)), b"\0")
    return struct.pack("<IIII", 16 + len(body), kind, len(text), len(skeleton)) + body


class Frame:
    def __init__(self, data):
        _, self.kind, meta_length, skeleton_length = struct.unpack_from("<IIII", data)
        meta_end = 16 + meta_length
        self.meta = json.loads(data[16:meta_end])
        self.skeletons = data[meta_end : meta_end + skeleton_length]
        self.segments = []
        at = pad8(meta_end + skeleton_length)
        for dtype, shape, length in self.meta.get("segs", []):
            self.segments.append((dtype, shape, data[at : at + length]))
            at = pad8(at + length)


class Link:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.buffer = b""
        self.send(HELLO, {"protocol": 1, "token": TOKEN, "replica": ID, "runtime": "python"})

    def send(self, *frame):
        self.socket.sendall(encode(*frame))

    def frames(self):
        """Whole frames that have come."""
        chunk = self.socket.recv(1 << 20)
        if not chunk:
            raise ConnectionError("the daemon has gone")
        self.buffer += chunk
        found = []
        while len(self.buffer) >= 16 and len(self.buffer) >= (length := struct.unpack_from("<I", self.buffer)[0]):
            found.append(Frame(self.buffer[:length]))
            self.buffer = self.buffer[length:]
        return found


class Stream:
    """The numbers below `end`, sent as far as credit goes."""

    def __init__(self, call_id, end, padding):
        self.id, self.next, self.end, self.padding = call_id, 0, end, padding
        self.credit = INITIAL_CREDIT

    def step(self, data):
        while self.credit > 0 and self.next < self.end:
            skeleton = b'{"n":%d,"pad":{"$seg":0}}' % self.next
            data.send(CHUNK, {"id": self.id}, skeleton, [("bytes", None, bytes(self.padding))])
            self.credit -= len(skeleton) + self.padding
            self.next += 1
        if self.next == self.end:
            data.send(END, {"id": self.id})
        return self.next == self.end


class Replica:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.control = Link(os.environ["SERVE_CONTROL_SOCKET"])
        self.selector.register(self.control.socket, selectors.EVENT_READ, (self.control, self.on_control))
        self.data = None
        self.streams, self.waiting, self.children, self.next_child = {}, set(), {}, 0

    def serve(self):
        while True:
            for key, _ in self.selector.select():
                link, handler = key.data
                handler(link.frames())

    def on_control(self, frames):
        for frame in frames:
            meta = frame.meta
            if frame.kind == START:
                self.run = meta
                if meta["initArgs"].get("fail"):
                    self.control.send(FAILED, {"error": {"code": "USER_ERROR", "message": "told to fail"}})
                    sys.exit(1)
                self.data = Link(os.environ["SERVE_DATA_SOCKET"])
                self.selector.register(self.data.socket, selectors.EVENT_READ, (self.data, self.on_data))
            elif frame.kind == RECONFIGURE:
                bad = {"error": {"code": "USER_ERROR", "message": "expected a good user_config"}}
                self.control.send(RECONFIGURED, {"id": meta["id"], **(bad if meta["userConfig"] == "bad" else {})})
            elif frame.kind == CHECK:
                self.control.send(CHECKED, {"id": meta["id"]})
            elif frame.kind == STOP:
                print("stopping", flush=True)
                sys.exit(0)

    def on_data(self, frames):
        calls = [frame for frame in frames if frame.kind == CALL]
        if calls:
            self.data.send(BEGUN, {"ids": [member["id"] for frame in calls for member in frame.meta["calls"]]})
        for frame in frames:
            meta = frame.meta
            if frame.kind == WELCOME:
                whole, stream = {"input": "whole", "output": "whole"}, {"input": "whole", "output": "stream"}
                self.control.send(READY, {"methods": {"call": whole, "wait": whole, "ask": whole, "count": stream}})
            elif frame.kind == PING:
                self.data.send(PONG, {})
            elif frame.kind == CALL:
                self.call(frame)
            elif frame.kind in (RESULT, ERROR):
                answer = {"ids": [self.children.pop(meta["ids"][0])]}
                if frame.kind == ERROR:
                    answer["error"] = meta["error"]
                self.data.send(frame.kind, answer, frame.skeletons, frame.segments)
            elif frame.kind == CREDIT and meta["id"] in self.streams:
                self.streams[meta["id"]].credit += meta["bytes"]
                self.stream(self.streams.pop(meta["id"]))
            elif frame.kind == CANCEL:
                for call_id in meta["ids"]:
                    if self.streams.pop(call_id, None) or call_id in self.waiting:
                        self.waiting.discard(call_id)
                        self.fail(call_id, "CLIENT_CLOSED", "nobody waits")

    def fail(self, call_id, code, message):
        self.data.send(ERROR, {"ids": [call_id], "error": {"code": code, "message": message}})

    def call(self, frame):
        meta = frame.meta
        skeleton_at = segment_at = 0
        if meta["form"] == "rows" and meta["method"] == "call":
            # The stack goes back as it came: the daemon splits it by the rows of the call.
            return self.data.send(RESULT, {"ids": [each["id"] for each in meta["calls"]]}, frame.skeletons, frame.segments)
        for member in meta["calls"]:
            skeleton, segments = frame.skeletons, frame.segments
            if meta["form"] == "items":
                skeleton = skeleton[skeleton_at : skeleton_at + member["sk"]]
                segments = segments[segment_at : segment_at + member["n"]]
                skeleton_at, segment_at = skeleton_at + member["sk"], segment_at + member["n"]
            self.one(meta["method"], member, skeleton, segments)

    def one(self, method, member, skeleton, segments):
        call_id = member["id"]
        if method == "call" and "http" in member:
            body = segments[0][2].decode()
            answer = dumps({"method": member["http"]["method"], "path": member["http"]["path"], "body": body})
            head = {"status": 200, "headers": ["content-type", "application/json"]}
            self.data.send(RESULT, {"ids": [call_id], "http": head}, b'{"$seg":0}', [("bytes", None, answer)])
        elif method == "call":
            self.data.send(RESULT, {"ids": [call_id]}, skeleton, segments)
        elif method == "count":
            self.data.send(OPEN, {"id": call_id})
            self.stream(Stream(call_id, **json.loads(skeleton)))
        elif method == "wait":
            self.waiting.add(call_id)
        elif method == "ask":
            self.next_child += 1
            self.children[self.next_child] = call_id
            child = {"form": "one", "calls": [{"id": self.next_child, "requestId": ""}], "method": "call"}
            self.data.send(CALL, {**child, "handle": self.run["handles"][0], "parent": call_id}, skeleton, segments)
        else:
            self.fail(call_id, "CALL_REFUSED", f"there is no method `{method}`; there are call, count, wait, ask")

    def stream(self, stream):
        if not stream.step(self.data):
            self.streams[stream.id] = stream


TOKEN, ID = os.environ.pop("SERVE_REPLICA_TOKEN"), os.environ.pop("SERVE_REPLICA_ID")
try:
    Replica().serve()
except OSError:
    sys.exit(3)
