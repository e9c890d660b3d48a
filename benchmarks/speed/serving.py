"""Our side of a worker process: reads requests, calls the methods of one object, writes replies."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def serve(worker: Any) -> None:
    """Answer {"do": method, ...} from stdin with what the method returns, until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed must not mix with the replies
    for line in sys.stdin:
        request = json.loads(line)
        replies.write(json.dumps(getattr(worker, request.pop("do"))(**request)) + "\n")
