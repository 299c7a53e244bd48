"""The entry point of the Flex Template: the launcher passes every parameter as an option.

It runs `kitelift run`, by default on Dataflow, and ends when the pipeline is built.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence

from pipeline.cli import main
from pipeline.commands.shared import arguments
from pipeline.engines import beam_options

FLAGS = ("--restart", "--verbose", "--yes")
"""Options without a value; as parameters they have the value true or false."""

IMAGE = "KITELIFT_IMAGE"
"""The variable with the name of this image, so that workers use the same image."""


def command_line(options_given: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Returns the arguments of `kitelift run` for the launcher's options."""
    image = environment.get(IMAGE, "")
    own = [f"--sdk_container_image={image}"] if image else []
    return ["run", "--quiet", "--runner=DataflowRunner", *own, *_known(options_given)]


def _known(options_given: Sequence[str]) -> Iterator[str]:
    """Yields the options that `kitelift run` knows, without those that the launcher adds.

    The names of parameters were already checked against metadata.json.
    """
    known = {*arguments.options_of("run"), *beam_options.names()}
    for word in options_given:
        name, equals, value = word.partition("=")
        if name in FLAGS and equals:
            if value.lower() == "true":
                yield name
        elif name not in known:
            sys.stderr.write(f"{name}: ignored\n")
        elif value or not equals:
            yield word


if __name__ == "__main__":
    raise SystemExit(main(command_line(sys.argv[1:], os.environ)))
