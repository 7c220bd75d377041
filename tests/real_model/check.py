"""Walks `ergane` through a conversation with a real model, and kills what can be killed on the way.

What the model says is its own affair: nothing here looks at its words. What is looked at is that every turn ends as it
should, and that the history holds every message once and in order, whatever died in between.
"""

import argparse
import json
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
MODEL = "real"
CONTEXT = 2048
LONGEST_ANSWER = 32
KEY_VARIABLE = "REAL_MODEL_KEY"
KEY = "test-" + secrets.token_hex(16)

# Nothing is expected to take so long. A machine with better things to do may need it.
DEADLINE = 900


class Checks:
    def __init__(self):
        self.passed = 0
        self.began = time.monotonic()

    def title(self, text):
        print(f"\n[{time.monotonic() - self.began:6.1f} s] {text}", flush=True)

    def that(self, holds, what, seen=None):
        if not holds:
            print(f"  FAILED: {what}\n  seen: {seen!r}", flush=True)
            raise SystemExit(1)
        self.passed += 1
        print(f"  ok: {what}", flush=True)

    def equal(self, found, expected, what):
        self.that(found == expected, what, {"found": found, "expected": expected})


class Server:
    """The real model. Comes back at the same place after it was killed."""

    def __init__(self, weights, log):
        self.weights, self.log, self.process = weights, log, None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def start(self):
        command = [sys.executable, HERE / "serve.py", self.weights, f"--port={self.port}", f"--name={MODEL}"]
        command += [f"--context={CONTEXT}", f"--longest-answer={LONGEST_ANSWER}", f"--key={KEY}"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        began = time.monotonic()
        while not self.is_healthy():
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended by itself, see {self.log}")
            if time.monotonic() - began > DEADLINE:
                raise SystemExit(f"the server is not ready after {DEADLINE} s, see {self.log}")
            time.sleep(0.2)
        return time.monotonic() - began

    def is_healthy(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def tokens(self, history):
        """How long a request with this history is, by the model's own template and tokenizer."""
        messages = [{"role": role, "content": text} for role, text in history]
        prompt = self.ask("/apply-template", {"messages": messages})["prompt"]
        return len(self.ask("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})["tokens"])

    def ask(self, path, body):
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        place = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(place, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return json.load(answer)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process = None


class Run:
    """One `ergane` process that has ended: its exit status and what it said."""

    def __init__(self, exit, lines, stderr, seconds):
        self.exit, self.lines, self.stderr, self.seconds = exit, lines, stderr, seconds
        self.result = lines[-1] if lines else {}

    def types(self):
        return [line.get("type") for line in self.lines]

    def pieces(self):
        """The pieces of the answer that counts: a cut one was taken back."""
        types = self.types()
        begin = len(types) - types[::-1].index("stream_reset") if "stream_reset" in types else 0
        return [line["text"] for line in self.lines[begin:] if line.get("type") == "content"]


class Ergane:
    def __init__(self, program, journal):
        self.program, self.runs, self.strangers = program, 0, []
        mine = ("ERGANE_", "OPENAI_", "OLLAMA_", "RUST_LOG")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
        self.environment |= {"ERGANE_JOURNAL": str(journal), KEY_VARIABLE: KEY, "NO_PROXY": "127.0.0.1"}

    def __call__(self, *words, watch=None, key=KEY):
        """Runs it to its end. `watch(event, process)` sees every line of JSON as it comes."""
        began = time.monotonic()
        with tempfile.TemporaryFile("w+", encoding="utf-8") as stderr:
            process = subprocess.Popen(
                [self.program, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                encoding="utf-8",
                env=self.environment | {KEY_VARIABLE: key},
            )
            too_late = threading.Timer(DEADLINE, process.kill)
            too_late.start()
            try:
                lines = []
                for line in process.stdout:
                    lines.append(json.loads(line))
                    if watch is not None:
                        watch(lines[-1], process)
                exit = process.wait()
            finally:
                too_late.cancel()
                process.kill()
                process.wait()
                process.stdout.close()
            stderr.seek(0)
            said = stderr.read()
        for line in said.splitlines():
            print(f"    {line}")
        self.runs += 1
        self.strangers += [line for line in said.splitlines() if not line.startswith("ergane: ")]
        return Run(exit, lines, said, time.monotonic() - began)

    def messages(self, session):
        """The history as (role, text), and the session's object."""
        shown = self("sessions", "show", session, "--json").result
        texts = [
            (message["role"], "".join(part.get("text", "") for part in message["parts"]))
            for message in shown["messages"]
        ]
        return texts, shown


def kill_at(event_type):
    """A watcher that kills the process, unasked and unannounced, at the first event of this type."""

    def watch(event, process):
        if event.get("type") == event_type:
            process.kill()

    return watch


def merged(history):
    """The history in the fewest messages: questions with no answer between them may go out as one."""
    out = []
    for role, text in history:
        if out and out[-1][0] == role:
            text = out.pop()[1] + text
        out.append((role, text))
    return out


class Walk:
    def __init__(self, checks, server, ergane, folder):
        self.checks, self.server, self.ergane, self.folder = checks, server, ergane, folder
        self.history = []
        self.report = []
        self.place = ["--provider", "openai", "--base-url", server.url, "--api-key-env", KEY_VARIABLE]
        self.settings = [*self.place, "--model", MODEL, "--tools", "none", "--idle-timeout", "5m"]

    def answered(self, run, turn, prompt, how, recovered=False):
        """The turn ended with an answer: whole, or cut at the server's limit."""
        checks, result = self.checks, run.result
        ended = (run.exit, result.get("finish_reason"), result.get("error"))
        checks.that(ended in [(0, "stop", None), (1, "length", None)], f"turn {turn} ended with an answer", run.lines)
        told = [result[name] for name in ("turn", "provider", "model", "recovered")]
        expected = [turn, "openai", MODEL, recovered]
        checks.equal(told, expected, f"it says number, provider, model, and recovered: {recovered}")
        checks.that(result["text"].strip() != "", "there is text", result)
        # The server counts what it was sent. So this is about the request, not about what was kept.
        read, sent = result["usage"]["input_tokens"], [*self.history, ("user", prompt)]
        least, most = self.server.tokens(merged(sent)), self.server.tokens(sent)
        checks.that(least <= read <= most, f"the model read {read} tokens: this history", (least, most, result))
        self.checks.that(f"provider openai, model {MODEL}" in run.stderr, "stderr says who served", run.stderr)
        self.history += [("user", prompt), ("assistant", result["text"])]
        wrote = result["usage"]["output_tokens"]
        self.report.append((turn, how, f"{run.seconds:.1f} s", read, wrote, result["finish_reason"]))
        print(f"    {run.seconds:.1f} s: {result['text']!r}", flush=True)

    def intact(self):
        found, shown = self.ergane.messages("demo")
        self.checks.equal(found, self.history, f"all {len(found)} messages are there, in order, none twice")
        return shown

    def open(self, prompt):
        found, shown = self.ergane.messages("demo")
        self.checks.equal(shown["status"], "open_turn", "its turn is open")
        expected = [*self.history, ("user", prompt)]
        self.checks.equal(found, expected, "the question is kept, and nothing of the half answer")

    def killed(self, run):
        self.checks.equal(run.exit, -9, "the process was killed")
        self.checks.that(not {"reply", "result"} & set(run.types()), "it had no whole answer yet", run.types())

    def streamed(self):
        self.checks.title("turn 1: streamed")
        prompt = "What is the capital of France? Answer with one word."
        run = self.ergane("send", "demo", prompt, *self.settings, "--stream-json")
        self.answered(run, 1, prompt, "streamed")
        pieces = run.pieces()
        self.checks.that(len(pieces) > 1, f"it came in {len(pieces)} pieces", run.types())
        self.checks.equal("".join(pieces), run.result["text"], "the pieces make the text")
        self.intact()

    def process_killed_in_mid_stream(self):
        self.checks.title("turn 2: the process is killed (SIGKILL) in the middle of the stream, then resumed")
        prompt = "Tell me a story about the sea."
        self.killed(self.ergane("send", "demo", prompt, "--stream-json", watch=kill_at("content")))
        self.open(prompt)
        resumed = self.ergane("resume", "demo", "--json")
        self.answered(resumed, 2, prompt, "streamed, process killed, resumed", recovered=True)
        self.intact()
        again = self.ergane("resume", "demo", "--json")
        self.checks.equal((again.exit, again.result["turn"]), (0, None), "there is nothing more to resume")
        self.intact()

    def server_killed_in_mid_stream(self):
        self.checks.title("turn 3: the server is killed in the middle of the stream, and comes back")
        prompt = "Tell me a story about a mountain."

        def watch(event, _process):
            if event.get("type") == "content" and self.server.process is first:
                self.server.kill()
                print(f"    the server was killed and is back after {self.server.start():.1f} s", flush=True)

        first = self.server.process
        run = self.ergane("send", "demo", prompt, "--retries", "30", "--stream-json", watch=watch)
        self.answered(run, 3, prompt, "streamed, server killed and back")
        types = run.types()
        self.checks.that("stream_reset" in types, "what had come of the cut answer was taken back", types)
        self.checks.that("retrying" in types, f"the model was asked again, {types.count('retrying')} times", types)
        self.checks.equal("".join(run.pieces()), run.result["text"], "the pieces of the last attempt make the text")
        self.intact()

    def not_streamed(self):
        self.checks.title("turn 4: not streamed")
        prompt = "And of Italy? Answer with one word."
        run = self.ergane("send", "demo", prompt, "--no-stream", "--stream-json")
        self.answered(run, 4, prompt, "not streamed")
        self.checks.equal(run.pieces(), [], "it came in one piece")
        self.intact()

    def process_killed_before_an_answer(self):
        self.checks.title("turn 5: killed while it waits for a whole answer; the next send finishes it first")
        prompt = "Tell me a story about a forest."
        self.killed(self.ergane("send", "demo", prompt, "--stream-json", watch=kill_at("turn_started")))
        self.open(prompt)
        self.history += [("user", prompt)]
        prompt = "Say goodbye."
        run = self.ergane("send", "demo", prompt, "--stream-json")
        finished = [line["text"] for line in run.lines if line.get("type") == "reply"]
        self.checks.equal(len(finished), 2, "two turns ended")
        self.history += [("assistant", finished[0])]
        self.answered(run, 6, prompt, "not streamed, after finishing killed turn 5")
        settings = self.intact()["settings"]
        kept = {"provider": "openai", "model": MODEL, "base_url": self.server.url}
        kept |= {"api_key_env": KEY_VARIABLE, "stream": False}
        self.checks.equal({name: settings.get(name) for name in kept}, kept, "the session remembers its settings")

    def no_model_named(self):
        self.checks.title("no model named: the only one of the server is asked")
        run = self.ergane("query", "Say hello.", *self.place, "--json")
        ended = (run.exit, run.result["finish_reason"])
        self.checks.that(ended in [(0, "stop"), (1, "length")], "it answers", run.result)
        self.checks.equal(run.result["model"], MODEL, "the model is told")

    def failed(self, run, exit, finish, kind):
        result = run.result
        found = (run.exit, result.get("finish_reason"), (result.get("error") or {}).get("kind"))
        self.checks.equal(found, (exit, finish, kind), f"exit {exit}, finish {finish}, kind {kind}")

    def wrong_key(self):
        self.checks.title("a key that the server does not accept")
        self.failed(self.ergane("query", "hi", *self.settings, "--json", key="wrong"), 3, "provider_auth", "auth")

    def prompt_too_long(self):
        self.checks.title(f"a prompt that does not fit the context window of {CONTEXT} tokens")
        run = self.ergane("send", "big", "word " * CONTEXT * 2, *self.settings, "--json")
        self.failed(run, 1, "prompt_too_long", "context_length")
        self.intact()

    def unreachable(self):
        self.checks.title("turn 7: the server is gone")
        self.server.kill()
        prompt = "Are you there?"
        run = self.ergane("send", "demo", prompt, "--retries", "1", "--json")
        self.failed(run, 3, "during_execution", "transport")
        self.history += [("user", prompt)]
        self.checks.equal(self.intact()["status"], "idle", "the turn is closed, with its question kept")
        self.checks.title("turn 8: the server is back")
        print(f"    ready after {self.server.start():.1f} s")
        prompt = "Say hello."
        self.answered(self.ergane("send", "demo", prompt, "--json"), 8, prompt, "not streamed, after failed turn 7")
        self.intact()

    def clean(self):
        self.checks.title("what was left behind")
        ergane = self.ergane
        self.checks.equal(ergane.strangers, [], f"on stderr, {ergane.runs} processes wrote notes and nothing else")
        files = [path.read_bytes() for path in self.folder.rglob("*") if path.is_file() and path.name != "server.log"]
        holding = [sum(text.encode() in file for file in files) > 0 for text in (KEY_VARIABLE, KEY)]
        self.checks.equal(holding, [True, False], "the journal holds the name of the key's variable, and no key")

    def all(self):
        self.checks.title("the server starts")
        print(f"    ready at {self.server.url} after {self.server.start():.1f} s")
        self.streamed()
        self.process_killed_in_mid_stream()
        self.server_killed_in_mid_stream()
        self.not_streamed()
        self.process_killed_before_an_answer()
        self.no_model_named()
        self.wrong_key()
        self.prompt_too_long()
        self.unreachable()
        self.clean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ergane", type=pathlib.Path, help="the program")
    parser.add_argument("weights", type=pathlib.Path, help="a GGUF file of a model that can chat")
    options = parser.parse_args()
    checks = Checks()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ergane-real-model-"))
    server = Server(options.weights.resolve(), folder / "server.log")
    try:
        walk = Walk(checks, server, Ergane(options.ergane.resolve(), folder / "journal.db"), folder)
        walk.all()
    except BaseException:  # Ctrl-C, too
        print(f"\nstopped after {checks.passed} checks; the journal and the server's log are in {folder}", flush=True)
        raise
    finally:
        server.kill()
    shutil.rmtree(folder)
    print("\nturn  time      tokens in  out  finish  how")
    for turn, how, took, read, wrote, finish in walk.report:
        print(f"{turn:4}  {took:8}  {read:9}  {wrote:3}  {finish:6}  {how}")
    print(f"\n{checks.passed} checks passed in {time.monotonic() - checks.began:.0f} s")


if __name__ == "__main__":
    main()
