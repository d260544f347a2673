"""A Slurm of two nodes on this machine: slurmctld and two slurmd on loopback, without munge, accounts or cgroups.

Jobs find the configuration in ``/etc/slurm`` alone, so that it is written there while the cluster runs; a machine that
has a Slurm of its own is left alone.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

CONFIGURATION = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
NODES = ("loopback1", "loopback2")
SETTINGS = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MinJobAge=3600
SlurmdTimeout=6
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
PartitionName=all Nodes={nodes} Default=YES State=UP
"""
NODE = "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory={memory}\n"


def why_not() -> str | None:
    """Why no cluster can be started here; none where it can."""
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"Slurm is not installed, {missing[0]} is missing: apt install slurm-wlm"
    if os.geteuid() != 0:
        return f"only root can write {CONFIGURATION}"
    if CONFIGURATION.exists():
        return f"this machine has a Slurm of its own ({CONFIGURATION})"
    return None


@contextmanager
def running(folder: Path) -> Iterator["Cluster"]:
    """A cluster of two nodes of one processor each, with its state and logs in ``folder``, until the block ends."""
    controller, *ports = _free_ports(1 + len(NODES))
    shared = {"host": socket.gethostname(), "memory": psutil.virtual_memory().total * 9 // 10 // 2**20}
    settings = SETTINGS.format(controller=controller, folder=folder, nodes=",".join(NODES), **shared)
    nodes = [NODE.format(node=node, port=port, **shared) for node, port in zip(NODES, ports, strict=True)]
    (folder / "state").mkdir(parents=True)
    cluster = Cluster(folder)
    CONFIGURATION.write_text(settings + "".join(nodes), encoding="utf8")
    try:
        cluster.start("slurmctld", ["slurmctld", "-i"])
        for node in NODES:
            cluster.start_node(node)
        yield cluster
    finally:
        CONFIGURATION.unlink()
        for node in NODES:
            cluster.kill_node(node)
        cluster.kill("slurmctld")


class Cluster:
    """Daemons by name: the controller's, and one of each node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: dict[str, subprocess.Popen] = {}

    def start(self, name: str, command: list[str]) -> None:
        """Start a daemon; what it says goes to a file."""
        with (self.folder / f"{name}.out").open("a") as said:
            self.daemons[name] = subprocess.Popen([*command, "-D"], stdout=said, stderr=said, start_new_session=True)

    def kill(self, name: str) -> None:
        """End a daemon, if it has been started."""
        if daemon := self.daemons.pop(name, None):
            daemon.kill()
            daemon.wait()

    def start_node(self, node: str) -> None:
        """Start a node, and wait until jobs can be sent to it."""
        (self.folder / node).mkdir(exist_ok=True)
        self.start(node, ["slurmd", "-N", node])
        wait_for(lambda: _ask("sinfo", "--noheader", f"--nodes={node}", "--format=%t").startswith(("idle", "mix")))

    def kill_node(self, node: str) -> None:
        """End all of a node at once, as when its power fails: its daemon, and whatever its jobs have started."""
        self.kill(node)
        for process in processes(node):
            with suppress(psutil.NoSuchProcess):
                parent = process.parent()
                if parent and parent.name() == "slurmstepd":  # first, so that it cannot say how its job ended
                    parent.kill()
                process.kill()

    def jobs(self) -> list[tuple[str, str, str]]:
        """State, node and comment of every job that was ever submitted, the first first."""
        lines = _ask("squeue", "--noheader", "--states=all", "--sort=i", "--format=%T|%N|%k").splitlines()
        return [tuple(line.split("|")) for line in lines]


def processes(node: str) -> list[psutil.Process]:
    """What the jobs on a node have started."""
    every = psutil.process_iter(["environ", "cmdline"])
    return [process for process in every if (process.info["environ"] or {}).get("SLURMD_NODENAME") == node]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so. Raises ``TimeoutError``."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not so within {seconds} seconds")
        time.sleep(0.2)


def _ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
