"""Jobs: what a worker process is asked to do, in one folder each."""

from DeepTranslateLib.jobs.events import STOP_FILE, Events, EventSink, Stopped, read_events

__all__ = ["STOP_FILE", "EventSink", "Events", "Stopped", "read_events"]
