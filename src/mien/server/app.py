"""The application: each path parses, calls one thing, answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, JSONResponse, StreamingResponse

import mien
from mien.errors import UserError
from mien.server import query_parameters, schemas, static_files, uploads
from mien.server.error_responses import Gone, Refused, answer
from mien.server.metrics import GONE, Counted
from mien.server.security import Guard
from mien.server.service import Service
from mien.server.settings import Settings


class _Spaced(JSONResponse):
    """JSON as `json.dumps` writes it: scripts search answers for `"id": "`."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


def create(settings: Settings | None = None) -> FastAPI:
    """The application; models are loaded now, and what it opened is closed with its lifespan.

    Its `state.service` is the `Service`. Raises `UserError` for a model or detector that is not
    there.
    """
    settings = settings or Settings()
    service = Service(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(service.sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            service.stopping.set()
            await asyncio.to_thread(service.close)

    app = FastAPI(
        title="mien",
        version=mien.__version__,
        description=schemas.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its pages fetch scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    _add_pictures(app, service)
    _add_videos(app, service)
    _add_state(app, service)
    static_files.add(app)
    _add_refusals(app)
    app.add_middleware(Guard, settings=settings)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(Counted, metrics=service.metrics, slow=settings.slow)
    _describe(app, settings)
    return app


def _add_pictures(app: FastAPI, service: Service) -> None:
    @app.post(
        "/analyze",
        tags=["pictures"],
        summary="The faces on one picture or several, and what they show",
        openapi_extra={"requestBody": schemas.PICTURES},
        response_model=schemas.Record | list[schemas.Record],
        response_description="The record of the picture; of several pictures, a list of records.",
        responses=schemas.errors(408, 413, 415, 422, 503),
    )
    async def analyze(
        request: Request, asked: Annotated[query_parameters.Pictures, Query()]
    ) -> Response:
        body = await service.pictures.answer(request, *asked.by())
        return Response(body, media_type="application/json")

    @app.websocket("/live")
    async def live(socket: WebSocket, asked: Annotated[query_parameters.Live, Query()]) -> None:
        try:
            analyzer = await asyncio.to_thread(service.analyzers.take, *asked.by())
        except UserError as error:
            await socket.send_denial_response(answer(422, str(error)))
            return
        await service.live.serve(socket, analyzer, asked.smooth)


def _add_videos(app: FastAPI, service: Service) -> None:
    jobs = service.jobs

    @app.post(
        "/videos",
        status_code=202,
        tags=["videos"],
        summary="Have a video watched",
        openapi_extra={"requestBody": schemas.VIDEO},
        response_class=_Spaced,
        response_model=schemas.Job,
        response_description="It is analysed when it is its turn; see Location.",
        responses=schemas.errors(408, 413, 415, 422, 503),
    )
    async def post_video(
        request: Request, response: Response, asked: Annotated[query_parameters.Video, Query()]
    ) -> dict[str, Any]:
        job = await uploads.receive(request, jobs, asked.wanted(), service.settings)
        response.headers["Location"] = f"/videos/{job.id}"
        return job.record()

    @app.get(
        "/videos/{identity}",
        tags=["videos"],
        summary="How far a video is",
        response_class=_Spaced,
        response_model=schemas.Job,
        responses=schemas.errors(404, 422),
    )
    async def video(identity: str) -> dict[str, Any]:
        return jobs.get(identity).record()

    @app.get(
        "/videos/{identity}/events",
        tags=["videos"],
        summary="How far a video is, as server-sent events until it is over",
        response_class=StreamingResponse,
        responses={200: schemas.EVENTS, **schemas.errors(404, 422)},
    )
    async def events(identity: str) -> StreamingResponse:
        stream = uploads.events(jobs.get(identity), service.stopping)
        return StreamingResponse(stream, media_type="text/event-stream")

    @app.get(
        "/videos/{identity}/results/{name}",
        tags=["videos"],
        summary="One result of a video, as a file",
        response_class=FileResponse,
        responses={200: schemas.FILE, **schemas.errors(404, 409, 422)},
    )
    async def result(identity: str, name: str) -> FileResponse:
        return FileResponse(jobs.result(identity, name), filename=name)

    @app.delete(
        "/videos/{identity}",
        status_code=204,
        tags=["videos"],
        summary="Stop a video, and forget it and its results",
        responses=schemas.errors(404, 422),
    )
    async def remove(identity: str) -> Response:
        jobs.get(identity)
        await asyncio.to_thread(jobs.remove, identity)
        return Response(status_code=204)


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/models", tags=["state"], summary="The models and detectors that can be asked for",
             response_model=schemas.Models, responses=schemas.errors())  # fmt: skip
    async def models() -> dict[str, Any]:
        return await asyncio.to_thread(service.models)

    @app.get("/healthz", tags=["state"], summary="Whether the process lives",
             responses=schemas.errors())  # fmt: skip
    async def healthz() -> schemas.Status:
        return schemas.Status(status="alive")

    @app.get("/readyz", tags=["state"], summary="Whether it takes another picture now",
             responses=schemas.errors(503))  # fmt: skip
    async def readyz() -> schemas.Status:
        room = service.pictures.room
        if service.stopping.is_set() or room.taken >= room.most:
            raise Refused(503, "Not ready: it ends, or is full.", {"Retry-After": "1"})
        return schemas.Status(status="ready")

    @app.get("/metrics", tags=["state"], summary="Counters for Prometheus", response_class=Response,
             responses={200: {"content": {"text/plain": {}}}, **schemas.errors()})  # fmt: skip
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_refusals(app: FastAPI) -> None:
    """Whatever goes wrong is answered with one sentence, and nothing of how it is built."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return answer(error.status, str(error), error.headers)

    @app.exception_handler(UserError)
    async def mistake(_: Request, error: UserError) -> Response:
        return answer(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = first["loc"][1] if len(first["loc"]) > 1 else "the request"
        if first["type"] == "extra_forbidden":
            return answer(422, f"Nothing here is called {where}; /openapi.json tells what is.")
        return answer(422, f"{where}: {first['msg']}.")

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> Response:
        return answer(error.status_code, f"{error.detail}.", error.headers)

    @app.exception_handler(Gone)
    async def gone(_: Request, __: Gone) -> Response:
        return Response(status_code=GONE)

    @app.exception_handler(Exception)
    async def bug(_: Request, __: Exception) -> Response:
        # Its traceback is in the server's log.
        return answer(500, "This is a bug in mien; the service's log says more.")


def _describe(app: FastAPI, settings: Settings) -> None:
    made = app.openapi()
    if settings.token:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"token": []}]
    app.openapi_schema = made
