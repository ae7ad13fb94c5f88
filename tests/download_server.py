"""Ein Server für Downloads, der sich schlecht benimmt, wie man es ihm sagt."""

import http.server
import threading
import time


class Server(http.server.ThreadingHTTPServer):
    """Liefert ``files`` (Name → Inhalt) unter ``address``; ``requests`` merkt sich den Pfad jeder Anfrage.

    Nach ``break_after`` Bytes trennt er die Verbindung; ``silent`` nimmt an und antwortet nie.
    """

    daemon_threads = True

    def __init__(self, files, break_after=None, silent=False):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.break_after, self.silent = files, break_after, silent
        self.requests, self.address = [], f"http://127.0.0.1:{self.server_address[1]}/"

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def handle_error(self, *_):
        """Der Empfänger darf auflegen."""


class Handler(http.server.BaseHTTPRequestHandler):
    log_message = Server.handle_error

    def do_GET(self):
        server = self.server
        server.requests.append(self.path)
        time.sleep(30 * server.silent)
        if (content := server.files.get(self.path[1:])) is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: server.break_after])
