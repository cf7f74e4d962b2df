"""Small image folders drawn on the spot, a web server on this machine, and the real Imagenette loaded once."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from escrime.data import load


def write_noise(path: Path, seed: int, size=(9, 7)) -> None:
    """Write an image of seeded noise, so that every file has pixels of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def save_noise():
    return write_noise


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("ESCRIME_CACHE", str(tmp_path / "default-cache"))


@pytest.fixture
def pets(tmp_path) -> Path:
    """DIR/train and DIR/val with two classes: 3 and 2 images of each."""
    root = tmp_path / "pets"
    for seed, (part, kind, row) in enumerate(
        [(part, kind, row) for part, n in (("train", 3), ("val", 2)) for kind in ("cat", "dog") for row in range(n)]
    ):
        write_noise(root / part / kind / f"{row}.png", seed)
    return root


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A folder and the address at which a server on this machine offers it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "web"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def real(imagenette_folder, tmp_path_factory):
    """(folder, cache, Imagenette at 64 px)."""
    cache = tmp_path_factory.mktemp("cache")
    return imagenette_folder, cache, load("imagenette", folder=imagenette_folder, size=64, cache=cache)
