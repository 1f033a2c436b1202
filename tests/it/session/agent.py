"""An agent of the smallest kind: it starts relay-channel as its MCP server, joins its session's own socket as a plugin, and
answers every question. In place of a model it has rules: of a question with "interrupt" it loses the text as often as the number
behind the word says, one with "silent" it does not answer, and one with "ask NAME" it asks NAME.

    agent.py RELAY-CHANNEL
"""
import json, os, re, subprocess, sys
from socket import AF_UNIX, socket

PROGRAM = sys.argv[1]
server = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env={"RELAY_SESSION": "session", **os.environ})
requests = iter(range(1, 1 << 30))


def request(method, **params):
    number = next(requests)
    print(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}), file=server.stdin, flush=True)
    return next(answer for answer in map(json.loads, server.stdout) if answer.get("id") == number)["result"]


def call(tool, **arguments):
    return json.loads(request("tools/call", name=tool, arguments=arguments)["content"][0]["text"])


request("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "scripted", "version": "1"})
print('{"jsonrpc": "2.0", "method": "notifications/initialized"}', file=server.stdin, flush=True)
channel = socket(AF_UNIX)
channel.connect(subprocess.run([PROGRAM, "socket", str(os.getpid())], stdout=subprocess.PIPE, text=True).stdout.strip())


def say(kind, **members):
    channel.sendall((json.dumps({"type": kind, **members}) + "\n").encode())


say("hello", role="plugin")
say("named", name="Scripted Agent")
say("presence", status="idle")
losses = {}
for message in map(json.loads, channel.makefile()):
    if message["type"] == "end":
        break
    say("taken", batch=message["batch"])
    text, ids = message["text"], message["ids"]
    interrupt = re.search(r"interrupt (\d+)", text)
    if interrupt and losses.get(ids[0], 0) < int(interrupt[1]):
        losses[ids[0]] = losses.get(ids[0], 0) + 1
        say("lost", ids=ids)
        continue
    say("presence", status="busy")
    say("shown", ids=ids)
    print(text.replace("\n", " "), flush=True)
    if 'kind="ask"' in text and "silent" not in text:
        call("relay_reply", ask_id=ids[0], text="lost %d times" % losses.get(ids[0], 0))
    if asked := re.search(r"\bask (\w+)\n", text):
        call("relay_ask", to=asked[1], question="What port?", timeout_seconds=20)
    say("presence", status="idle")
