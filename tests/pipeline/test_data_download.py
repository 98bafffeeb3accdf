import functools
import hashlib
import http.server
import threading

import pytest

from pipeline import data_download


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """A file server on loopback with one archive, and its URL."""
    root = tmp_path / "www"
    root.mkdir()
    (root / "ml-test.zip").write_bytes(b"archive")
    digest = hashlib.md5(b"archive").hexdigest()
    monkeypatch.setitem(data_download.ARCHIVES, "ml-test", data_download.Archive(f"md5:{digest}", 1))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield root, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_archive_is_fetched_once(archives, tmp_path):
    root, url = archives
    path = data_download.download("ml-test", str(tmp_path / "data"), url)
    assert path.read_bytes() == b"archive"
    (root / "ml-test.zip").unlink()
    assert data_download.download("ml-test", str(tmp_path / "data"), url) == path


def test_a_wrong_digest_leaves_nothing(archives, tmp_path):
    root, url = archives
    (root / "ml-test.zip").write_bytes(b"something else")
    with pytest.raises(ValueError, match="is not the archive that was expected"):
        data_download.download("ml-test", str(tmp_path / "data"), url)
    assert not list((tmp_path / "data").iterdir())


def test_no_network_is_said_clearly(tmp_path):
    with pytest.raises(ValueError, match=r"cannot reach http://127.0.0.1:9/ml-32m.zip .*matinee data sample"):
        data_download.download("ml-32m", str(tmp_path), "http://127.0.0.1:9")


def test_an_unknown_archive(tmp_path):
    with pytest.raises(ValueError, match="no archive 'ml-1b'; expected one of ml-latest-small"):
        data_download.download("ml-1b", str(tmp_path))
