"""The page that notifications lead to: it shows nothing and decides nothing by itself."""

import re

import pytest

from tests.support.product import Product


async def test_the_page_holds_no_data_and_a_get_decides_nothing(product: Product) -> None:
    await product.action(title="Top secret", inputs={"env": {"type": "string"}}, requiredApproval=True)
    run = await product.start(properties={"env": "prod-eu"})
    answer = await product.api.get(f"/approvals/{run['id']}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert run["id"] in answer.text
    assert "Top secret" not in answer.text
    assert "prod-eu" not in answer.text
    assert (await product.get(run["id"]))["status"] == "WAITING_FOR_APPROVAL"
    elsewhere = await product.api.get("/approvals/r_0000000000000000", headers={"Authorization": ""})
    assert elsewhere.status_code == 200, "it says nothing about what there is"


async def test_nothing_but_its_own_script_runs_in_it(product: Product) -> None:
    pages = [await product.api.get("/approvals/r_0000000000000000") for _ in range(2)]
    nonces = [re.search(r"script-src 'nonce-([^']+)'", page.headers["content-security-policy"]) for page in pages]
    first, second = (nonce[1] for nonce in nonces if nonce)
    assert first != second
    assert pages[0].text.count(f'nonce="{first}"') == 2
    policy = pages[0].headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "onclick" not in pages[0].text
    assert "innerHTML" not in pages[0].text


@pytest.mark.parametrize("run_id", ["%3Cscript%3E", "%22onload=", "a" * 101])
async def test_what_is_no_run_id_has_no_page(product: Product, run_id: str) -> None:
    answer = await product.api.get(f"/approvals/{run_id}")
    assert answer.status_code == 422
    assert "<script>" not in answer.text
