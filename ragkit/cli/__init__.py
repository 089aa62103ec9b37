"""The command line: ``ragkit index | sync | search | grep | trace | ask | eval | get | info | check | repair | compact | export |
snapshot | estimate | fetch``.

With ``--json`` one JSON document goes to stdout; progress and notices always go to stderr. The exit
code is 0 only on success, 2 on wrong usage, 1 otherwise, with one sentence on stderr (``--debug``
shows the traceback).
"""

from __future__ import annotations

import click

from ragkit.cli.documents import estimate, get, index, info, sync
from ragkit.cli.evaluate import evaluate
from ragkit.cli.models import fetch
from ragkit.cli.search import ask, grep, search, trace
from ragkit.cli.upkeep import check, compact, export, repair, snapshot


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ragkit")
def main() -> None:
    """Index documents, search them, and get answers with exact citations; all on this machine."""


for command in (index, sync, search, grep, trace, ask, get, info, check, repair, compact, export, snapshot, estimate, evaluate, fetch):
    main.add_command(command)
