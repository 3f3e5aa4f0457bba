from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import annotation
from rsat_data.cli.label import VERBS

FUNCTIONS = ("init", "serve", "doctor", "push", "pull", "agreement", "adjudicate", "apply", "connect")


@pytest.mark.parametrize("name", annotation.__all__)
def test_everything_promised_is_there(name: str) -> None:
    assert callable(getattr(annotation, name)) and name in dir(annotation)


def test_verbs_stay_functions_whoever_imports_their_modules() -> None:
    for name in FUNCTIONS:
        if name not in ("init", "connect"):
            importlib.import_module(f"annotation.{'server' if name == 'serve' else name}")
        found = getattr(annotation, name)
        assert callable(found) and found.__name__ == name


def test_commands_of_the_table_exist() -> None:
    assert set(FUNCTIONS) - {"connect"} == set(VERBS)
    for name, (module, attribute, text) in VERBS.items():
        command = getattr(importlib.import_module(module), attribute)
        assert command.name == name and text.endswith(".")


def test_help_and_import_are_light() -> None:
    code = (
        "import sys\n"
        "from rsat_data.cli import run\n"
        "import annotation\n"
        "assert run(['label', '--help']) == 0\n"
        "heavy = {'label_studio_sdk', 'httpx', 'numpy', 'pyarrow', 'torch', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
