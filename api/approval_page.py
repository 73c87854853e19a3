"""The page that notifications lead approvers to: it asks for an access token, and uses the API like everybody."""

from pathlib import Path
from secrets import token_urlsafe
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse
from jinja2 import Environment

router = APIRouter(include_in_schema=False)
_PAGE = Environment(autoescape=True).from_string(
    (Path(__file__).parents[1] / "web" / "approval.html").read_text(encoding="utf-8")
)


@router.get("/approvals/{run_id}", response_class=HTMLResponse)
async def approval_page(run_id: Annotated[str, InPath(pattern=r"^[A-Za-z0-9_-]+$", max_length=100)]) -> HTMLResponse:
    """The page, the same for every run and everybody: what it shows and does, the API has to allow."""
    nonce = token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(
        _PAGE.render(run_id=run_id, nonce=nonce),
        headers={"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"},
    )
