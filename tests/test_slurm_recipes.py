"""The scripts of cluster/: the shell understands them, and what they call exists."""

import re
import subprocess
from pathlib import Path

import pytest

from config.text import PROJECT_FOLDER

RECIPES = [PROJECT_FOLDER / "cluster" / name for name in ("array.sbatch", "ray.sbatch")]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_what_a_recipe_calls_exists(recipe: Path) -> None:
    subprocess.run(["bash", "-n", recipe], check=True, timeout=20)
    text = recipe.read_text(encoding="utf-8")
    for script in re.findall(r"python (\S+\.py)", text):
        assert (PROJECT_FOLDER / script).is_file()
