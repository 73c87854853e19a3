"""The page at the root."""

from tests.support.product import Product


async def test_whoever_opens_the_address_is_told_where_to_go(product: Product) -> None:
    answer = await product.api.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert product.settings.public_url in answer.text
