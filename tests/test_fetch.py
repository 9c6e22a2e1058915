"""Downloads against a local server: what is refused leaves nothing behind."""

import hashlib
import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from bench.contracts import InputError
from bench.loading import fetch as fetching
from bench.loading.fetch import fetch, record, recorded
from bench.loading.files import Remote

pytest.importorskip("pooch", reason="the package pooch is not installed")

DATA = b"a,b\n1,2\n"
HASH = hashlib.sha256(DATA).hexdigest()


def zipped(names):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, DATA)
    return out.getvalue()


PAGES = {
    "/good.csv": DATA,
    "/page.csv": b"\n<!DOCTYPE html><html>please log in</html>",
    "/good.zip": zipped(["readme.txt", "own data.csv"]),
    "/leaving.zip": zipped(["../evil.txt", "own data.csv"]),
}


@pytest.fixture
def server(monkeypatch):
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            first = self.path == "/flaky.csv" and asked.count("/flaky.csv") == 1
            body = DATA if self.path == "/flaky.csv" else PAGES.get(self.path)
            self.send_response(503 if first else 200 if body is not None else 404)
            self.end_headers()
            if not first:
                self.wfile.write(body or b"none")

        def log_message(self, *_):
            pass

    monkeypatch.setattr("time.sleep", lambda _: None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", asked
        httpd.shutdown()
        thread.join()


def left_behind(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_its_record_and_no_second_download(server, tmp_path):
    url, asked = server
    remote = Remote(f"{url}/good.csv", "set/own.csv", sha256=HASH)
    path = fetch(remote, tmp_path)
    assert path == tmp_path / "set/own.csv"
    assert path.read_bytes() == DATA
    note = json.loads(record(path).read_text())
    assert (note["url"], note["sha256"], note["bytes"]) == (f"{url}/good.csv", HASH, len(DATA))
    fetch(remote, tmp_path)
    assert asked == ["/good.csv"]
    path.write_bytes(b"changed")
    assert fetch(remote, tmp_path).read_bytes() == DATA
    assert left_behind(tmp_path) == ["own.csv", "own.csv.source.json"]


def test_without_a_known_hash_the_first_one_is_recorded(server, tmp_path):
    url, asked = server
    remote = Remote(f"{url}/good.csv", "own.csv", begins=b"a,b")
    assert recorded(fetch(remote, tmp_path)) == HASH
    fetch(remote, tmp_path)
    assert len(asked) == 1


def test_a_member_of_an_archive(server, tmp_path):
    url, _ = server
    path = fetch(Remote(f"{url}/good.zip", "b.csv", sha256=HASH, member="own data.csv"), tmp_path)
    assert path.read_bytes() == DATA
    assert left_behind(tmp_path) == ["b.csv", "b.csv.source.json"]


def test_a_bad_moment_is_tried_again(server, tmp_path):
    url, asked = server
    assert fetch(Remote(f"{url}/flaky.csv", "own.csv", sha256=HASH), tmp_path).read_bytes() == DATA
    assert asked == ["/flaky.csv"] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "/good.csv", "sha256": "0" * 64}, "does not match the known hash"),
        ({"url": "/page.csv"}, r"answered with a web page \(HTML\) in place of data"),
        ({"url": "/page.csv", "sha256": HASH}, r"answered with a web page \(HTML\) in place of data"),
        ({"url": "/none.csv"}, "cannot be fetched: 404"),
        ({"url": "/good.csv", "begins": b"time,"}, "begins with b'a,b"),
        ({"url": "/good.zip", "member": "own data.csv", "sha256": "0" * 64}, f"is {HASH}, expected 000"),
        ({"url": "/good.zip", "member": "else.csv"}, "no member 'else.csv' in the archive, found readme.txt"),
        (
            {"url": "/leaving.zip", "member": "own data.csv"},
            r"member '\.\./evil\.txt' of the archive leaves its folder",
        ),
        ({"url": "/good.csv", "member": "own data.csv"}, "expected a zip archive"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(server, tmp_path, options, message):
    url, _ = server
    options = {name: f"{url}{value}" if name == "url" else value for name, value in options.items()}
    with pytest.raises(InputError, match=message) as caught:
        fetch(Remote(path="set/own.csv", **options), tmp_path)
    assert "\n" not in str(caught.value)
    assert left_behind(tmp_path) == []


def test_what_is_refused_does_not_touch_what_was_there(server, tmp_path):
    url, _ = server
    (tmp_path / "own.csv").write_bytes(b"older")
    with pytest.raises(InputError):
        fetch(Remote(f"{url}/page.csv", "own.csv"), tmp_path)
    assert (tmp_path / "own.csv").read_bytes() == b"older"


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(fetching, "TIMEOUT", 1)
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/own.csv: cannot be fetched"):
        fetch(Remote("http://127.0.0.1:9/own.csv", "own.csv"), tmp_path)
