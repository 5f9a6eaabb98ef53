"""The model that is served: one predictor per worker, and the graphs that the page runs.

Contract: exported graphs, the released model among them, are served as they are. A run or a checkpoint is exported when
the server starts, into a folder that is gone again before the first request, so that the page and the service answer
alike. Where that cannot be, torch serves it, and a warning says what the page lacks.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from cleanplate.inference.opening import graphs_of
from cleanplate.inference.predictor import Predictor, load
from cleanplate.inference.runtimes import GRAPHS, RuntimeName
from cleanplate.network import checkpoint
from cleanplate.service.page import File, graph_files
from cleanplate.types import InputError


def open_served(model: Path, runtime: RuntimeName, workers: int) -> tuple[list[Predictor], dict[str, File]]:
    """The predictors, each with a runtime of one thread, and the graphs by the path they are served at.

    Raises InputError for an unusable model.
    """
    with _graphs(model) as graphs:
        source = model if graphs is None or runtime == "torch" else graphs
        predictors = [load(source, care=False, runtime=runtime, threads=1) for _ in range(workers)]
        files = {} if graphs is None else graph_files(graphs, GRAPHS)
    if graphs is not None and not files:
        _warn(f"{model} is no pair of {' and '.join(GRAPHS)}")
    return predictors, files


@contextmanager
def _graphs(model: Path) -> Generator[Path | None]:
    """The graphs of a model, for as long as this lasts; None where there are none, and none can be made."""
    graphs = graphs_of(model)
    if graphs is not None:
        yield graphs
        return
    checkpoint.find(model)
    with tempfile.TemporaryDirectory(prefix="cleanplate-") as folder:
        made = Path(folder) / "graphs"
        try:
            from cleanplate.export.export import export

            print(f"cleanplate: exporting {model}, so that the page can run it", file=sys.stderr, flush=True)
            export(model, made)
        except (InputError, ModuleNotFoundError) as error:
            _warn(f"{model} could not be exported: {error}")
            yield None
        else:
            # A network that only sees both pictures at once has one graph for both.
            yield graphs_of(made) or made / "model.onnx"


def _warn(why: str) -> None:
    print(f"cleanplate: warning: the page will have no model: {why}", file=sys.stderr, flush=True)
