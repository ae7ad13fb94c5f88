"""Ein Jupyter-Server, der den gefundenen Port festhält."""

import contextlib

from jupyter_server.serverapp import ServerApp, random_ports
from tornado.netutil import bind_sockets


class CourseServer(ServerApp):
    """Wie das Vorbild; nur öffnet es den Port sofort, statt ihn zu prüfen, loszulassen und Sekunden später zu öffnen.

    Zwei Starts im selben Augenblick fanden sonst denselben Port frei, und der zweite endete mit einem Fehler.
    """

    def _find_http_port(self) -> None:
        for port in random_ports(self.port, self.port_retries + 1):
            with contextlib.suppress(OSError):
                self._held = bind_sockets(port, self.ip)
                self.port = self._held[0].getsockname()[1]
                return
        super()._find_http_port()  # nennt den Grund und endet

    def _bind_http_server_tcp(self) -> bool:
        self.http_server.add_sockets(self._held)
        return True
