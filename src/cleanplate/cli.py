"""The command line: one verb, a frozen dataclass of verbs/, from its flags. Heavy imports stay behind the verbs."""

from __future__ import annotations

import sys
from typing import Annotated

import tyro

from cleanplate import __version__
from cleanplate.extras import told
from cleanplate.types import InputError
from cleanplate.verbs.care import Doctor
from cleanplate.verbs.models import Bench, Compare, Evaluate, Predict, Report, Summary, Train
from cleanplate.verbs.scenes import Compose, Inspect, Label
from cleanplate.verbs.serving import Export, Serve

DESCRIPTION = "Two folders of pictures in; a network for what stands in front, and how far away, out."

Verb = (
    Annotated[Inspect, tyro.conf.subcommand("inspect")]
    | Annotated[Compose, tyro.conf.subcommand("compose")]
    | Annotated[Label, tyro.conf.subcommand("label")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Summary, tyro.conf.subcommand("summary")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Doctor, tyro.conf.subcommand("doctor")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run one verb. Returns 0, or 2 after an error in what was given (its message goes to standard error)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"cleanplate {__version__}")
        return 0
    verb = tyro.cli(Verb, args=arguments, prog="cleanplate", description=DESCRIPTION)
    try:
        with told():
            verb.run()
    except InputError as error:
        print(f"cleanplate: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        print(
            f"cleanplate: {stopped if stopped.args else 'stopped; the same command goes on from here'}", file=sys.stderr
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
