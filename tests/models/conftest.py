"""What the tests of the models room share: a lively network, and a web server on the loopback interface."""

import http.server
import threading
from pathlib import Path

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def lively():
    """Gives a model BatchNorm values as training leaves them: not the identity, and statistics of what flows through.

    Without it the signal of a randomly drawn deep network dies on the way, and every image gets the same logits.
    """
    return _lively


def _lively(model: nn.Module, size: int = 32) -> nn.Module:
    draw = torch.Generator().manual_seed(0)
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.weight.data.uniform_(0.5, 1.5, generator=draw)
        norm.bias.data.normal_(0, 0.2, generator=draw)
        norm.momentum = 1.0
    model.eval()
    for norm in norms:
        norm.train()
    with torch.no_grad():
        model(torch.rand(8, 3, size, size, generator=draw))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small gain nothing from a second thread, and lose much where another process wants the core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def images() -> torch.Tensor:
    """Four random images (4, 3, 32, 32) in [0, 1]."""
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty torch.hub cache of this test's own; the folder where its downloads land."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub" / "checkpoints"


@pytest.fixture
def website(tmp_path):
    """A folder served over HTTP: (folder, address, list of the paths that were asked for)."""
    folder, asked = tmp_path / "site", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, format, *args):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()
