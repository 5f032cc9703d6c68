"""Networks from the user's own files: what is imported from where, and what is said of mistakes."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from config.errors import UserError
from config.ini_files import load_settings
from training.models.registry import architecture_of, build_network

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, in_channels, depth=1, **others):
        super().__init__()
        self.others, self.seen = others, DEPTH
        self.head = nn.Linear(depth, num_classes)
"""


@pytest.fixture(autouse=True)
def imported_modules() -> Iterator[None]:
    """Forget what a test has imported."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("mine"):
            del sys.modules[name]


def declared(folder: Path, factory: str, **keys: Any) -> Any:
    """The network that an INI file in a folder declares."""
    folder.mkdir(exist_ok=True)
    lines = [f"{key} = {value}" for key, value in {"factory": factory, **keys}.items()]
    (folder / "my.ini").write_text("[network net]\n" + "\n".join(lines) + "\n")
    return load_settings(folder / "my.ini").networks["net"]


def built(network: Any) -> Any:
    return build_network(architecture_of(network, 3, 0.5), seed=0)


def test_two_folders_with_modules_of_the_same_names_are_not_confused(tmp_path: Path) -> None:
    path = list(sys.path)
    networks = []
    for depth in (2, 5):
        folder = tmp_path / f"study{depth}"
        (folder / "mine").mkdir(parents=True)
        (folder / "mine_helper.py").write_text(f"DEPTH = {depth}\n")
        (folder / "mine" / "__init__.py").write_text("")
        (folder / "mine" / "parts.py").write_text(f"NUMBER = {10 * depth}\n")
        text = f"from mine_helper import DEPTH\nfrom .parts import NUMBER\n{NET}"
        (folder / "mine" / "nets.py").write_text(text.replace("DEPTH\n   ", "DEPTH + NUMBER\n   "))
        networks.append(declared(folder, "mine.nets:Net", depth=depth))
    for network, seen in zip(networks + networks, (22, 55, 22, 55), strict=True):
        model = built(network)
        assert model.seen == seen
        assert model.head.in_features == network.options["depth"]
    assert sys.path == path


def test_a_factory_gets_the_keys_as_plain_values_and_the_width_if_it_takes_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine_nets.py").write_text(
        f"DEPTH = 1\n{NET}\ndef wide(num_classes, in_channels, width):\n"
        "    return Net(num_classes, in_channels, width=width)\n"
    )
    keys = {"a": "3", "b": "1e-3", "c": "True", "d": "None", "e": "mean pool"}
    others = built(declared(tmp_path, "mine_nets:Net", **keys)).others
    assert others == {"a": 3, "b": 1e-3, "c": True, "d": None, "e": "mean pool"}
    assert built(declared(tmp_path, "mine_nets:wide")).others == {"width": 0.5}
    assert built(declared(tmp_path, "mine_nets:wide", width=2)).others == {"width": 2}


def test_first_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    (tmp_path / "mine_nets.py").write_text(f"DEPTH = 1\n{NET}")
    architecture = architecture_of(declared(tmp_path, "mine_nets:Net"), 3, 1.0)
    state = torch.get_rng_state()
    first, again, other = (build_network(architecture, seed).head.weight for seed in (0, 0, 1))  # type: ignore[union-attr]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)  # type: ignore[arg-type]
    assert not torch.equal(first, other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("factory", "keys", "message"),
    [
        ("mine_net:Net", {}, "No module named 'mine_net'; modules are looked for in"),
        ("mine_nets:Nett", {}, r"mine_nets.py has no Nett; did you mean Net\?"),
        ("mine_nets:DEPTH", {}, "is nothing that can be called"),
        ("mine_nets:nothing", {}, "returned NoneType, must return a torch.nn.Module"),
        ("mine_nets:nothing", {"deep": 3}, "cannot be called with num_classes, in_channels, deep:"),
        ("mine_nets:needs", {}, "missing a required argument: 'depth'"),
        ("mine_nets:lazy", {}, "weight has no size yet; give lazy layers their sizes"),
        ("mine_broken:Net", {}, "No module named 'mine_missing_package'"),
        ("json:Net", {}, "json is .*json/__init__.py already; give that of .* another name"),
    ],
)
def test_what_is_no_factory_is_one_line(
    tmp_path: Path, factory: str, keys: dict[str, Any], message: str
) -> None:
    (tmp_path / "json.py").write_text("")
    (tmp_path / "mine_broken.py").write_text("import mine_missing_package\n")
    (tmp_path / "mine_nets.py").write_text(
        f"DEPTH = 1\n{NET}\ndef nothing(num_classes, in_channels):\n    pass\n"
        "def needs(num_classes, in_channels, depth):\n    pass\n"
        "def lazy(num_classes, in_channels):\n    return nn.LazyLinear(num_classes)\n"
    )
    with pytest.raises(UserError, match=message) as caught:
        built(declared(tmp_path, factory, **keys))
    assert f"my.ini [network net] factory = {factory}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_that_another_run_may_have_trained_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine_nets.py").write_text(
        f"DEPTH = 1\n{NET}\nKEPT = Net(3, 1)\n"
        "def kept(num_classes, in_channels):\n    return KEPT\n"
    )
    network = declared(tmp_path, "mine_nets:kept")
    built(network)
    with pytest.raises(UserError, match="returned the same module twice, must build a new one"):
        built(network)


@pytest.mark.parametrize("code", ["1 / 0", "def net(num_classes, in_channels):\n    1 / 0\n"])
def test_the_users_own_code_runs_when_a_network_is_built_and_raises_what_it_does(
    tmp_path: Path, code: str
) -> None:
    (tmp_path / "mine_nets.py").write_text(code)
    network = declared(tmp_path, "mine_nets:net")
    with pytest.raises(ZeroDivisionError):
        built(network)
