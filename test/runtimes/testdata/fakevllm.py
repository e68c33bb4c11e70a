"""A fake of vLLM, for tests on a host without a GPU. It is not vLLM, and runs no model.

It takes the arguments of `vllm serve` and answers on the routes of vLLM's OpenAI server that
llmhost uses, as docs.vllm.ai describes them. Its answer to every prompt says what it sees of the
host it runs on, so that a test can ask it.
"""

import argparse
import http.server
import json
import os
import socket
import socketserver
import sys


def writable(folder):
    try:
        path = os.path.join(folder, "fakevllm")
        with open(path, "w"):
            pass
        os.remove(path)
        return "yes"
    except OSError:
        return "no"


def sight():
    interfaces = ",".join(sorted(name for _, name in socket.if_nameindex()))
    return "; ".join([
        "fakevllm, no vLLM",
        " ".join(sys.argv[1:]),
        "interfaces " + interfaces,
        *("write %s %s" % (folder, writable(folder)) for folder in ("/opt", "/usr", "/etc", "/models", "/tmp")),
        "home " + ("yes" if os.path.exists("/home") else "no"),
    ])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "client"

    def log_message(self, *args):
        pass

    def send(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/health":
            return self.send("text/plain", b"")
        self.send("application/json", json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode())

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions" or request.get("model") != MODEL:
            return self.send_error(404)
        base = {"id": "chatcmpl-fake", "created": 0, "model": MODEL}
        if not request.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": sight()}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            return self.send("application/json", json.dumps({**base, "object": "chat.completion", "choices": [choice], "usage": usage}).encode())
        events = [{"role": "assistant", "content": sight()}, {}]
        body = ""
        for i, delta in enumerate(events):
            choice = {"index": 0, "delta": delta, "finish_reason": "stop" if i else None}
            body += "data: " + json.dumps({**base, "object": "chat.completion.chunk", "choices": [choice]}) + "\n\n"
        self.send("text/event-stream", (body + "data: [DONE]\n\n").encode())


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("", 0)


def main():
    global MODEL
    parser = argparse.ArgumentParser("vllm")
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model_tag")
    parser.add_argument("--served-model-name")
    parser.add_argument("--uds")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--max-num-seqs", type=int)
    args = parser.parse_args()
    with open(os.path.join(args.model_tag, "config.json")) as config:
        json.load(config)
    MODEL = args.served_model_name
    if args.uds:
        server = UnixServer(args.uds, Handler)
    else:
        server = http.server.ThreadingHTTPServer((args.host, args.port), Handler)
    server.serve_forever()
