"""What the launcher of the Flex Template runs: a file, which gets every parameter as an option.

It runs `kitelift run`, on Dataflow unless told otherwise, and ends when the pipeline is built.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence

from pipeline.cli import main
from pipeline.commands import arguments
from pipeline.engines import options

FLAGS = ("--restart", "--verbose", "--yes")
"""Options without a value, which are parameters all the same: true or false."""

IMAGE = "KITELIFT_IMAGE"
"""The variable in which the image knows its own name, so that workers are made of it too."""


def command_line(given: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Returns the launcher's options as `kitelift run` takes them."""
    image = environment.get(IMAGE, "")
    own = [f"--sdk_container_image={image}"] if image else []
    return ["run", "--quiet", "--runner=DataflowRunner", *own, *_known(given)]


def _known(given: Sequence[str]) -> Iterator[str]:
    """The names of parameters were checked with metadata.json; the rest comes from the launcher."""
    known = {*arguments.options_of("run"), *options.names()}
    for word in given:
        name, equals, value = word.partition("=")
        if name in FLAGS and equals:
            if value.lower() == "true":
                yield name
        elif name not in known:
            sys.stderr.write(f"{name}: passed over\n")
        elif value or not equals:
            yield word


if __name__ == "__main__":
    raise SystemExit(main(command_line(sys.argv[1:], os.environ)))
