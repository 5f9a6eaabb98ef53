"""The application: the service's routes, each a few lines between a request and the desk.

Contract: /openapi.json says exactly what is here. Whatever is wrong with a request is answered 4xx, and whatever the
server cannot do now 503 or 504, as {"error": "what was given, what is expected, what to do"}.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from cleanplate import __version__
from cleanplate.inference.predictor import Predictor
from cleanplate.service import describe
from cleanplate.service.answers import Figures, Kind, Part, Wish
from cleanplate.service.bodies import ClientDisconnect, needed, take_pictures
from cleanplate.service.describe import BODY, Examined, Health, Kept, problems
from cleanplate.service.desk import Desk
from cleanplate.service.guard import Guard, problem
from cleanplate.service.limits import MEGA, Held, Limits, RefusedError
from cleanplate.service.metrics import CONTENT_TYPE, Metrics
from cleanplate.service.page import File, routes
from cleanplate.service.plates import Plates
from cleanplate.service.work import Work

T = TypeVar("T")
router = APIRouter()


@dataclass(frozen=True)
class Service:
    """All that the routes share. model, depth: what is served, for /health."""

    limits: Limits
    plates: Plates
    work: Work
    desk: Desk
    metrics: Metrics
    model: str
    depth: str

    async def do(self, request: Request, call: Callable[[Predictor], T]) -> T:
        """What a worker makes of a request; none of it if the client leaves before that begins."""
        job = asyncio.ensure_future(self.work.do(call))
        left = asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait((job, left), return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                raise ClientDisconnect
            return job.result()
        finally:
            for task in (job, left):
                task.cancel()


def service_of(request: Request) -> Service:
    """The service that a request is for."""
    return request.app.state.service


Served = Annotated[Service, Depends(service_of)]


@router.post(
    "/plates",
    status_code=201,
    response_model=Kept,
    responses=problems(*BODY),
    openapi_extra=describe.PLATE,
    tags=["plates"],
)
async def keep_plate(request: Request, service: Served) -> Response:
    """Keep a plate, with its depth if that is known, for the frames to come."""
    service.work.check()
    pictures = await take_pictures(request, service.limits, "plate", ("plate", "depth"))
    picture, depth = needed(pictures, "plate"), pictures.get("depth")
    plate = await service.do(request, lambda predictor: service.desk.keep(predictor, picture, depth))
    height, width = plate.size
    kept = Kept(plate.id, width, height, plate.depth is not None, service.limits.plate_minutes * 60)
    return JSONResponse(asdict(kept), 201, {"Location": f"/plates/{plate.id}"})


@router.delete("/plates/{id}", status_code=204, response_class=Response, responses=problems(404, 422), tags=["plates"])
async def forget_plate(id: str, service: Served) -> Response:
    """Forget a plate before its time."""
    service.plates.forget(id)
    return Response(status_code=204)


@router.post(
    "/plates/{id}/frames",
    response_model=Figures,
    responses={200: {"content": describe.PICTURE_ANSWERS, "description": describe.SAID}, **problems(404, 406, *BODY)},
    openapi_extra=describe.FRAME,
    tags=["plates"],
)
async def answer_frame(
    request: Request,
    service: Served,
    id: str,
    answer: Annotated[Kind | None, Query(description="The form of the answer; by default, what Accept says")] = None,
    include: Annotated[list[Part], Query(description="Pictures within the JSON answer, max. one of each")] = [],  # noqa: B006
    fit: Annotated[bool, Query(description="Stretch the plate to a frame of another size")] = False,
    care: Annotated[bool, Query(description="Bring the frame to the plate first: its place, its exposure")] = True,
) -> Response:
    """What stands in front of the plate in this frame, and how far away everything is.

    JSON holds figures; a mask is an 8-bit PNG, a cutout an RGBA one, a depth 16-bit millimetres. Without `answer`, an
    Accept of image/png means the mask, and any other JSON.
    """
    wish = Wish(answer or accepted(request.headers.get("accept", "*/*")), tuple(include), fit, care)
    plate = service.plates.of(id)
    service.work.check()
    pictures = await take_pictures(request, service.limits, "frame", ("frame",))
    picture = needed(pictures, "frame")
    found = await service.do(request, lambda predictor: service.desk.answer(predictor, plate, picture, wish))
    if found.figures is not None:
        return JSONResponse(asdict(found.figures))
    return Response(found.png, media_type="image/png", headers=found.headers)


@router.post(
    "/doctor", response_model=Examined, responses=problems(*BODY), openapi_extra=describe.DOCTOR, tags=["doctor"]
)
async def examine_pair(request: Request, service: Served) -> Response:
    """What is wrong between a plate and a frame, what is corrected, and what to do."""
    service.work.check()
    pictures = await take_pictures(request, service.limits, None, ("plate", "frame"))
    plate, frame = needed(pictures, "plate"), needed(pictures, "frame")
    figures, said = await service.do(request, lambda _: service.desk.examined(plate, frame))
    return JSONResponse({"words": said, "figures": asdict(figures)})


@router.get("/health", response_model=Health, responses={503: {"model": Health}, **problems()}, tags=["server"])
async def health(service: Served) -> Response:
    """Whether the server can work: 200, or 503 while it cannot. That it answers says that it lives."""
    ready = service.work.ready
    said = Health(live=True, ready=ready, model=service.model, depth=service.depth, version=__version__)
    return JSONResponse(asdict(said), 200 if ready else 503)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=problems(),
    tags=["server"],
)
async def metrics(service: Served) -> Response:
    """Counters and histograms, for Prometheus."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def accepted(accept: str) -> Kind:
    """The answer that an Accept header means. Raises RefusedError (406)."""
    ranges = [part.partition(";") for part in accept.lower().split(",")]
    kinds = [kind.strip() for kind, _, parameters in ranges if parameters.strip().rstrip(".0") != "q="]
    for kind in kinds:
        if kind in ("image/png", "image/*"):
            return "mask"
        if kind in ("application/json", "application/*", "*/*", ""):
            return "json"
    raise RefusedError(406, f"Accept is {accept[:80]}: ask for application/json or image/png, or say answer=mask, ...")


def create_app(
    predictors: Sequence[Predictor],
    limits: Limits | None = None,
    model: str = "released",
    files: dict[str, File] | None = None,
    names: frozenset[str] = frozenset(),
) -> Guard:
    """The service as an ASGI application.

    predictors: one per worker, of one model. model: its name, for people. files: what else is served, by its path.
    names: the Host names that requests may carry, lower case; none = any.
    """
    limits, meter = limits or Limits(), Metrics()
    limits.check()
    plates, work, held = Plates(limits), Work(predictors, limits), Held(limits.held_mb * MEGA)
    meter.watch(plates, work, lambda: held.bytes)
    app = FastAPI(
        title="cleanplate",
        version=__version__,
        description=describe.SUMMARY,
        docs_url=None,  # FastAPI's pages of documentation fetch their scripts from elsewhere
        redoc_url=None,
        lifespan=_working,
        redirect_slashes=False,
    )
    app.router.routes.extend(routes(files or {}))
    app.include_router(router)
    app.state.service = Service(
        limits, plates, work, Desk(limits, plates, meter.part), meter, model, predictors[0].depth_kind
    )
    for kind, answer in ((RefusedError, _refused), (ClientDisconnect, _gone), (RequestValidationError, _unfit),
                         (HTTPException, _unknown), (Exception, _broken)):  # fmt: skip
        app.add_exception_handler(kind, answer)
    return Guard(app, meter, held, names)


@asynccontextmanager
async def _working(app: FastAPI) -> AsyncGenerator[None]:
    """The workers live as long as the server does, and finish what they have."""
    work: Work = app.state.service.work
    work.start()
    yield
    await asyncio.to_thread(work.stop)


async def _refused(_: Request, error: Any) -> Response:
    return problem(error.status, error.message, error.headers)


async def _gone(_: Request, error: Any) -> Response:
    del error
    return problem(499, "the client has left")


async def _unfit(_: Request, error: Any) -> Response:
    said = "; ".join(f"{each['loc'][-1]}={str(each.get('input'))[:40]!r}: {each['msg']}" for each in error.errors())
    return problem(422, f"{said}; /openapi.json says what is expected")


async def _unknown(request: Request, error: Any) -> Response:
    said = {404: "there is nothing at this path", 405: f"this path takes no {request.method[:20]}"}
    return problem(error.status_code, f"{said.get(error.status_code, error.detail)}: see /openapi.json", error.headers)


async def _broken(_: Request, error: Any) -> Response:
    del error  # the server's log has it; it is none of the client's business
    return problem(500, "the server failed at this request, which is its own fault: its log says more")
