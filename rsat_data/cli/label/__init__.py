"""``rsat-data label``: relationships labelled by people in Label Studio. Verbs are imported when they are run."""

from __future__ import annotations

import click

from rsat_data.cli import LazyGroup

#: name -> (module, attribute, one-line help). Rows appear in ``--help`` in this order.
VERBS: dict[str, tuple[str, str, str]] = {
    "serve": ("rsat_data.cli.label.setup", "serve", "Start a label server on this machine, for this machine only."),
    "init": ("rsat_data.cli.label.setup", "init", "Make the project on the label server."),
    "doctor": ("rsat_data.cli.label.setup", "doctor", "Check token, server, versions, project and media."),
    "push": ("rsat_data.cli.label.push", "push", "Render clips for annotators and send them."),
    "pull": ("rsat_data.cli.label.pull", "pull", "Bring new votes into the dataset's votes table."),
    "agreement": ("rsat_data.cli.label.agreement", "agreement", "Measure how well annotators agree."),
    "adjudicate": ("rsat_data.cli.label.apply", "adjudicate", "Send what they do not agree on to a second project."),
    "apply": ("rsat_data.cli.label.apply", "apply", "Write agreed labels into the dataset."),
}

EPILOG = """\b
Examples:
  rsat-data label serve my_dataset
  rsat-data label init my_dataset --overlap 3
  rsat-data label push my_dataset --sample 300
  rsat-data label pull my_dataset
  rsat-data label agreement my_dataset
  rsat-data label apply my_dataset

\b
The server's address comes from --url, LABEL_STUDIO_URL, or what `serve` and `init` noted; the token from --token-file
or LABEL_STUDIO_API_KEY. docs/labelling.md tells more.
"""


class LabelGroup(LazyGroup):
    """The verbs of the labelling loop."""

    table = VERBS


@click.group(cls=LabelGroup, epilog=EPILOG)
def label() -> None:
    """Label relationships with people in Label Studio, and bring agreed labels into the dataset."""
