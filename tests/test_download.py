"""Downloads gegen einen Server, der hängt, abbricht, lügt oder nichts hat."""

import hashlib
import threading
import time

import pytest
from download_server import Server

from helpers import download
from helpers.basics import CourseError

CONTENT = bytes(range(256)) * 400
MD5 = hashlib.md5(CONTENT).hexdigest()
OFFLINE = "nehmen Sie die Stichprobe"


@pytest.fixture
def serve(monkeypatch):
    """Startet Server; Zeitgrenzen so kurz, dass kein Test lange wartet."""
    monkeypatch.setattr(download, "TIMEOUT_S", 0.3)
    running = []

    def start(content=CONTENT, **options):
        files = {} if content is None else {"datei.bin": content}
        running.append(Server(files, **options).start())
        return running[-1]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def fetch(target, *servers):
    return download.fetch(target / "datei.bin", tuple(server.address for server in servers), MD5, OFFLINE)


def test_loads_once_and_then_needs_no_server(serve, tmp_path):
    server = serve()
    for _ in range(2):
        assert fetch(tmp_path, server).read_bytes() == CONTENT
    assert server.requests == ["/datei.bin"]
    assert [path.name for path in tmp_path.iterdir()] == ["datei.bin"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"silent": True}, "schweigt länger als"),
        ({"break_after": 100}, "riss die Verbindung ab"),
        ({"content": b"x" * len(CONTENT)}, "Die Prüfsumme stimmt nicht"),
        ({"content": None}, "Der Server antwortet mit 404"),
    ],
    ids=["hängt", "bricht ab", "falsche Bytes", "404"],
)
def test_second_source_and_a_sentence_without_one(serve, tmp_path, bad, said):
    first, second = serve(**bad), serve()
    began = time.monotonic()
    with pytest.raises(CourseError) as caught:
        fetch(tmp_path, first)
    assert time.monotonic() - began < 5
    sentence = str(caught.value)
    assert said in sentence and f"{first.address}datei.bin" in sentence and str(tmp_path) in sentence
    assert OFFLINE in sentence and list(tmp_path.iterdir()) == []
    assert fetch(tmp_path, first, second).read_bytes() == CONTENT
    assert second.requests[0] == "/datei.bin", "die erste Quelle kommt zuerst, dann die zweite"


def test_two_at_once_load_once(serve, tmp_path):
    server = serve()
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(tmp_path, server).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [CONTENT] * 4 and len(server.requests) == 1
