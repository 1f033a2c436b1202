"""Gemini's API in the shape of chat completions, as far as Gemini CLI speaks it."""
import json, time


def text_of(part):
    response = part.get("functionResponse", {}).get("response")
    if isinstance(response, dict) and set(response) <= {"output", "error"}:
        return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in response.values())
    return part.get("text", "") if response is None else json.dumps(response)


def to_chat(body):
    """The body of a request as one of chat completions."""
    system = body.get("systemInstruction") or {}
    messages = [{"role": "system", "content": "\n".join(text_of(part) for part in system.get("parts", []))}]
    for message in body["contents"]:
        for part in message["parts"]:
            role = "tool" if "functionResponse" in part else {"model": "assistant"}.get(message.get("role"), "user")
            messages.append({"role": role, "content": text_of(part)})
    tools = [function for tool in body.get("tools") or [] for function in tool.get("functionDeclarations", [])]
    return {**body, "messages": messages, "tools": tools}


def answer(body, calls):
    """The kind and the bytes of an answer: these calls, or a word."""
    now = time.time_ns()
    parts = [{"functionCall": {"id": "call_%d_%d" % (now, i), "name": name, "args": arguments}} for i, (name, arguments) in enumerate(calls)]
    candidate = {"content": {"role": "model", "parts": parts or [{"text": "OK."}]}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 9, "totalTokenCount": 18}
    data = json.dumps({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "stand-in"})
    return ("text/event-stream", ("data: %s\r\n\r\n" % data).encode()) if body.get("stream") else ("application/json", data.encode())
