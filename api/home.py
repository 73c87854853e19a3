"""The page somebody sees who opens the address in a browser."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from jinja2 import Environment, select_autoescape

from api.services import Services

router = APIRouter(include_in_schema=False)
_WEB = Path(__file__).parents[1] / "web"
_pages = Environment(autoescape=select_autoescape(), loader=None)


@router.get("/", response_class=HTMLResponse)
async def home(services: Services) -> str:
    """Where to go from here."""
    page = _pages.from_string((_WEB / "index.html").read_text(encoding="utf-8"))
    return page.render(public_url=services.settings.public_url)
