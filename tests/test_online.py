"""No network is found out in seconds, and said in those words."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from escrime import EscrimeError, load_model
from escrime.online import unreachable


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


def test_a_refused_and_a_silent_server_are_out_of_reach():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert unreachable(f"http://127.0.0.1:{port}/x", seconds=0.2) is not None
    assert "refused" in (unreachable(f"http://127.0.0.1:{port}/x") or "")


def test_a_server_that_says_no_is_there():
    class Refusing(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(403)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert unreachable(f"http://127.0.0.1:{server.server_port}/x") is None
        server.shutdown()
    assert unreachable("no url") is None


def test_torchvision_is_not_even_tried(monkeypatch, tmp_path):
    from torchvision.models import ResNet18_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("escrime.models.loading.sources.unreachable", lambda url: "no route")
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda self, **_: pytest.fail("tried"))
    with pytest.raises(EscrimeError, match="you seem to be offline .no route.; connect, or fetch http.*resnet18@FILE"):
        load_model("torchvision:resnet18")


@pytest.mark.parametrize("spec", ["timm:test_resnet", "hf:org/name"])
@pytest.mark.parametrize("reason", ["no route", None])
def test_the_hub_is_asked_once_and_then_its_cache_alone(spec, reason, monkeypatch):
    library = pytest.importorskip("timm" if spec.startswith("timm") else "transformers")
    constants = pytest.importorskip("huggingface_hub").constants
    before, seen = constants.HF_HUB_OFFLINE, []

    def load(*args, **kwargs):
        seen.append(constants.HF_HUB_OFFLINE)
        raise OSError("not in the cache")

    monkeypatch.setattr("escrime.models.loading.hubs.unreachable", lambda url: reason)
    if spec.startswith("timm"):
        monkeypatch.setattr(library, "create_model", load)
    else:
        monkeypatch.setattr(library.AutoConfig, "from_pretrained", load)
    said = "is not in the cache, and you seem to be offline .no route." if reason else "not in the cache.; (see|check)"
    with pytest.raises(EscrimeError, match=said):
        load_model(spec)
    assert seen == [reason is not None or before] and constants.HF_HUB_OFFLINE == before and socket.getdefaulttimeout() is None
