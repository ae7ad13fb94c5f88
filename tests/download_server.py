"""Ein Server für Downloads, der sich schlecht benimmt, wie man es ihm sagt."""

import http.server
import threading
import time


class Server(http.server.ThreadingHTTPServer):
    """Liefert ``files`` unter ``address``; ``requests`` merkt sich (Pfad, Range) jeder Anfrage.

    Args:
        files: Name → Inhalt.
        resume: Teile liefern (206), wenn danach gefragt wird.
        break_after: nach so vielen Bytes jeder Antwort die Verbindung trennen.
        silent: annehmen und nie antworten.
        drip: Byte für Byte, mit so vielen Sekunden dazwischen.
    """

    daemon_threads = True

    def __init__(self, files, resume=False, break_after=None, silent=False, drip=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.resume, self.break_after, self.silent, self.drip = files, resume, break_after, silent, drip
        self.requests, self.address = [], f"http://127.0.0.1:{self.server_address[1]}/"

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def handle_error(self, *_):
        """Der Empfänger darf auflegen."""


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append((self.path, wanted))
        if server.silent:
            time.sleep(30)
            return
        content = server.files.get(self.path[1:])
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.resume else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        part = content[start:]
        if server.break_after is not None:
            part = part[: server.break_after]
        if server.drip is None:
            self.wfile.write(part)
            return
        for position in range(len(part)):
            self.wfile.write(part[position : position + 1])
            self.wfile.flush()
            time.sleep(server.drip)
