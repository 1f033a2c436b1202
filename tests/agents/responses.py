"""OpenAI's Responses API in the shape of chat completions, as far as Codex speaks it."""
import json, os, re, time


def to_chat(body):
    """The body of a request as one of chat completions."""
    messages = [{"role": "system", "content": body.get("instructions") or ""}]
    for item in body.get("input") or []:
        kind = item.get("type", "message")
        if kind == "message":
            messages.append({"role": item["role"], "content": item.get("content") or ""})
        elif kind.endswith("_output"):
            output = item.get("output", "")
            messages.append({"role": "tool", "content": output if isinstance(output, str) else json.dumps(output)})
        elif kind.endswith("_call"):
            messages.append({"role": "assistant", "content": ""})
    return {**body, "messages": messages}


def session_of(body):
    """The folder's name: all threads of Codex's daemon have one address of the model."""
    folders = re.findall(r"<cwd>([^<]*)</cwd>", json.dumps(body.get("input")))
    return os.path.basename(folders[-1]) if folders else "codex"


def resolve(tools, name):
    """The namespace and the name of a tool, by what the request offers."""
    for tool in tools:
        if tool.get("name") == name:
            return {"name": name}
        if any(inner.get("name") == name for inner in tool.get("tools") or []):
            return {"namespace": tool["name"], "name": name}
    return {"name": name}


def answer(body, calls):
    """The kind and the bytes of an answer: these calls, or a word."""
    now = time.time_ns()
    items = [{"type": "function_call", "id": "fc_%d_%d" % (now, i), "call_id": "call_%d_%d" % (now, i), "status": "completed",
              "arguments": json.dumps(arguments), **resolve(body.get("tools") or [], name)} for i, (name, arguments) in enumerate(calls)]
    if not items:
        text = {"type": "output_text", "text": "OK.", "annotations": []}
        items = [{"type": "message", "id": "msg_%d" % now, "role": "assistant", "status": "completed", "content": [text]}]
    usage = {"input_tokens": 9, "output_tokens": 9, "total_tokens": 18}
    response = {"id": "resp_%d" % now, "object": "response", "status": "completed", "model": body.get("model"), "output": items, "usage": usage}
    said = [("response.created", {"response": {**response, "status": "in_progress", "output": []}})]
    for i, item in enumerate(items):
        said.append(("response.output_item.added", {"output_index": i, "item": item}))
        said.append(("response.output_item.done", {"output_index": i, "item": item}))
    said.append(("response.completed", {"response": response}))
    stream = "".join("event: %s\ndata: %s\n\n" % (name, json.dumps({"type": name, "sequence_number": n, **more}))
                     for n, (name, more) in enumerate(said))
    return "text/event-stream", stream.encode()
