#!/usr/bin/env python3
"""Asks a session of claude-relay and prints its answer: ask.py NAME QUESTION [SECONDS]

A complete client of the wire protocol with nothing but Python's standard library. It survives a hub that is
killed or replaced in the middle: the ask's id stays the same, so saying it again is harmless.
Exit status: 0 answered, 1 refused, 3 no hub, 4 timed out, 5 the session went away.
"""
import json
import os
import secrets
import socket
import sys
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
STATUS = {"timeout": 4, "peer_gone": 5}


def hub_socket():
    """Returns the hub's place, as docs/operations.md lists them."""
    user, runtime = f"/run/user/{os.getuid()}", os.environ.get("XDG_RUNTIME_DIR")
    for base in filter(os.path.isdir, (user, runtime or "")):
        if os.stat(base).st_uid == os.getuid():
            return f"{base}/relay/hub.sock"
    return os.path.expanduser("~/.relay/hub.sock")


class Ask:
    def __init__(self, to, question, seconds):
        letters = "".join(secrets.choice(ALPHABET) for _ in range(12))
        self.id = "-".join(letters[at : at + 4] for at in (0, 4, 8))
        self.to, self.question, self.end = to, question, time.monotonic() + seconds
        self.key = secrets.token_hex(16)  # who we are, the same on every connection
        self.is_said = False
        self.bound = None  # whom a hub has accepted the ask for

    def run(self, path):
        """Returns the exit status and what is to be printed."""
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as hub:
                    hub.settimeout(max(0.1, self.end + 1 - time.monotonic()))
                    hub.connect(path)
                    return self.converse(hub)
            except OSError as error:  # no hub, or it was lost: the next one is asked again
                if not self.is_said:
                    return 3, f"hub_unreachable: {error}"
                if time.monotonic() > self.end:
                    return 4, "timeout"
                time.sleep(0.2)

    def converse(self, hub):
        def send(**message):
            hub.sendall(json.dumps(message).encode() + b"\n")

        send(type="hello", id=1, versions={"min": 1, "max": 1}, program="ask.py", kind="control", key=self.key)
        for line in hub.makefile("rb"):
            message = json.loads(line)
            kind = message.get("type")
            if kind == "welcome":
                left_ms = max(1, int((self.end - time.monotonic()) * 1000))
                again = {"bound": self.bound} if self.bound else {}
                send(type="ask", id=2, ask_id=self.id, to=self.to, question=self.question, timeout_ms=left_ms, **again)
                self.is_said = True
            elif kind == "accepted":
                self.bound = message["tag"]
            elif kind == "reply" and message["ask_id"] == self.id:
                send(type="taken", ask_id=self.id, by=message["by"])
                send(type="bye")
                return 0, message["text"]
            elif kind == "failed" and message["ask_id"] == self.id:
                return STATUS.get(message["code"], 1), message["code"]
            elif kind == "error":
                return 1, f"{message['code']}: {message['message']}\nnext: {message['next']}"
        raise ConnectionError("the hub closed the connection")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    ask = Ask(sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) == 4 else 120.0)
    status, text = ask.run(os.environ.get("RELAY_SOCKET") or hub_socket())
    print(text, file=sys.stderr if status else sys.stdout)
    sys.exit(status)
