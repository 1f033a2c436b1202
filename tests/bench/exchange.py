"""A hub and sessions, as the programs of this folder start them and speak to them."""
import json, os, resource, socket, subprocess, sys


def floor(name, benchmark):
    """Returns the commands of the hub and of a session of a floor for a socket, and that its sessions do not speak MCP from the start."""
    program = os.path.abspath(benchmark)
    return (lambda path: [program, name + "-hub", path]), (lambda path: [program, name + "-session", path]), False


def relay(folder):
    """Returns the commands of the hub and of a session for a socket, and that sessions speak MCP from the start."""
    folder = os.path.abspath(folder)
    hub = [folder + "/relay-hub", "--limit", "rate=off", "--limit", "loop=off", "--limit", "open_asks=100000", "--limit", "connections=20000"]
    return (lambda path: hub + ["--socket", path]), (lambda path: [folder + "/relay-channel"]), True


class Session:
    def __init__(self, run, command, folder, socket_path, is_relay):
        os.mkdir(folder)
        own, theirs = socket.socketpair()
        environment = dict(os.environ, RELAY_SOCKET=socket_path, RELAY_CHANNEL="on")
        self.process = subprocess.Popen(run + command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
        theirs.close()
        self.stream, self.lines = own, own.makefile("rb")
        if not is_relay:
            return self.say(os.path.basename(folder))
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self.say(json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": client}))
        self.lines.readline()
        self.say(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        self.say(json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}))
        self.lines.readline()

    def say(self, line):
        self.stream.sendall((line + "\n").encode())

    def call(self, tool, **arguments):
        self.say(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}, separators=(",", ":")))

    def message(self):
        """Waits for a message, past results, and returns what its reply names."""
        while True:
            message = json.loads(self.lines.readline())
            if message.get("result", {}).get("isError"):
                sys.exit("a call failed: %s" % message)
            if "method" in message:
                return message["params"].get("meta", {}).get("ask_id", "")


def others(count, path):
    """Has so many sessions say hello, and returns their connections."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    connections = []
    for n in range(count):
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(path)
        session = {"pid": os.getpid(), "start": 1, "thread": str(n)}
        hello = {"type": "hello", "id": 1, "versions": {"min": 1, "max": 1}, "program": "relay-channel", "kind": "session", "session": session,
                 "agent": "claude-code", "cwd": "/home/me/w%d" % n, "branch": "main", "status": "idle", "wakes_by": "channel"}
        stream.sendall(json.dumps(hello).encode() + b"\n")
        if json.loads(stream.makefile("rb").readline())["type"] != "welcome":
            sys.exit("a session was not let in")
        connections.append(stream)
    return connections
