"""Create the FastAPI application: routes, middleware and error handlers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, JSONResponse, StreamingResponse

import mien
from mien.errors import UserError
from mien.server import query_parameters, routing, schemas, static_files, uploads
from mien.server.backend import Backend
from mien.server.error_responses import ClientDisconnected, RequestError, error_response
from mien.server.metrics import CLIENT_CLOSED_REQUEST, RequestMetricsMiddleware
from mien.server.security import SecurityMiddleware
from mien.server.settings import Settings


class _SpacedJSONResponse(JSONResponse):
    """JSON with a space after each colon, as the shell examples in docs/serve.md expect."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


def create_app(settings: Settings | None = None) -> FastAPI:
    """Create the application and load its models.

    Args:
        settings: Settings of the server; None for the default settings.

    Returns:
        The application. Its `state.backend` is the `Backend`, which is closed at shutdown.

    Raises:
        UserError: The default model or detector is unknown, or the model cannot be read.
    """
    settings = settings or Settings()
    backend = Backend(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        cleanup_task = asyncio.create_task(backend.clean_up())
        try:
            yield
        finally:
            cleanup_task.cancel()
            backend.shutdown_event.set()
            await asyncio.to_thread(backend.close)

    app = FastAPI(
        title="mien",
        version=mien.__version__,
        description=schemas.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's documentation pages load scripts from other servers
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.backend = backend
    _add_image_routes(app, backend)
    _add_upload_route(app, backend)
    _add_job_routes(app, backend)
    _add_server_routes(app, backend)
    static_files.add_routes(app)
    _add_error_handlers(app)
    _add_middleware(app, backend)
    _generate_openapi_schema(app, settings)
    routing.redirect_trailing_slashes(app)
    routing.allow_head(app)
    return app


def _add_image_routes(app: FastAPI, backend: Backend) -> None:
    @app.post(
        "/analyze",
        tags=["images"],
        summary="Detect the faces in images and estimate their emotions",
        openapi_extra={"requestBody": schemas.IMAGE_BODY},
        response_model=schemas.FrameRecord | list[schemas.FrameRecord | schemas.ImageError],
        response_description="The frame record of one image, or a list with a frame record or an "
        "error for each of several images.",
        responses=schemas.error_statuses(408, 413, 415, 422, 503),
    )
    async def analyze(
        request: Request, query: Annotated[query_parameters.ImageQuery, Query()]
    ) -> Response:
        body = await backend.images.analyze(request, *query.analyzer_key())
        return Response(body, media_type="application/json")

    @app.websocket("/live")
    async def live(
        socket: WebSocket, query: Annotated[query_parameters.LiveQuery, Query()]
    ) -> None:
        try:
            analyzer = await asyncio.to_thread(backend.analyzers.get, *query.analyzer_key())
        except UserError as error:
            await socket.send_denial_response(error_response(422, str(error)))
            return
        await backend.live.serve(socket, analyzer, query.smooth)


def _add_upload_route(app: FastAPI, backend: Backend) -> None:
    @app.post(
        "/videos",
        status_code=202,
        tags=["videos"],
        summary="Upload a video and queue its analysis",
        openapi_extra={"requestBody": schemas.VIDEO_BODY},
        response_class=_SpacedJSONResponse,
        response_model=schemas.Job,
        response_description="The video is queued; the Location header has the URL of its job.",
        responses=schemas.error_statuses(408, 413, 415, 422, 503),
    )
    async def post_video(
        request: Request,
        response: Response,
        query: Annotated[query_parameters.VideoQuery, Query()],
    ) -> dict[str, Any]:
        job = await uploads.receive_video(
            request, backend.jobs, query.file_name(), query.job_options(), backend.settings
        )
        # The location is relative, because a proxy may add a prefix to the path.
        response.headers["Location"] = f"videos/{job.id}"
        return job.record()


def _add_job_routes(app: FastAPI, backend: Backend) -> None:
    jobs = backend.jobs

    @app.get(
        "/videos/{job_id}",
        tags=["videos"],
        summary="State and progress of a video",
        response_class=_SpacedJSONResponse,
        response_model=schemas.Job,
        responses=schemas.error_statuses(404, 422),
    )
    async def get_video(job_id: str) -> dict[str, Any]:
        return jobs.get(job_id).record()

    @app.get(
        "/videos/{job_id}/events",
        tags=["videos"],
        summary="State and progress of a video as server-sent events, until its analysis has ended",
        response_class=StreamingResponse,
        responses={200: schemas.EVENT_STREAM, **schemas.error_statuses(404, 422)},
    )
    async def get_events(job_id: str) -> StreamingResponse:
        events = uploads.progress_events(jobs.get(job_id), backend.shutdown_event)
        return StreamingResponse(events, media_type="text/event-stream")

    @app.get(
        "/videos/{job_id}/results/{name}",
        tags=["videos"],
        summary="Download a result file of a video",
        response_class=FileResponse,
        responses={200: schemas.RESULT_FILE, **schemas.error_statuses(404, 409, 422)},
    )
    async def get_result_file(job_id: str, name: str) -> FileResponse:
        return FileResponse(jobs.result_file_path(job_id, name), filename=name)

    @app.delete(
        "/videos/{job_id}",
        status_code=204,
        tags=["videos"],
        summary="Cancel the analysis of a video and delete its files",
        responses=schemas.error_statuses(404, 422),
    )
    async def delete_video(job_id: str) -> Response:
        jobs.get(job_id)
        await asyncio.to_thread(jobs.delete, job_id)
        return Response(status_code=204)


def _add_server_routes(app: FastAPI, backend: Backend) -> None:
    @app.get("/models", tags=["server"], summary="The available models and detectors",
             response_model=schemas.Models, responses=schemas.error_statuses())  # fmt: skip
    async def models() -> dict[str, Any]:
        return await asyncio.to_thread(backend.models)

    @app.get("/healthz", tags=["server"], summary="Whether the process is alive",
             responses=schemas.error_statuses())  # fmt: skip
    async def healthz() -> schemas.Status:
        return schemas.Status(status="alive")

    @app.get("/readyz", tags=["server"], summary="Whether another image would be admitted now",
             responses=schemas.error_statuses(503))  # fmt: skip
    async def readyz() -> schemas.Status:
        if not backend.is_ready():
            message = "The server is busy or shutting down; try again in 1 s."
            raise RequestError(503, message, {"Retry-After": "1"})
        return schemas.Status(status="ready")

    @app.get("/metrics", tags=["server"], summary="Metrics in the Prometheus text format",
             response_class=Response,
             responses={200: {"content": {"text/plain": {}}},
                        **schemas.error_statuses()})  # fmt: skip
    async def metrics() -> Response:
        return Response(backend.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_error_handlers(app: FastAPI) -> None:
    """Respond to every exception with a message in one line that reveals no internals."""

    @app.exception_handler(RequestError)
    async def request_error(_: Request, error: RequestError) -> Response:
        return error_response(error.status, str(error), error.headers)

    @app.exception_handler(UserError)
    async def user_error(_: Request, error: UserError) -> Response:
        return error_response(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> Response:
        return _parameter_error(error, "see /openapi.json")

    @app.exception_handler(WebSocketRequestValidationError)
    async def live_validation_error(
        socket: WebSocket, error: WebSocketRequestValidationError
    ) -> None:
        # /live is not in /openapi.json.
        await socket.send_denial_response(_parameter_error(error, "check its spelling"))

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return error_response(error.status_code, f"{error.detail}.", error.headers)

    @app.exception_handler(ClientDisconnected)
    async def client_disconnected(_: Request, __: ClientDisconnected) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    @app.exception_handler(Exception)
    async def internal_error(_: Request, __: Exception) -> Response:
        # Starlette raises the exception again after this response, and uvicorn logs its traceback.
        return error_response(
            500, "The request failed because of a bug in mien; see the server's log."
        )


def _parameter_error(
    error: RequestValidationError | WebSocketRequestValidationError, advice: str
) -> Response:
    """Return a 422 response for an invalid parameter, with `advice` if its name is unknown."""
    first_error = error.errors()[0]
    name = first_error["loc"][1]  # after the part of the request, such as "query"
    if first_error["type"] == "extra_forbidden":
        return error_response(422, f"Unknown parameter {name}; {advice}.")
    return error_response(422, f"Parameter {name} is invalid: {first_error['msg']}.")


def _add_middleware(app: FastAPI, backend: Backend) -> None:
    """Add the middleware; the last one added is the outermost."""
    settings = backend.settings
    app.add_middleware(SecurityMiddleware, settings=settings)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(
        RequestMetricsMiddleware,
        metrics=backend.metrics,
        timeout_seconds=settings.client_timeout_seconds,
        shutdown_event=backend.shutdown_event,
    )


def _generate_openapi_schema(app: FastAPI, settings: Settings) -> None:
    """Generate the OpenAPI schema, with the bearer token if the server requires one."""
    schema = app.openapi()
    if settings.token:
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]
    app.openapi_schema = schema
