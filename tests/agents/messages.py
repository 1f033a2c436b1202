"""Anthropic's Messages API in the shape of chat completions, as far as Claude Code speaks it."""
import json, time


def text_of(block):
    content = block.get("content") or block.get("text") or ""
    return content if isinstance(content, str) else "\n".join(text_of(one) for one in content)


def to_chat(body):
    """The body of a request as one of chat completions. What the client adds between two messages has the role of a system there."""
    messages = [{"role": "system", "content": text_of({"content": body.get("system")})}]
    for message in body["messages"]:
        blocks = message["content"]
        for block in [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks:
            role = {"tool_result": "tool", "tool_use": "assistant"}.get(block["type"], message["role"])
            messages.append({"role": "notice" if role == "system" else role, "content": text_of(block)})
    return {**body, "messages": messages}


def answer(body, calls):
    """The kind and the bytes of an answer: these calls, or a word."""
    now = time.time_ns()
    blocks = [{"type": "tool_use", "id": "toolu_%d_%d" % (now, i), "name": name, "input": arguments} for i, (name, arguments) in enumerate(calls)]
    said = blocks or [{"type": "text", "text": "OK."}]
    usage = {"input_tokens": 9, "output_tokens": 9}
    message = {"id": "msg_%d" % now, "type": "message", "role": "assistant", "model": body["model"], "content": said, "usage": usage,
               "stop_reason": "tool_use" if blocks else "end_turn", "stop_sequence": None}
    if not body.get("stream"):
        return "application/json", json.dumps(message).encode()
    events = [("message_start", {"message": {**message, "content": [], "stop_reason": None}})]
    for i, block in enumerate(said):
        empty = {**block, "input": {}} if blocks else {**block, "text": ""}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])} if blocks else {"type": "text_delta", "text": block["text"]}
        events += [("content_block_start", {"index": i, "content_block": empty}), ("content_block_delta", {"index": i, "delta": delta}),
                   ("content_block_stop", {"index": i})]
    events += [("message_delta", {"delta": {"stop_reason": message["stop_reason"], "stop_sequence": None}, "usage": usage}), ("message_stop", {})]
    return "text/event-stream", "".join("event: %s\ndata: %s\n\n" % (name, json.dumps({"type": name, **more})) for name, more in events).encode()
