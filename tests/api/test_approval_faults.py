"""What approvers are told of a request that cannot be rendered: why, and nothing that is secret."""

from tests.api.answers import granted
from tests.support.product import Product


async def test_why_a_request_cannot_be_rendered_quotes_no_secret_input(product: Product) -> None:
    inputs = {"key": {"type": "string", "encryption": "aes256-gcm"}}
    method = product.webhook(body={"{{ {key: .inputs.key} }}": 1, "{{ [.inputs.key] }}": 2})
    await product.action(requiredApproval=True, inputs=inputs, invocationMethod=method)
    run = await product.start(properties={"key": "open sesame"})
    answer = await product.api.get(f"/v1/actions/runs/{run['id']}/approval")
    shown = granted(answer, "approval")
    assert shown["request"] is None
    assert "evaluated to:" in shown["fault"]
    assert run["properties"]["key"] not in answer.text
    assert "********" in shown["fault"]
