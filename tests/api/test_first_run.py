"""One run, end to end: asked for, invoked, answered."""

from tests.support.product import Product


async def test_a_synchronized_run_ends_with_the_answer_of_its_backend(product: Product) -> None:
    await product.action(
        inputs={"name": {"type": "string"}}, invocationMethod=product.webhook(body={"n": "{{ .inputs.name }}"})
    )

    run = await product.start(properties={"name": "cart"})
    assert run["status"] == "IN_PROGRESS"
    run = await product.until(run["id"])

    assert run["status"] == "SUCCESS"
    assert run["response"] == {"done": True}
    assert product.backend.calls[0].json == {"n": "cart"}
    assert product.backend.calls[0].headers["idempotency-key"] == run["id"]
