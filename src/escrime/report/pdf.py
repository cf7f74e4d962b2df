"""report.pdf: the page as an installed Chromium prints it."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..errors import EscrimeError
from ..files import whole

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No script runs and nothing is fetched, whatever the page says: first of all in its head.
ALONE = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; font-src data:; base-uri 'none'; form-action 'none'\">"
)
OFFLINE = (  # a proxy where nobody listens, for every host, this machine too
    "--proxy-server=http://127.0.0.1:9",
    "--proxy-bypass-list=<-loopback>",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--disable-background-networking",
)
PATIENCE = 180  # seconds; a page of 20 figures takes five


def browser() -> str:
    """The path of the first installed Chromium.

    Raises:
        EscrimeError: Where there is none.
    """
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise EscrimeError(
            f"a PDF is printed by Chromium, and none of {', '.join(BROWSERS)} is installed; install one, or use "
            "--format html or md, which need none."
        )
    return found


def print_pdf(page: Path | str, out: Path | str) -> Path:
    """Print an HTML file with all its folded parts open; `out` is written whole or not at all.

    The page may tell of a stranger's run: it is printed without scripts and without a network, in Chromium's sandbox. As root,
    whom Chromium gives no sandbox, only the first two stand between the page and the machine.

    Raises:
        EscrimeError: Without Chromium, or when it prints nothing.
    """
    program, out = browser(), Path(out)
    text = re.sub(r"<details(?![^>]*\bopen\b)", "<details open", Path(page).read_text(encoding="utf-8"))
    text = re.sub(r"<head[^>]*>", lambda head: head[0] + ALONE, text, count=1)
    with whole(out) as temporary:
        # Beside the result and not hidden: a Chromium in a sandbox of its own (snap) sees no other place.
        with tempfile.TemporaryDirectory(dir=out.resolve().parent, prefix="printing-", ignore_cleanup_errors=True) as folder:
            source, printed = Path(folder) / "page.html", Path(folder) / "page.pdf"
            source.write_text(text, encoding="utf-8")
            reason = run_browser(program, source, printed, Path(folder) / "profile")
            if not (printed.exists() and printed.read_bytes()[:5] == b"%PDF-"):
                raise EscrimeError(f"{program} printed no PDF ({reason}); use --format html or md, which need no browser.")
            shutil.copyfile(printed, temporary)
    return out


def run_browser(program: str, source: Path, printed: Path, profile: Path) -> str:
    """Run it; return the last line it printed, or how it failed."""
    command = [program, "--headless", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
    # The second flag is what older versions call the first.
    command += ["--no-pdf-header-footer", "--print-to-pdf-no-header", f"--print-to-pdf={printed}"]
    command += OFFLINE
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--no-sandbox")  # Chromium refuses to run as root with one
    try:
        done = subprocess.run([*command, source.as_uri()], capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"nothing in {PATIENCE} s"
    lines = done.stderr.strip().splitlines()
    return lines[-1].strip() if lines else f"exit code {done.returncode}"
