"""The OpenAPI document that is kept with the code."""

from pathlib import Path

from api.app import document

KEPT = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_kept_document_is_that_of_the_code() -> None:
    assert KEPT.read_text(encoding="utf-8").rstrip() == document(), "run scripts/openapi and look at the difference"
