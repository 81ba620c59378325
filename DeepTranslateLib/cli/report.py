"""One printable page that shows what a model did, beside the truth where it is known.

Jinja2 and Matplotlib are the optional extra `report`, and are imported when they are needed.
"""

from __future__ import annotations

import base64
import importlib.util
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DeepTranslateLib.atomic import atomic_file
from DeepTranslateLib.cli.failures import CommandError


@dataclass(frozen=True)
class Comparison:
    """A label in one subject, as the model measures it and as it is.

    Args:
        subject: The subject's name.
        label: The label's name.
        volume_ml: Volume in the model's label map.
        true_volume_ml: Volume in the reference.
        dice: Overlap of the two, 0 to 1; None where the label is in neither.
    """

    subject: str
    label: str
    volume_ml: float
    true_volume_ml: float
    dice: float | None

    @property
    def volume_error_percent(self) -> float | None:
        """Measured minus true volume in % of the true one; None where there is no such tissue."""
        if self.true_volume_ml == 0:
            return None
        return 100 * (self.volume_ml - self.true_volume_ml) / self.true_volume_ml


@dataclass(frozen=True)
class Report:
    """What the page shows, from top to bottom. All texts are plain; the page escapes them.

    Args:
        title: Heading.
        summary: What was done, in a sentence or two.
        comparisons: Rows of the table.
        overlay: PNG of the images, and the text below it.
        overlay_caption: How to read it.
        curve: PNG of the training.
        curve_caption: How to read it.
        facts: Name and value of what describes the model.
        steps: How to do the same with one's own data: a sentence and a command each.
    """

    title: str
    summary: str
    comparisons: Sequence[Comparison]
    overlay: bytes
    overlay_caption: str
    curve: bytes
    curve_caption: str
    facts: Mapping[str, str]
    steps: Sequence[tuple[str, str]]


def require_packages() -> None:
    """Refuse to begin what could not be shown in the end.

    Raises:
        CommandError: Matplotlib or Jinja2 is not installed.
    """
    missing = [name for name in ("matplotlib", "jinja2") if not importlib.util.find_spec(name)]
    if missing:
        raise CommandError(
            f"The report needs the Python package(s) {' and '.join(missing)}, not installed here. "
            'Install them with: pip install "DeepTranslateLib[report]"'
        )


def training_history(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The `epoch` events of a run in their order, each epoch once.

    A run that was killed repeats the epochs since its last checkpoint: the last ones count.
    """
    epochs: dict[int, Mapping[str, Any]] = {}
    for event in events:
        kind = event.get("event")
        if kind == "training_started":
            epochs = {n: record for n, record in epochs.items() if n < event["epoch"]}
        elif kind == "epoch":
            epochs[event["epoch"]] = event
    return [epochs[number] for number in sorted(epochs)]


def number_text(value: float | None, style: str) -> str:
    """A number in a format such as "+.1f"; a dash where there is none."""
    return "–" if value is None else format(value, style).replace("-", "−")


def write_report(path: str | Path, report: Report) -> None:
    """Write the page: one HTML file, atomically, that needs no network and runs no script."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["number"] = number_text
    groups = [
        (subject, list(rows))
        for subject, rows in itertools.groupby(report.comparisons, key=lambda row: row.subject)
    ]
    html = environment.from_string(_PAGE).render(report=report, groups=groups)
    with atomic_file(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _data_uri(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>{{ report.title }}</title>
<style>
@page { size: A4; margin: 10mm 14mm; }
* { box-sizing: border-box; }
body { margin: 2.5rem auto; max-width: 56rem; padding: 0 1.5rem; background: #fff;
  color: #1c2733; font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  "Liberation Sans", sans-serif; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
h1 { margin: 0 0 .4rem; font-size: 1.7rem; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 1.7rem 0 .5rem; font-size: 1.05rem; break-after: avoid; }
p { margin: .3rem 0; }
.lead { max-width: 48rem; color: #3a4754; }
figure { margin: 0; break-inside: avoid; }
img { display: block; width: 100%; height: auto; }
.night img { border-radius: 6px; }
figcaption { margin-top: .35rem; color: #56626e; font-size: .85em; }
table { width: 100%; border-collapse: collapse; break-inside: avoid; }
th, td { padding: .28rem .6rem; text-align: left; vertical-align: baseline; }
thead th:first-child, th.subject { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { border-bottom: 1.5px solid #1c2733; font-size: .85em; }
tbody { border-bottom: 1px solid #d5dbe0; }
th.subject { font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; margin: 0; }
dt { color: #56626e; }
dd { margin: 0; }
pre { margin: .15rem 0 .6rem; padding: .5rem .7rem; border-radius: 4px; background: #f1f4f6;
  font: .85em/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.step { break-inside: avoid; }
@media print {
  body { margin: 0; max-width: none; padding: 0; font-size: 8.5pt; line-height: 1.35; }
  .lead { max-width: none; }
  h1 { font-size: 16pt; }
  h2 { margin: .8rem 0 .3rem; font-size: 10pt; }
  figure { width: 76%; margin: 0 auto; }
  pre { margin-bottom: .3rem; padding: .35rem .5rem; font-size: 7pt; }
  th, td { padding-top: .1rem; padding-bottom: .1rem; }
  .pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 2.5rem; }
}
</style>
</head>
<body>
<h1>{{ report.title }}</h1>
<p class="lead">{{ report.summary }}</p>

<h2>Result</h2>
<figure class="night">
<img src="{{ report.overlay | data_uri }}" alt="Slices with the labels that the model made"/>
<figcaption>{{ report.overlay_caption }}</figcaption>
</figure>

<h2>Volumes</h2>
<table>
<thead>
<tr><th>Subject</th><th>Tissue</th><th class="number">Measured (mL)</th>
<th class="number">Truth (mL)</th><th class="number">Error (%)</th><th class="number">Dice</th></tr>
</thead>
{% for subject, rows in groups %}
<tbody>
{% for row in rows %}
<tr>
{% if loop.first %}
<th class="subject" scope="rowgroup" rowspan="{{ rows | length }}">{{ subject }}</th>
{% endif %}
<td>{{ row.label }}</td>
<td class="number">{{ row.volume_ml | number(".1f") }}</td>
<td class="number">{{ row.true_volume_ml | number(".1f") }}</td>
<td class="number">{{ row.volume_error_percent | number("+.1f") }}</td>
<td class="number">{{ row.dice | number(".3f") }}</td>
</tr>
{% endfor %}
</tbody>
{% endfor %}
</table>

<h2>Training</h2>
<figure>
<img src="{{ report.curve | data_uri }}" alt="Loss and Dice over the epochs of the training"/>
<figcaption>{{ report.curve_caption }}</figcaption>
</figure>

<div class="pair">
<section>
<h2>Model</h2>
<dl>
{% for name, value in report.facts.items() %}
<dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl>
</section>
<section>
<h2>The same with your own data</h2>
{% for sentence, command in report.steps %}
<div class="step">
<p>{{ sentence }}</p>
<pre>{{ command }}</pre>
</div>
{% endfor %}
</section>
</div>
</body>
</html>
"""
