"""Preparation on a Ray cluster: the same bytes as on one machine, whatever becomes of its nodes."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from config.errors import UserError
from config.sections import Cluster
from config.settings import Settings, load_settings
from preprocessing import preprocessing_LIBRISPEECH
from preprocessing.pipeline import extraction, ray_processes, torchaudio_features
from preprocessing.pipeline.audio import Clip
from preprocessing.pipeline.block_store import BlockStore
from preprocessing.pipeline.blocks import extract_block
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Dataset
from preprocessing.pipeline.extraction import preprocess, preprocess_command
from preprocessing.pipeline.features import features_of_clips
from preprocessing.pipeline.jobs import Crew, crew_of, map_in_order
from preprocessing.pipeline.noise_mixing import Mixture, write_mixtures
from preprocessing.pipeline.ray_processes import in_ray, require_written

cluster_utils = pytest.importorskip("ray.cluster_utils")

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
# Ray believes in a node for some 15 s after its last word.
SOON_DEAD = {"health_check_period_ms": 300, "health_check_initial_delay_ms": 300}
NUM_CLIPS = 40
MISSING, SILENT = 11, 7
JOURNAL = "tiny_spectrum_fast_predictors.journal"

WriteWav = Callable[..., Path]
MakeSettings = Callable[..., Settings]
Prepare = Callable[..., dict[str, bytes]]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of two nodes with a core each, on this machine."""
    options = {"include_dashboard": False, "_system_config": SOON_DEAD}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={**NODE, **options})
    cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def cluster(nodes: Any) -> Cluster:
    return load_settings(overrides=on_ray(nodes)).cluster


def on_ray(nodes: Any) -> dict[str, str]:
    return {"cluster.launcher": "ray", "cluster.address": nodes.address}


def workers_of(nodes: Any) -> list[psutil.Process]:
    """Processes of the cluster that are at a task of this test, or wait for one."""
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes.list_all_nodes()]
    children = [child for raylet in raylets for child in psutil.Process(raylet).children()]
    return [child for child in children if child.cmdline()[0] in ("ray::_apply", "ray::IDLE")]


@pytest.fixture
def dataset(tmp_path: Path, write_wav: WriteWav, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Clips of 0.1 to 0.7 s as examples of 0.2 s; one is silent, one is gone when it is read."""
    monkeypatch.setattr(extraction, "BLOCK_CLIPS", 3)
    clips = []
    for number in range(NUM_CLIPS):
        path = tmp_path / "corpus" / f"c{number:02}.wav"
        peak = 0.01 if number == SILENT else 0.3
        write_wav(path, 0.1 + 0.6 * (number % 5) / 4, seed=number, peak=peak)
        clips.append(Clip(path, path.name, number % 3, f"class{number % 3}", path.name))
    clips[MISSING].path.unlink()
    return Dataset("tiny", "preprocessing_TINY", "test", 0.2, RANDOM_BY_CLIP, lambda _: clips)


@pytest.fixture
def prepare(dataset: Dataset, make_settings: MakeSettings, tmp_path: Path) -> Prepare:
    """Prepare the dataset into a folder of tmp_path; what the folder then holds."""

    def prepare(name: str, **changes: Any) -> dict[str, bytes]:
        folder = tmp_path / name
        preprocess(
            dataset, make_settings(output_folder=folder, max_skipped_fraction=0.1, **changes)
        )
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    return prepare


def take_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Each block takes longer, on the cluster, too: a function inside another is sent by value."""

    def slowly(*arguments: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return extract_block(*arguments, **options)

    monkeypatch.setattr(extraction, "extract_block", slowly)


def at_block(monkeypatch: pytest.MonkeyPatch, number: int, event: Callable[[], object]) -> None:
    """Have something happen before a block is written."""
    original, seen = BlockStore.add, []

    def add(store: BlockStore, *arguments: Any) -> None:
        seen.append(1)
        if len(seen) == number:
            event()
        original(store, *arguments)

    monkeypatch.setattr(BlockStore, "add", add)


class TestExtraction:
    def test_same_bytes_and_up_to_date_for_both(
        self, nodes: Any, prepare: Prepare, capsys: pytest.CaptureFixture[str]
    ) -> None:
        expected = prepare("local")
        assert prepare("ray", **on_ray(nodes)) == expected
        assert len(expected) == 6
        assert b"c11.wav" in expected["tiny_spectrum_fast_left_out.csv"]
        assert "2 cores of 2 nodes" in capsys.readouterr().err
        prepare("ray")
        prepare("local", **on_ray(nodes))
        assert capsys.readouterr().out.count("already there, unchanged") == 2

    def test_on_a_gpu_features_are_taken_here(
        self, nodes: Any, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = prepare("local")
        monkeypatch.setattr(torchaudio_features, "batched_features", features_of_clips)
        monkeypatch.setattr(torchaudio_features, "check_torchaudio", lambda _: None)
        output = prepare("ray", **on_ray(nodes), features_backend="torchaudio")
        different = {name for name in expected if output[name] != expected[name]}
        assert different == {"tiny_spectrum_fast_info.json"}

    def test_a_node_goes_another_comes_and_processes_are_killed(
        self, nodes: Any, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = prepare("local")
        killed: list[int] = []

        def disturb() -> None:
            node = next(node for node in nodes.worker_nodes)
            nodes.remove_node(node, allow_graceful=False)
            for worker in workers_of(nodes):
                worker.send_signal(signal.SIGKILL)
                killed.append(worker.pid)
            nodes.add_node(**NODE)

        take_time(monkeypatch, 0.2)
        at_block(monkeypatch, 3, disturb)
        assert prepare("ray", **on_ray(nodes)) == expected
        assert killed

    def test_interrupted_it_goes_on_where_it_stopped(
        self, nodes: Any, prepare: Prepare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        expected = prepare("local")

        def interrupt() -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            at_block(patch, 5, interrupt)
            with pytest.raises(KeyboardInterrupt):
                prepare("ray", **on_ray(nodes))
        assert (tmp_path / "ray" / JOURNAL).read_bytes().count(b"\n") == 1 + 4
        first_numbers = []

        def noting(task: Any, *arguments: Any, **options: Any) -> Any:
            first_numbers.append(task.first_number)
            return extract_block(task, *arguments, **options)

        monkeypatch.setattr(extraction, "extract_block", noting)
        assert prepare("ray") == expected
        assert first_numbers[0] == 4 * 3

    def test_without_ray_the_command_that_installs_it(
        self, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(UserError, match=r"pip install -r requirements-cluster\.txt$"):
            prepare("ray", **{"cluster.launcher": "ray"})


def test_mixtures_have_the_same_bytes(
    cluster: Cluster, tmp_path: Path, write_wav: WriteWav, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = [write_wav(tmp_path / f"s{n}.wav", 0.3 + 0.1 * n, seed=n) for n in range(3)]
    noise = [write_wav(tmp_path / f"n{n}.wav", 0.9, seed=10 + n) for n in range(2)]
    noise.append(tmp_path / "gone.wav")
    mixtures = [
        Mixture((speech[n % 3],), (noise[n % 2 if n != 4 else 2],), "x", None, (0.0, 5.0), files)
        for n, files in enumerate((f"{n}a.wav", f"{n}b.wav") for n in range(8))
    ]
    outputs: list[dict[str, bytes]] = []
    for crew in (Crew(1), Crew(0, cluster)):
        folder = tmp_path / f"mixed{len(outputs)}"
        write_mixtures(mixtures, folder, 16000, "decibel", crew, max_skipped_fraction=0.2)
        outputs.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert outputs[0] == outputs[1]
    assert len([name for name in outputs[0] if name.endswith(".wav")]) == 14
    monkeypatch.setattr(os, "access", lambda *_: True)  # as if this machine had it
    with pytest.raises(UserError, match=r"gone\.wav: node .* cannot read it"):
        write_mixtures(mixtures, tmp_path / "x", 16000, "decibel", Crew(0, cluster), 0.2)


class TestTasks:
    def test_large_results_in_order_though_the_node_that_holds_them_is_lost(
        self, nodes: Any, cluster: Cluster
    ) -> None:
        def fill(number: int) -> np.ndarray:
            return np.full(500_000, number, dtype=np.float32)

        for number, values in enumerate(in_ray(fill, range(16), cluster)):
            assert values.shape == (500_000,)
            assert (values == number).all()
            if number == 1:
                time.sleep(1.0)  # the next ones are finished, and lie on both nodes
                nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
                nodes.add_node(**NODE)

    def test_as_many_at_a_time_as_the_cluster_has_cores_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nodes = [{"Alive": True, "Resources": {"CPU": 4.0}}]
        reports: list[str] = []
        size = ray_processes._ClusterSize(SimpleNamespace(nodes=lambda: nodes), reports.append)
        assert size.tasks_in_flight(0) == 12
        assert size.tasks_in_flight(5) == 5
        nodes.append({"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}})
        nodes.append({"Alive": True, "Resources": {"memory": 1.0}})
        nodes.append({"Alive": False, "Resources": {"CPU": 8.0}})
        assert size.tasks_in_flight(0) == 12  # Ray was asked a moment ago
        monkeypatch.setattr(ray_processes, "LOOK_SECONDS", 0)
        assert size.tasks_in_flight(0) == 18
        nodes.clear()
        assert size.tasks_in_flight(0) == 3
        assert reports == ["4 cores of 1 nodes", "6 cores of 2 nodes", "0 cores of 0 nodes"]

    def test_few_at_a_time_and_none_left_when_closed(
        self, nodes: Any, cluster: Cluster, tmp_path: Path
    ) -> None:
        def note(number: int) -> int:
            (tmp_path / str(number)).touch()
            for _ in range(0 if number < 2 else 60_000):
                time.sleep(0.01)
                with (tmp_path / str(number)).open("a") as file:
                    file.write("still here")
            return number

        results = in_ray(note, range(100), cluster, most_at_once=4)
        assert [next(results), next(results)] == [0, 1]
        time.sleep(0.5)
        at_work = [worker.pid for worker in workers_of(nodes)]
        results.close()
        sizes = {path: path.stat().st_size for path in tmp_path.iterdir()}
        time.sleep(0.3)
        assert {path: path.stat().st_size for path in tmp_path.iterdir()} == sizes
        assert sum(sizes.values())
        assert at_work
        deadline = time.monotonic() + 10
        while any(map(psutil.pid_exists, at_work)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(psutil.pid_exists, at_work))
        assert {int(path.name) for path in tmp_path.iterdir()} <= set(range(5))

    def test_errors_come_as_they_were_raised(self, cluster: Cluster) -> None:
        def fail(number: int) -> int:
            if number == 3:
                raise OSError(28, "No space left on device", "/far/away.wav")
            return number

        seen = []
        with pytest.raises(OSError, match="No space left") as caught:
            for result in in_ray(fail, range(9), cluster):
                seen.append(result)
        assert type(caught.value) is OSError
        assert (caught.value.errno, caught.value.filename) == (28, "/far/away.wav")
        assert seen == [0, 1, 2]

    def test_a_task_that_kills_its_process_is_not_tried_for_ever(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ray_processes, "MAX_RETRIES", 1)
        with pytest.raises(UserError, match=r"killed 2 times.*--set workers=<number>$"):
            list(in_ray(lambda _: os.kill(os.getpid(), signal.SIGKILL), [1], cluster))

    def test_a_node_that_lacks_the_project(
        self, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "only_here.py").write_text("def work(number):\n    return number\n")
        monkeypatch.syspath_prepend(tmp_path)
        only_here = import_module("only_here")
        with pytest.raises(UserError, match=r"cannot run this project .*only_here.*pip install"):
            list(in_ray(only_here.work, [1], cluster))

    def test_a_file_that_only_this_machine_can_read(
        self, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The nodes, which are other processes, see no file; this process believes it does."""
        tasks = [tmp_path / "a.wav"]
        crew = Crew(0, cluster)
        options: Any = {"description": "x", "unit": "y", "files_of": lambda path: [path]}
        assert list(map_in_order(lambda _: 5, tasks, crew, **options)) == [5]
        monkeypatch.setattr(os, "access", lambda *_: True)
        with pytest.raises(UserError, match=rf"a\.wav: node {os.uname().nodename} cannot read it"):
            list(map_in_order(lambda _: 5, tasks, crew, **options))


class TestWritten:
    def test_a_file_may_appear_late(self, tmp_path: Path) -> None:
        timer = threading.Timer(0.3, (tmp_path / "late.wav").touch)
        timer.start()
        require_written([tmp_path / "late.wav"])
        timer.join()

    def test_a_file_on_another_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ray_processes, "APPEARANCE_SECONDS", 0.1)
        with pytest.raises(UserError, match=r"never\.wav: a node .* same path$"):
            require_written([tmp_path / "never.wav"])


@pytest.mark.parametrize("script", ["of its own parser", "of preparation_command"])
def test_launcher_on_the_command_line(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    for module in (extraction, preprocessing_LIBRISPEECH):
        monkeypatch.setattr(module, "preprocess", lambda _, settings: seen.append(settings))
    monkeypatch.setattr(sys, "argv", ["x", "--launcher", "ray", "--address", "head:6379"])
    dataset = Dataset("tiny", "x", "test", 0.2, RANDOM_BY_CLIP, lambda _: [])
    with pytest.raises(SystemExit) as ended:
        preprocess_command(dataset) if "command" in script else preprocessing_LIBRISPEECH.main()
    assert not ended.value.code
    monkeypatch.setattr("preprocessing.pipeline.jobs.require_cluster", lambda _: None)
    crew = crew_of(seen[0])
    assert crew.cluster is not None
    assert crew.cluster.address == "head:6379"
    assert crew_of(load_settings()) == Crew(load_settings().preprocessing.workers)
