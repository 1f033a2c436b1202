"""OpenAI's chat completions, the shape into which the stand-in puts the other APIs."""
import json, time


def to_chat(body):
    return body


def answer(body, calls):
    """The kind and the bytes of an answer: these calls, or a word."""
    calls = [{"index": i, "id": "call_%d_%d" % (time.time_ns(), i), "type": "function",
              "function": {"name": name, "arguments": json.dumps(arguments)}} for i, (name, arguments) in enumerate(calls)]
    said = {"role": "assistant", "content": None if calls else "OK."}
    base = {"id": "c", "created": int(time.time()), "model": body.get("model", "stand-in")}
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    end = "tool_calls" if calls else "stop"
    if not body.get("stream"):
        message = {**said, **({"tool_calls": calls} if calls else {})}
        choice = {"index": 0, "message": message, "finish_reason": end}
        return "application/json", json.dumps({**base, "object": "chat.completion", "usage": usage, "choices": [choice]}).encode()
    chunk = lambda delta, why=None: {**base, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": why}]}
    chunks = [chunk({**said, "content": said["content"] or ""}), *([chunk({"tool_calls": calls})] if calls else []), {**chunk({}, end), "usage": usage}]
    return "text/event-stream", "".join("data: %s\n\n" % json.dumps(one) for one in chunks).encode() + b"data: [DONE]\n\n"
