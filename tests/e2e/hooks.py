"""A server for hooks: hooks.py PORT LOG. Each request is a line in LOG: its path, a tab, its body.

The first part of the path says what is answered.
"""
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOG = open(sys.argv[2], "a", buffering=1)
GO = sys.argv[2] + ".go"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def say(self, status, body, more=()):
        self.send_response(status)
        for name, value in more:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        LOG.write(f"{self.path}\t{body}\n")
        what = self.path.split("/")[1]
        if what == "ok":
            self.say(200, b"0")
        elif what == "json":
            self.send_response(201)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b'{"data":{"code":1},', b'"code":0}'):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        elif what == "no":
            self.say(403, b"0")
        elif what == "away":
            self.say(302, b"0", [("Location", "/ok")])
        elif what == "code":
            self.say(200, b'{"code":17}')
        elif what == "words":
            self.say(200, b"yes of course")
        elif what == "huge":
            self.say(200, b"0" * 5_000_000)
        elif what == "nonsense":
            self.wfile.write(b"220 mail.example.com ESMTP\r\n\r\n")
            self.close_connection = True
        elif what == "drop":
            self.close_connection = True
        elif what == "once":
            # Says that the connection lives on, and closes it.
            self.say(200, b"0", [("Connection", "keep-alive")])
            self.close_connection = True
        elif what == "gate":
            end = time.time() + 20
            while not os.path.exists(GO) and time.time() < end:
                time.sleep(0.01)
            self.say(200, b"0")
        elif what == "token":
            self.say(200, b"0" if "token=good" in body else b"1")

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
