"""Downloads gegen einen Server, der hängt, abbricht, lügt oder nichts hat."""

import hashlib
import threading
import time

import pytest
from download_server import Server

from helpers.basics import CourseError
from helpers.inner import download

CONTENT = bytes(range(256)) * 400
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_S", 0.3)


def serve(content=CONTENT, **options):
    return Server({} if content is None else {"datei.bin": content}, **options).start()


def fetch(target, *servers):
    return download.fetch(target / "datei.bin", tuple(server.address for server in servers), MD5, "lassen Sie es")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"silent": True}, "der Server schweigt"),
        ({"break_after": 100}, "Prüfsumme falsch"),
        ({"content": b"x" * len(CONTENT)}, "Prüfsumme falsch"),
        ({"content": None}, "der Server hat sie nicht"),
    ],
    ids=["hängt", "bricht ab", "falsche Bytes", "404"],
)
def test_second_source_and_a_sentence_without_one(tmp_path, bad, why):
    first, second = serve(**bad), serve()
    began = time.monotonic()
    with pytest.raises(CourseError) as caught:
        fetch(tmp_path, first)
    assert time.monotonic() - began < 5
    assert all(part in str(caught.value) for part in (why, f"{first.address}datei.bin", str(tmp_path), "lassen Sie es"))
    assert list(tmp_path.iterdir()) == [], "nichts Halbes bleibt liegen"
    assert fetch(tmp_path, first, second).read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["datei.bin"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/", "http://gibtsnicht.invalid/"])
def test_without_a_network_the_sentence_says_so(tmp_path, address):
    with pytest.raises(CourseError, match="zuletzt: kein Netz oder Adresse"):
        download.fetch(tmp_path / "datei.bin", (address,), MD5, "lassen Sie es")


def test_two_at_once_load_once_and_later_none(tmp_path):
    server, found = serve(), []
    threads = [threading.Thread(target=lambda: found.append(fetch(tmp_path, server).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [CONTENT] * 4 and server.requests == ["/datei.bin"]
