"""``python -m ragkit`` is the command line."""

from ragkit.cli import main

main(prog_name="ragkit")
