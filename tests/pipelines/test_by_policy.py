"""URLs without their query, where a policy names the host; the canonical form that no policy changes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from test_registries import pair

from fairshard.pipelines import _gate, consult, plan, screen
from fairshard.schemas import policy as policies
from fairshard.schemas.errors import ConfigError

POLICY = "name: test\npurpose: {purpose}\nhost_files: 'off'\nignore_query_for: [{hosts}]\n"
LIST = "url,action,evidence,purpose\n{}"
URLS = [
    "https://cdn.example/a.jpg?w=100",
    "http://www.cdn.example:80/a.jpg?w=200&h=3?x",
    "https://cdn.example/a.jpg",
    "https://cdn.example/b.jpg?w=100",
    "https://img.cdn.example/a.jpg?w=100",
    "https://cdn.example:8443/a.jpg?w=100",
    "https://a.example/a.jpg?w=100",
    "https://a.example/a.jpg",
]


@pytest.fixture
def forbidden(make_work, tmp_path):
    """Numbers of the URLs that `consult` and `screen` drop, and the work."""

    def run(listed: str, hosts: str = "cdn.example", purpose: str = "genai", **images):
        (tmp_path / "0").mkdir(exist_ok=True)
        (tmp_path / "0" / "policy.yaml").write_text(POLICY.format(hosts=hosts, purpose=purpose))
        (tmp_path / "0" / "list.csv").write_text(LIST.format(listed))
        lists = [{"name": "list", "path": "list.csv", "scope": "url"}]
        work = make_work({"policy": "policy.yaml", "registries": lists},
                         pair=[pair(number, url) for number, url in enumerate(URLS)], **images)  # fmt: skip
        consult.run(work)
        if images:
            screen.match_lists(work, datetime.now(UTC))
            _gate.run(work, "screen")
        return sorted(work.store.read("dropped")["pair_id"].to_pylist()), work

    return run


def test_an_opt_out_covers_every_query_on_the_hosts_that_a_policy_names(forbidden):
    found, work = forbidden("http://www.cdn.example/a.jpg?w=1,,,\nhttps://a.example/a.jpg?w=1,,,\n")
    assert found == [0, 1, 2]
    (row,) = {(row["verdict"], row["scope"], row["value"], row["only_if"])
              for row in work.store.read("signal").to_pylist()}  # fmt: skip
    assert row == ("deny", "url", "cdn.example/a.jpg?w=1", "ignore_query_for=cdn.example")


def test_other_policies_are_judged_without_what_this_one_asked_for(forbidden, tmp_path):
    _, work = forbidden("https://cdn.example/a.jpg,,,\n")
    (tmp_path / "other.yaml").write_text(POLICY.format(hosts="", purpose="genai"))
    assert plan.judged(work.job, policies.load("other.yaml", tmp_path))["kept"] == len(URLS) - 1


def test_a_permission_counts_for_its_own_query(forbidden):
    listed = "https://cdn.example/a.jpg?w=100,allow,https://cdn.example/licence,\nhttps://cdn.example/a.jpg,deny,,\n"
    assert forbidden(listed)[0] == [1, 2]


@pytest.mark.parametrize(("purpose", "dropped"), [("genai", [0, 1, 2]), ("train", [])])
def test_an_opt_out_for_one_purpose_stays_one(forbidden, purpose, dropped):
    assert forbidden("https://cdn.example/a.jpg,,,genai\n", purpose=purpose)[0] == dropped


def test_without_such_hosts_the_query_counts_and_scheme_and_www_do_not(forbidden):
    assert forbidden("https://cdn.example/a.jpg?w=200&h=3?x,,,\nhttp://www.a.example/a.jpg,,,\n", hosts="")[0] == [1, 7]


def test_where_a_redirect_leads_is_looked_up_alike(forbidden):
    ended = {3: "https://www.cdn.example/a.jpg?w=7", 6: "https://a.example/c.jpg?w=7", 7: "https://cdn.example/c.jpg"}
    image = [{"pair_id": number, "final_url": url} for number, url in ended.items()]
    assert forbidden("https://cdn.example/a.jpg?w=1,,,\nhttps://a.example/c.jpg,,,\n", image=image)[0] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "host", ["CDN.example", "www.cdn.example", "https://cdn.example", "cdn.example/", "*.example", ""]
)
def test_what_is_no_host_is_refused(tmp_path, host):
    (tmp_path / "policy.yaml").write_text(POLICY.format(hosts=f'"{host}"', purpose="train"))
    with pytest.raises(ConfigError, match=r"ignore_query_for: '.*'; expected hosts as tables have them"):
        policies.load("policy.yaml", tmp_path)
