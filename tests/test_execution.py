"""What a notebook's kernel is given besides its parameters."""

import os

import nbformat
import pytest

from helpers.command import execution


@pytest.fixture
def kernel_environment(monkeypatch, tmp_path):
    """Execute a notebook whose kernel only shows its variables."""
    seen = {}

    def show(notebook, executed, parameters, kernel):
        seen.update(kernel.Kernel.variables)

    monkeypatch.setattr(execution, "_run_kernel", show)

    def execute(offline: bool = True) -> dict[str, str]:
        execution.execute(tmp_path / "any.ipynb", tmp_path / "executed.ipynb", {}, offline)
        return seen

    return execute


@pytest.mark.parametrize("offline", [True, False])
def test_the_hub_is_asked_only_where_the_text_comes_from_it(offline, kernel_environment, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert kernel_environment(offline).get("HF_HUB_OFFLINE") == ("1" if offline else None)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs Unix domain sockets")
def test_a_kernel_takes_no_network_port_that_another_could_take_first(tmp_path):
    source = "from ipykernel.connect import get_connection_info\nprint(get_connection_info(unpack=True)['transport'])"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), tmp_path / "kernel.ipynb")
    execution.execute(tmp_path / "kernel.ipynb", tmp_path / "executed.ipynb", {}, offline=True)
    assert nbformat.read(tmp_path / "executed.ipynb", as_version=4).cells[0].outputs[0].text == "ipc\n"


@pytest.mark.slow
def test_what_cells_print_is_in_the_notebook_and_what_a_kernel_says_as_it_ends_is_nowhere(tmp_path, capfd):
    source = "import atexit, os, sys\natexit.register(os.write, 2, b'noise')\nprint('said', file=sys.stderr)"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), tmp_path / "kernel.ipynb")
    execution.execute(tmp_path / "kernel.ipynb", tmp_path / "executed.ipynb", {}, offline=True)
    assert nbformat.read(tmp_path / "executed.ipynb", as_version=4).cells[0].outputs[0].text == "said\n"
    assert "noise" not in capfd.readouterr().err
