"""A stand-in for the models on 127.0.0.1, one path a session, in the APIs that the agents speak. What it answers follows from
what is new in the conversation, and every request is kept: what an agent's model was shown is what its requests contained.

- A question of claude-relay is answered by relay_reply, unless it says "silent".
- `call TOOL {JSON}`, typed by the user, calls a tool; `slow N` answers after N seconds.
- All else is answered by "OK.".

As a proxy it refuses everything: what an agent tries to reach beside it fails at once.
"""
import json, re, sys, threading, time, traceback
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import completions, generate, messages, responses

# What the path of a request to a model has, and what it speaks.
APIS = (("/chat/completions", completions), ("/responses", responses), ("/messages", messages), (":generateContent", generate), (":streamGenerateContent", generate))
# Some agents show characters of a tag of ours as entities.
ASK = re.compile(r'(?:<|&lt;)relay-message kind=\\?"ask\\?" (?:(?!>|&gt;).)*?ask_id=\\?"([^"\\]+)\\?"(?:(?!>|&gt;).)*(?:>|&gt;)(.*?)(?:<|&lt;)/relay-message(?:>|&gt;)', re.S)
SHOWN = ("user", "tool", "notice")
CALL = re.compile(r"^call (\w+) (\{.*\})\s*$", re.M)
SLOW = re.compile(r"^slow (\d+)", re.M)


def text_of(message):
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


class Request:
    def __init__(self, session, body):
        self.time, self.session, self.body = time.time(), session, body
        self.messages = body.get("messages", [])
        last = max((i for i, message in enumerate(self.messages) if message["role"] == "assistant"), default=-1)
        self.new = "\n".join(text_of(m) for m in self.messages[last + 1:] if m["role"] in SHOWN)
        self.all = [text_of(m) for m in self.messages if m["role"] in SHOWN]

    def texts(self):
        """The role and the text of each message, the system's as well."""
        return [(message["role"], text_of(message)) for message in self.messages]

    def tool(self, name):
        """The tool's name in this agent, by what the request offers."""
        offered = [tool.get("function", tool).get("name", "") for tool in self.body.get("tools", [])]
        return next((full for full in offered if re.search(r"(^|[_-])%s$" % name, full)), name)

    def call(self, name, arguments):
        """A call of the tool. One that is not offered is called as the message says that brought its name."""
        full = self.tool(name)
        named = re.search(r"call the tool (\S*%s)" % name, self.new)
        offered = [tool.get("function", tool).get("name", "") for tool in self.body.get("tools", [])]
        if full not in offered and "tool_call" in offered:
            return "tool_call", {"name": named[1] if named else "mcp__relay__" + name, "arguments": arguments}
        return full, arguments

    def answer(self, replies):
        reply = lambda question: replies.get(question.split()[0]) or "answer to " + question.strip().split("\n")[0]
        calls = [self.call("relay_reply", {"ask_id": i, "text": reply(q)})
                 for i, q in ASK.findall(self.new) if "silent" not in q]
        # An interrupted prompt may be back in the line before the next one is typed.
        calls += [self.call(name, json.JSONDecoder().raw_decode(arguments)[0]) for name, arguments in CALL.findall(self.new)]
        return calls, sum(int(seconds) for seconds in SLOW.findall(self.new))


class Model:
    def __init__(self):
        self.requests, self.changed = [], threading.Condition()
        # The first word of a question -> what answers it, if not the usual.
        self.replies = {}
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                path = self.path.split("?")[0]
                api = next((api for end, api in APIS if path.endswith(end)), None)
                raw = json.loads(self.body() or b"{}")
                if not api:
                    return self.send_error(404)
                if path.endswith(":streamGenerateContent"):
                    raw["stream"] = True
                body = api.to_chat(raw)
                session = responses.session_of(raw) if api is responses else path.split("/")[1]
                request = Request(session, body)
                # Without tools it is asked for a title or the like.
                calls, delay = request.answer(model.replies) if body.get("tools") else ([], 0)
                if body.get("tools"):
                    with model.changed:
                        model.requests.append(request)
                        model.changed.notify_all()
                time.sleep(delay)
                try:
                    self.send(*api.answer(raw, calls))
                except OSError:
                    pass  # interrupted

            def body(self):
                if self.headers.get("transfer-encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers["content-length"]))
                data = b""
                while size := int(self.rfile.readline() or b"0", 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return data

            def send(self, kind, data):
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_CONNECT(self):
                self.send_error(403)

            def do_GET(self):
                if not self.path.startswith("/"):
                    return self.send_error(403)
                data = b'{"object": "list", "data": []}'
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                if not isinstance(sys.exc_info()[1], OSError):
                    traceback.print_exc()

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

        self.address = "http://127.0.0.1:%d" % self.server.server_address[1]

    def url(self, session):
        return "%s/%s" % (self.address, session)

    def shown(self, session, text, within=0):
        """The first request of the session in whose new part the text stands; none if it does not come in time."""
        until = time.time() + within
        with self.changed:
            while True:
                found = next((r for r in list(self.requests) if r.session == session and text in r.new), None)
                if found or not self.changed.wait(max(0, until - time.time())) and time.time() >= until:
                    return found

    def times_shown(self, session, text):
        """In how many messages of a conversation the text stands, at the most."""
        return self.all_times_shown(session, re.escape(text)).get(text, 0)

    def all_times_shown(self, session, pattern):
        """Each text that the pattern matches, and in how many messages of a conversation it stands, at the most."""
        return Counter({text: len(times) for text, times in self.when_shown(session, pattern).items()})

    def when_shown(self, session, pattern):
        """Each text that the pattern matches, and when the first request was made that had it in one message, in two, and so on."""
        when = {}
        for request in [one for one in list(self.requests) if one.session == session]:
            for text, times in Counter(found for one in request.all for found in set(re.findall(pattern, one))).items():
                known = when.setdefault(text, [])
                known += [request.time] * (times - len(known))
        return when
