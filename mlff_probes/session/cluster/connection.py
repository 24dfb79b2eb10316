"""The Dask cluster that `--probe-executor` names: one that runs already, or jobs that a batch system is asked for."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveFloat, PositiveInt

from mlff_probes.core.errors import InputError, describe
from mlff_probes.core.records import Record
from mlff_probes.core.toml import read_toml, validated

OPTION = "--probe-executor"
INSTALL = "pip install 'mlff-probes[cluster]'"
FORMS = "write dask:ADDRESS (tcp://host:8786, or a scheduler file) or dask-jobqueue:FILE.toml"
CONNECT_S = 10.0
PATIENCE_S = 60.0
"""How long a run waits where an existing scheduler has no worker, s."""

CLASSES = {
    "htcondor": "HTCondorCluster",
    "local": "LocalCluster",
    "lsf": "LSFCluster",
    "moab": "MoabCluster",
    "oar": "OARCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "slurm": "SLURMCluster",
}
"""By the name of a batch system the class of dask-jobqueue that submits to it; `local` starts processes here."""


class JobFile(Record):
    """The file after ``dask-jobqueue:``: to which batch system how many jobs of which kind are submitted.

    Attributes
    ----------
    system
        The batch system.
    jobs
        How many jobs are held; one that ends is submitted again.
    patience_min
        How long the run waits while no job runs, min.
    job
        What dask-jobqueue's class takes: ``queue``, ``cores``, ``processes``, ``memory``, ``walltime``, ….
    """

    system: Literal["htcondor", "local", "lsf", "moab", "oar", "pbs", "sge", "slurm"]
    jobs: PositiveInt = 1
    patience_min: PositiveFloat = 60.0
    job: dict[str, Any]


@dataclass
class Cluster:
    """A cluster that answers.

    Attributes
    ----------
    client
        Of Dask.
    name
        What messages call it.
    patience_s
        How long a run waits while it has no worker, s.
    close
        Ends the connection, and the jobs that were submitted for it.
    """

    client: Any
    name: str
    patience_s: float
    close: Callable[[], None]

    def workers(self) -> dict[str, int]:
        """The addresses of its workers, and how many things each does at once.

        Raises
        ------
        InputError
            If the scheduler is gone.
        """
        try:
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
        except Exception as error:
            raise InputError(self.name, f"its scheduler does not answer any more: {describe(error)}") from error
        return {address: worker["nthreads"] for address, worker in workers.items()}


def connected(given: str) -> Cluster:
    """The cluster that is `given` after `--probe-executor=`.

    Raises
    ------
    InputError
        If that names none, or it does not answer.
    """
    kind, _, target = given.partition(":")
    where = f"{OPTION}={given}"
    if kind not in ("dask", "dask-jobqueue") or not target:
        raise InputError(where, "names no executor", FORMS)
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise InputError(where, "needs distributed, which is not installed", INSTALL) from error
    # what matters of it is said by the run
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    return _existing(distributed, target, where) if kind == "dask" else _submitted(distributed, Path(target), where)


def _existing(distributed: Any, target: str, where: str) -> Cluster:
    file = Path(target).expanduser()
    if "://" not in target and file.suffix == ".json" and not file.is_file():
        raise InputError(where, f"there is no scheduler file {file}", FORMS)
    try:
        if file.is_file():
            client = distributed.Client(scheduler_file=str(file), timeout=CONNECT_S, set_as_default=False)
        else:
            client = distributed.Client(target, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:  # of whatever the address is made of
        raise InputError(
            where, f"no scheduler answers there: {describe(error)}", "start one with: dask scheduler"
        ) from error
    return Cluster(client, where, PATIENCE_S, client.close)


def _submitted(distributed: Any, file: Path, where: str) -> Cluster:
    file = file.expanduser()
    asked = validated(JobFile, read_toml(file), file)
    try:
        import dask_jobqueue
        from dask_jobqueue import local
    except ModuleNotFoundError as error:
        raise InputError(where, "needs dask-jobqueue, which is not installed", INSTALL) from error
    name = CLASSES[asked.system]
    kind = getattr(local if asked.system == "local" else dask_jobqueue, name)
    if command := getattr(kind.job_cls, "submit_command", None):
        program = shlex.split(command)[0]
        if shutil.which(program) is None:
            raise InputError(where, f"there is no {program} here", "start the run where jobs are submitted")
    # a process that measures two things at once would mix up their numbers of threads and warnings
    extra = [*asked.job.get("worker_extra_args", ()), "--nthreads", "1"]
    try:
        cluster = kind(**asked.job | {"worker_extra_args": extra})
        cluster.adapt(minimum_jobs=asked.jobs, maximum_jobs=asked.jobs)
        client = distributed.Client(cluster, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:  # a key that is missing or that it does not know
        raise InputError(file, f"[job] is refused by {name} of dask-jobqueue: {describe(error)}") from error

    def close() -> None:
        client.close()
        cluster.close()

    return Cluster(client, where, 60 * asked.patience_min, close)
