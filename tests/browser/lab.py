"""A JupyterLab server on a copy of the notebooks, and what a reader does in it."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import paths

if TYPE_CHECKING:
    from playwright.sync_api import Page

SHOWN = ("figures/pocket",)  # what cells show by relative paths; copied, since the server follows no links
TALLEST = 16_000  # pixels; Chromium draws no taller picture
WITHOUT_NEWS = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
QUIET = ("--no-browser", "--allow-root", "--ServerApp.port=0", "--IdentityProvider.token=")
CODE_CELLS = """() => {
    const notebook = window.jupyterapp?.shell.currentWidget?.content?.model;
    return notebook && [...notebook.cells].filter(cell => cell.type === "code").map(cell => ({
        count: cell.executionCount, state: cell.executionState, source: cell.sharedModel.source,
        outputs: cell.outputs.toJSON()}));
}"""
KERNEL_IS_IDLE = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
CLEARED = f"() => ({CODE_CELLS})().every(cell => cell.count === null && !cell.outputs.length)"
FINISHED = f"""() => {{
    const cells = ({CODE_CELLS})();
    return cells.some(cell => cell.outputs.some(output => output.output_type === "error"))
        || cells.every(cell => cell.count !== null && cell.state === "idle");
}}"""


@dataclass
class Lab:
    """A running server: its address (with a slash at the end) and the folder that it shows."""

    address: str
    folder: Path

    def open(self, page: "Page", notebook: str) -> None:
        """Open a notebook and wait until its kernel is there."""
        page.goto(f"{self.address}lab/tree/notebooks/{notebook}.ipynb?reset")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
        page.wait_for_function(KERNEL_IS_IDLE, timeout=120_000)

    def choose(self, page: "Page", menu: str, entry: str) -> None:
        """Choose from the menu bar, with the mouse."""
        page.locator("#jp-MainMenu .lm-MenuBar-item").get_by_text(menu, exact=True).click()
        page.locator(".lm-Menu .lm-Menu-itemLabel").get_by_text(entry, exact=True).click()

    def run_all(self, page: "Page", seconds: float) -> list[dict]:
        """Clear what is stored, run every cell; the code cells as they are then (`outputs`, `source`, `count`)."""
        self.choose(page, "Edit", "Clear Outputs of All Cells")
        page.wait_for_function(CLEARED)
        self.choose(page, "Run", "Run All Cells")
        page.wait_for_function(FINISHED, timeout=1000 * seconds, polling=500)
        return page.evaluate(CODE_CELLS)

    def red(self, cells: list[dict]) -> list[str]:
        """What a reader sees on red ground: errors, and what goes to stderr."""
        outputs = [output for cell in cells for output in cell["outputs"]]
        return [
            str(output.get("evalue", output.get("text")))
            for output in outputs
            if output["output_type"] == "error" or output.get("name") == "stderr"
        ]

    def show_all(self, page: "Page") -> None:
        """Make the window as tall as the notebook, so that every cell is drawn and a screenshot has them all."""
        page.set_viewport_size({"width": 1100, "height": TALLEST})
        page.wait_for_timeout(2000)
        outer = page.locator(".jp-WindowedPanel-outer:visible").first
        height = outer.evaluate("panel => { panel.scrollTop = 0; return panel.firstElementChild.scrollHeight; }")
        page.set_viewport_size({"width": 1100, "height": min(TALLEST, height + 200)})
        page.wait_for_timeout(1000)

    def end_kernel(self, page: "Page") -> None:
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")


@contextmanager
def serve(folder: Path, output: Path) -> Iterator[Lab]:
    """Copy the notebooks to `folder`, with what they show by relative paths, and serve it; they write to `output`."""
    shutil.copytree(paths.NOTEBOOKS, folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for name in SHOWN:
        shutil.copytree(paths.ROOT / name, folder / name)
    own = {f"JUPYTER_{kind}_DIR": str(folder / ".jupyter" / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    settings = Path(own["JUPYTER_CONFIG_DIR"], "labconfig", "page_config.json")
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(WITHOUT_NEWS))
    environment = {**os.environ, **own, paths.OUTPUT_VARIABLE: str(output)}
    arguments = [*QUIET, "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}"]
    with (folder / "server.log").open("w") as log:
        command = [sys.executable, "-m", "jupyter", "lab", *arguments]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield Lab(_address(Path(own["JUPYTER_RUNTIME_DIR"]), process), folder)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _address(runtime: Path, process: subprocess.Popen, seconds: float = 120) -> str:
    """What the server says of itself in its runtime folder, once it is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "JupyterLab has ended: see server.log in the test's folder"
        for said in runtime.glob("jpserver-*.json"):
            try:
                address = json.loads(said.read_text())["url"].replace("localhost", "127.0.0.1")
                urllib.request.urlopen(f"{address}api").close()
                return address
            except (OSError, ValueError):
                pass  # not listening yet, or the file is half written
        time.sleep(0.5)
    raise TimeoutError("JupyterLab did not start: see server.log in the test's folder")
