"""Jobs: what a worker process is asked to do, in one folder each.

`descriptions` are the files of a job's folder, `events` what it reports, `process` the worker's
process as the operating system sees it, `client` what a panel or a script holds in its hand;
`crash` and `report` say what went wrong.
"""

from DeepTranslateLib.jobs.client import RunningJob, Worker, worker_environment
from DeepTranslateLib.jobs.descriptions import (
    AugmentJob,
    CheckJob,
    EstimateJob,
    ExportJob,
    Job,
    TrainJob,
    TranslateJob,
    job_kind,
    read_job,
    read_result,
    write_job,
    write_result,
)
from DeepTranslateLib.jobs.events import (
    FINISH_FILE,
    STOP_FILE,
    Events,
    EventSink,
    Stopped,
    read_events,
)
from DeepTranslateLib.jobs.report import JobError

__all__ = [
    "FINISH_FILE",
    "STOP_FILE",
    "AugmentJob",
    "CheckJob",
    "EstimateJob",
    "EventSink",
    "Events",
    "ExportJob",
    "Job",
    "JobError",
    "RunningJob",
    "Stopped",
    "TrainJob",
    "TranslateJob",
    "Worker",
    "job_kind",
    "read_events",
    "read_job",
    "read_result",
    "worker_environment",
    "write_job",
    "write_result",
]
