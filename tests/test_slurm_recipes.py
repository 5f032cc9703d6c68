"""The scripts of cluster/, with stand-ins for Slurm's commands, and once with Ray itself."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.settings import PROJECT_FOLDER

SCRIPTS = sorted(
    path for path in (PROJECT_FOLDER / "cluster").iterdir() if path.suffix in (".sh", ".sbatch")
)
# As many tasks on this machine as are asked for; signals reach them all.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do
    [[ $1 == --ntasks=* ]] && number=${1#*=}
    shift
done
for ((task = 0; task < number; task++)); do
    SLURM_PROCID=$task "$@" &
    tasks+=("$!")
done
trap 'kill -USR2 "${tasks[@]}"' USR2
for task in "${tasks[@]}"; do
    wait "$task"
    while kill -0 "$task" 2> /dev/null; do wait "$task"; done
done
"""
SCONTROL = '#!/bin/bash\necho "$@" >> "$NOTES/scontrol"\n'
RAY = """#!/bin/bash
echo "$@" >> "$NOTES/ray"
trap 'echo ended >> "$NOTES/ray"; exit' TERM
while true; do sleep 0.05; done
"""
PYTHON = """#!/bin/bash
case "$*" in
    *token_hex*) exec "$PYTHON" "$@" ;;
    *get_node_ip_address*) echo 10.1.2.3 ;;
    *wait_for_nodes*)
        until [ "$(grep -c start "$NOTES/ray")" = "$2" ]; do sleep 0.05; done
        exit "${TOO_FEW:-0}" ;;
    *)
        echo "$*" >> "$NOTES/python"
        trap 'sleep 0.2; exit 143' TERM
        for ((i = 0; i < ${SECONDS_OF_RUN:-0} * 20; i++)); do sleep 0.05; done ;;
esac
"""
# Says what it sees, and ends in order when it is asked to.
COMMAND = """
env > "$NOTES/environment"
trap 'echo asked >> "$NOTES/asked"; sleep 1.5; touch "$NOTES/clean"; exit 143' TERM
touch "$NOTES/begun"
for ((i = 0; i < $1 * 20; i++)); do sleep 0.05; done
exit "$2"
"""
PATIENCE = 20.0


class Job:
    """A folder to run the scripts in, as a job of Slurm would be."""

    def __init__(self, folder: Path) -> None:
        self.notes = folder / "notes"
        self.ray_folder = folder / "ray"
        self.folder = folder / "project"
        self.bin = folder / "bin"
        for each in (self.notes, self.ray_folder, self.folder, self.bin):
            each.mkdir()
        shutil.copytree(PROJECT_FOLDER / "cluster", self.folder / "cluster")
        for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
            self.add(name, text)

    def add(self, name: str, text: str) -> None:
        """A command that stands in for another."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def start(
        self, script: str, *words: str, path: str = "", **environment: str
    ) -> "subprocess.Popen[str]":
        """Begin a script as Slurm does."""
        known = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
        slurm = {
            "SLURM_JOB_ID": "1234567",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_PER_TASK": "3",
            "SLURM_CPUS_ON_NODE": "3",
        }
        own = {
            "PATH": f"{self.bin}:{path or known['PATH']}",
            "NOTES": str(self.notes),
            "PYTHON": sys.executable,
            "RAY_FOLDER": str(self.ray_folder),
        }
        return subprocess.Popen(
            ["bash", f"cluster/{script}", *words],
            cwd=self.folder,
            env={**known, **slurm, **own, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def said(self, name: str) -> list[str]:
        """Lines that a stand-in wrote."""
        path = self.notes / name
        return path.read_text().splitlines() if path.exists() else []

    def wait_for(self, name: str) -> None:
        """Until a stand-in has written something."""
        deadline = time.monotonic() + PATIENCE
        while not (self.notes / name).exists():
            assert time.monotonic() < deadline, f"{name} was never written"
            time.sleep(0.02)

    def environment(self) -> Mapping[str, str]:
        """What the command saw."""
        pairs = (line.partition("=") for line in self.said("environment"))
        return {name: value for name, _, value in pairs}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job with stand-ins for Ray and Python as well."""
    made = Job(tmp_path)
    made.add("ray", RAY)
    made.add("python", PYTHON)
    return made


@contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """A process that does not outlive the block."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def command(seconds: float = 0, code: int = 0) -> tuple[str, ...]:
    return ("bash", "-c", COMMAND, "command", str(seconds), str(code))


def test_scripts_are_valid() -> None:
    assert {path.name for path in SCRIPTS} == {"array.sbatch", "ray.sbatch", "ray_node.sh"}
    for path in SCRIPTS:
        subprocess.run(["bash", "-n", path], check=True)


def test_a_command_finds_the_cluster_and_its_exit_code_is_the_jobs(job: Job) -> None:
    with ended(job.start("ray.sbatch", *command(code=5))) as process:
        assert process.wait(PATIENCE) == 5
    seen = job.environment()
    assert seen["RAY_ADDRESS"] == "10.1.2.3:24567"  # 20000 and the last four digits of the job
    assert seen["RAY_AUTH_MODE"] == "token"
    assert len(bytes.fromhex(seen["RAY_AUTH_TOKEN"])) == 32
    starts = [line for line in job.said("ray") if line.startswith("start")]
    assert len(starts) == 2
    (head,) = (line for line in starts if "--head" in line)
    (other,) = (line for line in starts if "--address=10.1.2.3:24567" in line)
    assert "--port=24567" in head
    assert "--node-ip-address=10.1.2.3" in head
    for line in starts:
        assert "--num-cpus=3" in line
        assert "--block" in line
    assert f"--temp-dir={job.ray_folder}/ray-1234567-0" in head
    assert f"--temp-dir={job.ray_folder}/ray-1234567-1" in other
    assert job.said("ray").count("ended") == 2
    assert list(job.ray_folder.iterdir()) == []
    assert job.said("scontrol") == []


def test_every_job_has_another_password(job: Job) -> None:
    tokens = set()
    for _ in range(2):
        with ended(job.start("ray.sbatch", *command())) as process:
            assert process.wait(PATIENCE) == 0
        tokens.add(job.environment()["RAY_AUTH_TOKEN"])
        (job.notes / "ray").unlink()
    assert len(tokens) == 2


@pytest.mark.parametrize(("number", "requeued"), [(signal.SIGTERM, False), (signal.SIGUSR1, True)])
def test_a_signal_lets_the_command_end_before_ray(
    job: Job, number: signal.Signals, requeued: bool
) -> None:
    with ended(job.start("ray.sbatch", *command(60))) as process:
        job.wait_for("begun")
        process.send_signal(number)
        assert process.wait(PATIENCE) == 143
    assert job.said("asked") == ["asked"]
    assert job.said("ray").count("ended") == 2
    assert job.said("scontrol") == (["requeue 1234567"] if requeued else [])


def test_a_second_signal_does_not_end_the_job_before_its_command(job: Job) -> None:
    with ended(job.start("ray.sbatch", *command(60))) as process:
        job.wait_for("begun")
        process.send_signal(signal.SIGUSR1)
        job.wait_for("asked")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
    assert (job.notes / "clean").exists()
    assert job.said("ray").count("ended") == 2


def test_what_ended_well_at_the_time_limit_is_not_begun_again(job: Job) -> None:
    stubborn = ("bash", "-c", 'trap "" TERM; touch "$NOTES/begun"; sleep 1')
    with ended(job.start("ray.sbatch", *stubborn)) as process:
        job.wait_for("begun")
        process.send_signal(signal.SIGUSR1)
        assert process.wait(PATIENCE) == 0
    assert job.said("scontrol") == []


def test_too_few_nodes_end_the_job(job: Job) -> None:
    with ended(job.start("ray.sbatch", *command(), TOO_FEW="1")) as process:
        assert process.wait(PATIENCE) == 1
    assert not (job.notes / "begun").exists()
    assert job.said("ray").count("ended") == 2


@pytest.mark.parametrize("script", ["ray.sbatch", "array.sbatch"])
def test_without_words_a_script_says_how_it_is_used(job: Job, script: str) -> None:
    with ended(job.start(script)) as process:
        _, complaint = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2
    assert complaint.startswith("usage: sbatch")


@pytest.mark.parametrize(("devices", "gpu"), [("", "-1"), ("3", "0")])
def test_a_task_of_an_array_runs_its_instance(job: Job, devices: str, gpu: str) -> None:
    array = {"SLURM_ARRAY_TASK_ID": "7", "CUDA_VISIBLE_DEVICES": devices}
    with ended(job.start("array.sbatch", "20", "--set", "seed=1", path="", **array)) as process:
        assert process.wait(PATIENCE) == 0
    assert job.said("python") == [f"experiments_manager.py [20] {gpu} 7 7 --set seed=1"]


def test_a_task_at_its_time_limit_is_begun_again(job: Job) -> None:
    array = {"SLURM_ARRAY_TASK_ID": "7", "SECONDS_OF_RUN": "60"}
    with ended(job.start("array.sbatch", "20", **array)) as process:
        job.wait_for("python")
        time.sleep(0.2)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(PATIENCE) == 143
    assert job.said("scontrol") == ["requeue 1234567"]


def test_ray_itself_starts_on_all_nodes_and_ends(tmp_path: Path) -> None:
    """The names of Ray's sockets must be short, so its folder is not pytest's."""
    job = Job(tmp_path)
    see = (
        "import ray; ray.init(address='auto', log_to_driver=False); "
        "print(len(ray.nodes()), ray.cluster_resources()['CPU'])"
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="r") as folder:
        own = {
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_CPUS_ON_NODE": "1",
            "RAY_FOLDER": folder,
            "RAY_HOST": "127.0.0.1",
            "RAY_OBJECT_STORE": "100000000",
        }
        with ended(job.start("ray.sbatch", "python", "-c", see, path=path, **own)) as process:
            output, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint
        assert output.splitlines() == ["Ray: 2 nodes, 2 cores", "2 2.0"]
        assert list(Path(folder).iterdir()) == []


def test_nodes_that_never_come_are_not_waited_for_for_ever() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nothing listens
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "cluster/wait_for_nodes.py", "2", "0.5"],
            cwd=PROJECT_FOLDER,
            env={**os.environ, "RAY_ADDRESS": address},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: 0 of 2 Ray nodes after 0.5 s"]
