"""Free memory: what the machine has, unless a control group allows less."""

from pathlib import Path

import psutil
import pytest
import torch

from training.engine.device_memory import cgroup_free_bytes, free_bytes

GIB = 2**30


def write_group(folder: Path, limit: str, usage: int, cached: tuple[int, int] = (0, 0)) -> None:
    """A control group of version 2; cached: active and inactive pages of files, in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{usage}\n")
    statistics = f"anon 5\nfile 7\nactive_file {cached[0]}\ninactive_file {cached[1]}\nslab 9\n"
    (folder / "memory.stat").write_text(statistics)


def free_in(folder: Path, membership: str) -> int | None:
    (folder / "membership").write_text(membership)
    return cgroup_free_bytes(folder, folder / "membership")


def test_cached_files_count_as_free(tmp_path: Path) -> None:
    write_group(tmp_path, str(8 * GIB), 6 * GIB, cached=(GIB, 2 * GIB))
    assert free_in(tmp_path, "0::/\n") == 5 * GIB


def test_a_group_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    write_group(tmp_path, str(8 * GIB), 9 * GIB)
    assert free_in(tmp_path, "0::/\n") == 0


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [("max", str(4 * GIB), 3), (str(3 * GIB), "max", 2), (str(3 * GIB), str(9 * GIB), 2)],
)
def test_the_tightest_limit_of_all_levels_counts(
    tmp_path: Path, outer: str, inner: str, expected: int
) -> None:
    write_group(tmp_path / "jobs", outer, GIB)
    write_group(tmp_path / "jobs" / "job7", inner, GIB)
    write_group(tmp_path / "jobs" / "job8", str(GIB), GIB)
    assert free_in(tmp_path, "0::/jobs/job7\n") == expected * GIB


def test_a_container_that_sees_only_its_own_group(tmp_path: Path) -> None:
    write_group(tmp_path, str(2 * GIB), GIB)
    assert free_in(tmp_path, "0::/system.slice/docker-1234.scope\n") == GIB


@pytest.mark.parametrize("path", ["/", "/batch/job_7"])
def test_groups_of_version_1(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "memory" / path.lstrip("/")
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(f"{8 * GIB}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{5 * GIB}\n")
    statistics = f"active_file 1\ntotal_active_file {GIB}\ntotal_inactive_file {GIB}\n"
    (folder / "memory.stat").write_text(statistics)
    membership = f"5:devices:/elsewhere\n4:blkio,memory:{path}\n1:name=systemd:/\n0::/\n"
    assert free_in(tmp_path, membership) == 5 * GIB


@pytest.mark.parametrize(
    "membership", ["", "0::/\n", "nonsense\n", "4:memory:/\n", "3:cpu,cpuacct:/\n"]
)
def test_without_a_limit_there_is_no_figure(tmp_path: Path, membership: str) -> None:
    write_group(tmp_path, "max", GIB)
    assert free_in(tmp_path, membership) is None
    assert cgroup_free_bytes(tmp_path, tmp_path / "missing") is None


@pytest.mark.parametrize("name", ["memory.max", "memory.current", "memory.stat"])
def test_files_that_cannot_be_understood_set_no_limit(tmp_path: Path, name: str) -> None:
    write_group(tmp_path, str(8 * GIB), GIB)
    (tmp_path / name).write_text("what is this\n")
    assert free_in(tmp_path, "0::/\n") is None
    (tmp_path / name).unlink()
    assert free_in(tmp_path, "0::/\n") is None


def test_the_smaller_of_machine_and_group_is_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "membership").write_text("0::/\n")
    monkeypatch.setattr("training.engine.device_memory.CGROUP_FOLDER", tmp_path)
    monkeypatch.setattr("training.engine.device_memory.CGROUP_MEMBERSHIP", tmp_path / "membership")
    machine = psutil.virtual_memory().available
    assert free_bytes(torch.device("cpu")) == pytest.approx(machine, rel=0.2)
    write_group(tmp_path, "2000000", 500000)
    assert free_bytes(torch.device("cpu")) == 1500000
    write_group(tmp_path, str(2**60), 0)
    assert free_bytes(torch.device("cpu")) == pytest.approx(machine, rel=0.2)


def test_processes_of_a_training_share_what_is_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "membership").write_text("0::/\n")
    monkeypatch.setattr("training.engine.device_memory.CGROUP_FOLDER", tmp_path)
    monkeypatch.setattr("training.engine.device_memory.CGROUP_MEMBERSHIP", tmp_path / "membership")
    write_group(tmp_path, "2000000", 500000)
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert free_bytes(torch.device("cpu")) == 500000
