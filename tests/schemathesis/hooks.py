"""Puts ids that exist into requests that schemathesis made up, so that its calls get behind the first "no such object". Loaded by
schemathesis itself; `run.py` says which ids there are. Requests that are meant to be refused stay as they are.
"""

import json
import os
import zlib

import schemathesis

# Values by the name of a parameter or field, in either spelling.
KNOWN = json.loads(os.environ["CAUSEWAY_KNOWN"])
# Of how many requests one is left as it was made up.
MADE_UP_EVERY = 4


def known(name, seed):
    values = KNOWN.get(name.replace("_", "").lower())
    return values[seed % len(values)] if values else None


def fill(container, seed):
    """Replaces what is there under a known name; in bodies at every depth."""
    if isinstance(container, dict):
        for name, value in container.items():
            replacement = known(name, seed)
            if isinstance(value, str) and replacement is not None:
                container[name] = replacement
            else:
                fill(value, seed)
    elif isinstance(container, list):
        for value in container:
            fill(value, seed)


@schemathesis.hook
def map_case(context, case):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    # The choice depends on the request alone: a failure that is found is found again.
    seed = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode())
    if seed % MADE_UP_EVERY:
        for container in (case.path_parameters, case.query, case.body):
            fill(container, seed // MADE_UP_EVERY)
    return case
