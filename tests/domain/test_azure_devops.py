"""What Azure DevOps says: which build it is about, which runs it names, how it ended, and how it is signed."""

import hmac
from typing import Any

import pytest

from domain.azure_devops import Build, build_of, is_build, require_secret, signature
from domain.errors import Unauthenticated
from domain.runs import RunStatus
from tests.support.azure_devops import PROJECT, FakeAzureDevOps, Started

AZURE = FakeAzureDevOps()
RUN, OTHER = "r_0123456789abcdef", "r_fedcba9876543210"


def build(number: str = "20260501.1", tags: tuple[str, ...] = (), **more: Any) -> Started:
    return Started(345, {}, number, list(tags), **more)


@pytest.mark.parametrize(
    ("link", "place"),
    [
        ("https://dev.azure.com/acme/web/_build/results?buildId=7", ("web", 7)),
        ("https://dev.azure.com/ACME/a%20b/_build/results?view=logs&buildId=7&j=1#x", ("a b", 7)),
        ("https://acme.visualstudio.com/web/_build/results?buildId=7", ("web", 7)),
        ("https://ado.example.com/tfs/acme/web/_build/results?buildId=7", ("web", 7)),
        ("https://dev.azure.com/other/web/_build/results?buildId=7", None),
        ("https://other.visualstudio.com/web/_build/results?buildId=7", None),
        ("https://dev.azure.com/acme/web/_build/results?definitionId=7", None),
        ("https://dev.azure.com/acme/web/_build/results?xbuildId=7", None),
        ("javascript:https://dev.azure.com/acme/web/_build/results?buildId=7", None),
    ],
)
def test_links_to_builds(link: str, place: tuple[str, int] | None) -> None:
    assert build_of("acme", None, (link,)) == place


def test_what_an_answer_and_the_events_tell_is_the_same_build() -> None:
    for status, result, outcome in (
        ("inProgress", None, None),
        ("cancelling", None, None),
        ("completed", "succeeded", RunStatus.SUCCESS),
        ("completed", "partiallySucceeded", RunStatus.FAILURE),
        ("completed", None, RunStatus.FAILURE),
    ):
        one = build(f"Deploy {RUN}", status=status, result=result)
        told = [
            Build.read(AZURE.document(one)),
            Build.of_event(AZURE.completed(one)),
            Build.of_event(AZURE.state_changed(one)),
        ]
        assert told[0] is not None
        assert told == [told[0]] * 3
        assert (told[0].outcome, told[0].result, told[0].run_ids) == (outcome, result, (RUN,))
        assert told[0].external_run_id == f"ado_{PROJECT}_12_345"
        assert is_build(told[0].external_run_id)
        assert told[0].organization == "acme"


@pytest.mark.parametrize("name", [RUN, f"Deploy {RUN}", f"{RUN}.1", f"interlock/{RUN}/x", f"a-{RUN}"])
def test_a_run_may_be_named_among_other_words(name: str) -> None:
    told = Build.of_event(AZURE.completed(build(name)))
    assert told is not None
    assert told.run_ids == (RUN,)


@pytest.mark.parametrize("name", ["", "r_0123", f"x{RUN}", f"_{RUN}", f"{RUN}0", RUN.upper(), "r_0123456789abcde!"])
def test_what_only_looks_like_a_run_is_none(name: str) -> None:
    told = Build.of_event(AZURE.completed(build(name)))
    assert told is not None
    assert told.run_ids == ()


def test_several_runs_are_named_once_each_and_not_without_end() -> None:
    told = Build.of_event(AZURE.completed(build(f"{RUN} {OTHER}", (RUN,))))
    assert told is not None
    assert told.run_ids == (RUN, OTHER)
    many = Build.of_event(AZURE.completed(build(" ".join(f"r_{number:016}" for number in range(99)))))
    assert many is not None
    assert len(many.run_ids) == 10


@pytest.mark.parametrize("answer", [None, [], "text", {}, {"id": 5}, {"id": True, "definition": {"id": 1}}])
def test_what_is_no_build_is_none(answer: Any) -> None:
    assert Build.read(answer) is None


def test_ids_are_whole_numbers() -> None:
    document = AZURE.document(build())
    for wrong in (True, "345", 3.5, None):
        assert Build.read(document | {"id": wrong}) is None
        assert Build.read(document | {"definition": {"id": wrong}}) is None
    for project in (None, {}, {"id": ""}, {"id": 5}):
        assert Build.read(document | {"project": project}) is None


def test_a_signature_has_two_forms() -> None:
    digest = hmac.new(b"key", "é".encode(), "sha1").hexdigest()
    assert signature("key", "é".encode(), "hex") == digest
    assert signature("key", "é".encode(), "sha1=hex") == f"sha1={digest}"


def test_a_secret_is_a_password_or_a_header() -> None:
    require_secret("s:ü", "Basic dTpzOsO8", None)
    require_secret("s:ü", "basic  dTpzOsO8", None)
    require_secret("s:ü", None, "s:ü")
    require_secret("s:ü", "Bearer of something else", "s:ü")
    for authorization, header in (
        (None, None),
        ("", None),
        ("Basic dTpz", None),
        ("Basic ü", None),
        ("Basic dTpz", "s"),
    ):
        with pytest.raises(Unauthenticated):
            require_secret("s:ü", authorization, header)
