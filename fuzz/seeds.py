"""Makes seeds of the cassettes: seeds.py CASSETTES SEEDS. An input of a target is two bytes that choose the head of the
answer and the sizes of its pieces, and the answer's body; of `dialect` two bytes as well, and a text."""

import base64
import json
import pathlib
import sys

FORMATS = {
    "/chat/completions": "openai",
    "/responses": "responses",
    "/api/chat": "ollama",
    "/messages": "anthropic",
    "enerateContent": "gemini",
}

# What models without native calls write (`wire::dialect`).
TEXTS = [
    'Let me see.\n~~~tool_call\n{"name": "get", "arguments": {"x": 1}}\n~~~\n',
    '<think>hm</think>```tool_call\n{"name": "get", "arguments": {"x": "~~~"}}\n```',
    '<tool_call>{"name":"get","arguments":{"x":"</tool_call>"}}</tool_call>\n<tool_call>{"name":"get"}</tool_call>',
    "<tool_call>\n<function=get>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>",
    "<tool_call>get<arg_key>x</arg_key><arg_value>1</arg_value></tool_call>",
    '[TOOL_REQUEST]{"name":"get","arguments":{"x":1}}[END_TOOL_REQUEST]',
    '[TOOL_CALLS][{"name":"get","arguments":{"x":1}}]',
    '[TOOL_CALLS]get[ARGS]{"x":1}',
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get<｜tool▁sep｜>{"x":1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    '<|python_tag|>{"name":"get","parameters":{"x":1}}',
    '[get(x=1, y="z", z=[True, None, {"a": 1.5}])]',
    '<|tool_call_start|>[get(x=1)]<|tool_call_end|>',
]


def head(status, media_type):
    """The first byte of an input for such an answer (`wire::check::head`)."""
    if status != 200:
        return 5
    kinds = ["text/event-stream", "application/x-ndjson", "application/json"]
    return next((n for n, kind in enumerate(kinds) if media_type.startswith(kind)), 3)


def answers(cassette):
    """The path, status, media type and body of each exchange."""
    path = status = media_type = None
    body = b""
    for line in cassette.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "request" in entry:
            path, body = entry["request"]["path"], b""
        elif "response" in entry:
            status = entry["response"]["status"]
            media_type = dict(entry["response"]["headers"]).get("content-type", "")
        elif "part" in entry:
            part = entry["part"]
            body += part["text"].encode() if "text" in part else base64.b64decode(part["base64"])
        elif "end" in entry:
            yield path, status, media_type, body


def main(cassettes, seeds):
    def write(target, name, data):
        folder = seeds / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    for cassette in sorted(cassettes.glob("*.jsonl")):
        for n, (path, status, media_type, body) in enumerate(answers(cassette)):
            target = next((to for word, to in FORMATS.items() if word in path), None)
            if target is None:
                raise SystemExit(f"{cassette}: no target for {path}")
            write(target, f"{cassette.stem}-{n}", bytes([head(status, media_type), 17]) + body)
    for n, text in enumerate(TEXTS):
        write("dialect", str(n), bytes([n % 2, 17]) + text.encode())


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
