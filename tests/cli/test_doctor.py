"""`anyq doctor` on servers that are really misconfigured, and on queues that are really broken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Generator
from typing import Any

import attrs
import pytest
from click.testing import CliRunner
from tests.cli.programs import Program, enqueue, worker
from tests.cli.terminal import on_a_terminal
from tests.faults.test_rights import PRODUCER, WORKER, known_to, url_of
from tests.support.servers import HOST, Sentinel, Server, free_port, replica_pair

from anyq import Queue
from anyq.cli.commands import anyq

StartServer = Callable[..., Server]

KEYS = Queue("emails").keys


@pytest.fixture(autouse=True)
def ends_without_taking_the_tests_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own it ends at once, whichever threads there are."""
    monkeypatch.setattr("anyq.cli.doctor.leave", sys.exit)


@attrs.frozen
class Seen:
    """What it said."""

    code: int
    findings: dict[tuple[str, str], dict[str, Any]]

    def __getitem__(self, check: str) -> dict[str, Any]:
        """A finding about the server, or about the queue ``emails``."""
        return self.findings.get(("", check)) or self.findings["emails", check]

    @property
    def faults(self) -> dict[str, str]:
        """Of the checks that do not depend on which server the suite runs on."""
        always = {"security", "persistence"}  # an old server, and one that keeps nothing, are what tests have
        return {
            check: finding["verdict"]
            for (_, check), finding in self.findings.items()
            if finding["verdict"] != "ok" and check not in always
        }


def doctor(*arguments: str, url: str) -> Seen:
    """Run it in this process: one of its own takes a second."""
    ran = CliRunner().invoke(anyq, ["doctor", "--url", url, "--json", *arguments], env={"ANYQ_QUEUE": ""})
    assert ran.stdout.isascii(), ran.output
    said = json.loads(ran.stdout)
    return Seen(ran.exit_code, {(one["queue"] or "", one["check"]): one for one in said["findings"]})


def grant(server: Server, name: str, rights: str, keys: str = "{anyq:*", channels: str = "{anyq:*") -> str:
    """Make a user with these rights, and give its URL."""
    rules = known_to(server, rights.replace("+client|setinfo ", "")).split()  # which Redis 7.0 does not know
    server.command(
        "ACL", "SETUSER", name, "on", ">secret", "resetchannels", f"~{keys}", f"&{channels}", "-@all", *rules
    )
    return url_of(server, name)


@pytest.fixture
def users(server: Server) -> Generator[None]:
    """Users that a test makes go with it."""
    yield
    names = [name.decode() for name in server.command("ACL", "USERS") if name != b"default"]
    if names:
        server.command("ACL", "DELUSER", *names)


def on_queue(url: str, *arguments: str) -> Seen:
    return doctor("--queue", "emails", *arguments, url=url)


# -- servers ----------------------------------------------------------------------------------------------------------


def test_a_server_as_it_should_be_has_no_fault(start_server: StartServer) -> None:
    server = start_server(aof=True)
    seen = doctor(url=server.url)
    assert seen.code == 0
    assert seen.faults == {}
    assert seen["persistence"]["verdict"] == "ok"
    assert "everysec" in seen["persistence"]["found"]
    assert seen["version"]["found"].startswith(server.version[0].capitalize())


def test_a_server_that_evicts_deletes_jobs(start_server: StartServer) -> None:
    server = start_server()
    with server.configured(maxmemory_policy="allkeys-lru"):
        assert doctor(url=server.url).faults == {"eviction": "warning"}
        with server.configured(maxmemory="1gb"):
            seen = doctor(url=server.url)
            assert (seen.code, seen.faults) == (3, {"eviction": "problem"})
            assert "'allkeys-lru'" in seen["eviction"]["found"]
            assert "redis-cli CONFIG SET maxmemory-policy noeviction" in seen["eviction"]["mend"]
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert doctor(url=server.url).faults == {}, "the command that it names has mended it"


def test_a_full_server_takes_no_jobs(start_server: StartServer) -> None:
    server = start_server()
    with server.configured(maxmemory=1):
        assert doctor(url=server.url).faults == {"memory": "problem"}


def test_a_server_that_keeps_nothing_loses_jobs_at_its_restart(start_server: StartServer) -> None:
    server = start_server()
    seen = doctor(url=server.url)
    assert seen["persistence"]["verdict"] == "warning"
    assert "no snapshots" in seen["persistence"]["found"]
    assert seen.code == 0, "a warning"
    assert doctor("--strict", url=server.url).code == 3
    with server.configured(save="3600 1"):
        assert "last seconds or minutes" in doctor(url=server.url)["persistence"]["why"]
    with server.configured(appendonly="yes", appendfsync="no"):
        assert "appendfsync no" in doctor(url=server.url)["persistence"]["found"]


def test_a_server_that_cannot_save_is_a_problem(start_server: StartServer) -> None:
    server = start_server(arguments=("--save", "3600 1", "--dbfilename", "taken.rdb"))
    (server.home.path / "taken.rdb" / "full").mkdir(parents=True)
    server.command("SET", "key", "value")
    server.command("BGSAVE")
    while server.command("INFO", "persistence")["rdb_bgsave_in_progress"]:
        pass
    assert doctor(url=server.url).faults == {"saving": "problem"}


def test_a_replica_takes_no_jobs_and_its_primary_is_named(server_program: Any) -> None:
    with replica_pair(server_program) as pair:
        seen = doctor(url=pair.replica.url)
        assert (seen.code, seen.faults) == (3, {"role": "problem"})
        assert f"{HOST}:{pair.primary.port}" in seen["role"]["mend"]
        seen = doctor(url=pair.primary.url)
        assert (seen.faults, seen["replicas"]["found"]) == ({}, "1 replica")


def test_a_replica_that_has_not_got_the_data_yet_is_named(start_server: StartServer) -> None:
    waits = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "3600")
    primary = start_server(tcp=True, arguments=waits)
    replica = start_server(tcp=True, arguments=("--replicaof", HOST, str(primary.port)))
    while not primary.command("INFO", "replication")["connected_slaves"]:
        pass
    seen = doctor(url=primary.url)
    assert seen.faults == {"replicas": "warning"}
    assert f"{HOST}:{replica.port}" in seen["replicas"]["found"]
    assert doctor(url=replica.url).faults == {"role": "problem"}


def test_a_replica_that_lags_behind_is_named(server_program: Any) -> None:
    with replica_pair(server_program) as pair, pair.replica.paused():
        while not (seen := doctor(url=pair.primary.url)).faults:
            pass
        assert (seen.code, seen.faults) == (0, {"replicas": "warning"})
        assert f"of 1 replicas these lag behind: {HOST}:{pair.replica.port}" == seen["replicas"]["found"]


def test_a_sentinel_is_no_server(start_server: StartServer, server_program: Any) -> None:
    with Sentinel(program=server_program, tcp=True, watches=start_server(tcp=True)) as sentinel:
        seen = on_queue(sentinel.tcp_url)
        assert (seen.code, seen.faults) == (1, {"reach": "problem"})
        assert "is a Sentinel" in seen["reach"]["found"]
        with worker(sentinel.tcp_url) as program:
            assert program.exit_code() == 1
        assert "is a Sentinel" in program.output


@pytest.mark.parametrize(
    ("seconds", "said"), [(-7230, "2 h 00 min ahead of ours"), (7230, "2 h 00 min behind ours")]
)
def test_clocks_that_differ_are_told(server: Server, redis_url: str, seconds: int, said: str) -> None:
    """By a program on a machine whose clock is wrong; the server's cannot be set by who is not root."""
    wrong = f"import time; right = time.time; time.time = lambda: right() + {seconds}"
    command = [sys.executable, "-c", f"{wrong}; from anyq.cli import main; main()"]
    ran = subprocess.run(
        [*command, "doctor", "--url", redis_url, "--json"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    findings = {one["check"]: one for one in json.loads(ran.stdout)["findings"]}
    assert (findings["clock"]["verdict"], said in findings["clock"]["found"]) == ("warning", True)


#: What is known of the servers that the suite is run on.
JUDGED = {
    "redis 6.2.14": "lacks security releases", "redis 7.0.15": "not maintained any more",
    "redis 8.2.3": "lacks security releases", "redis 8.6.3": "lacks security releases",
    "valkey 8.1.1": "lacks security releases", "valkey 9.1.2": "no flaw",
}  # fmt: skip


def test_versions_are_judged_as_servers_tell_them(server: Server, redis_url: str) -> None:
    info = server.command("INFO", "server")
    name = (
        f"valkey {info['valkey_version']}" if "valkey_version" in info else f"redis {info['redis_version']}"
    )
    seen = doctor(url=redis_url)
    assert seen["version"]["found"].lower() == name
    assert seen["version"]["verdict"] == "ok"
    assert JUDGED.get(name, "") in seen["security"]["found"]
    assert seen["security"]["verdict"] == ("ok" if "no flaw" in seen["security"]["found"] else "warning")


def test_a_primary_without_the_replicas_that_it_wants_refuses_writes(start_server: StartServer) -> None:
    server = start_server()
    with server.configured(min_replicas_to_write=1):
        assert doctor(url=server.url).faults == {"role": "problem"}


def test_a_server_without_scripts_is_no_use(start_server: StartServer) -> None:
    server = start_server(arguments=("--rename-command", "EVAL", ""))
    seen = doctor(url=server.url)
    assert seen.faults == {"scripts": "problem", "rights": "unknown"}
    assert "EVAL" in seen["scripts"]["found"]


def test_a_cluster_s_node_is_named_and_a_queue_elsewhere_is_a_problem(start_server: StartServer) -> None:
    port = next(port for port in iter(free_port, 0) if port < 55_000)  # the bus has one that is 10,000 higher
    server = start_server(arguments=("--cluster-enabled", "yes", "--port", str(port), "--bind", HOST))
    assert doctor(url=server.url).faults == {"cluster": "warning", "rights": "unknown"}
    seen = on_queue(server.url)
    assert seen.code == 3
    assert seen.faults["queue"] == "problem"
    assert "CLUSTERDOWN" in seen["queue"]["found"]


def test_a_server_that_lets_hardly_anybody_in_is_named(start_server: StartServer) -> None:
    server = start_server()
    with server.client() as one, server.client() as another:
        one.ping()
        another.ping()
        server.command("CONFIG", "SET", "maxclients", 3)
        seen = doctor(url=server.url)
    assert seen.faults == {"connections": "warning"}


@pytest.mark.parametrize(
    "missing", ["xclaim", "xgroup|createconsumer", "set", "publish", "rpush", "subscribe"]
)
@pytest.mark.usefixtures("users")
def test_a_right_that_is_missing_is_named_with_the_command_that_grants_it(
    server: Server, redis_url: str, missing: str
) -> None:
    rights = f"{WORKER} +acl|whoami".replace(f"+{missing} ", "").replace("+unsubscribe ", "")
    url = grant(server, "poor", rights)
    seen = on_queue(url)
    assert (seen.code, seen["rights"]["verdict"]) == (3, "problem")
    # Before Redis 7 rights of subcommands stand for one another.
    assert f"poor may not use {missing.partition('|')[0]}" in seen["rights"]["found"]
    server.command(*seen["rights"]["mend"].removeprefix("redis-cli ").split())
    assert on_queue(url)["rights"]["verdict"] == "ok"


@pytest.mark.usefixtures("users")
def test_a_producer_needs_less_than_a_worker(server: Server, redis_url: str) -> None:
    url = grant(server, "producer", PRODUCER)
    seen = on_queue(url, "--for", "producer")
    assert (seen.code, seen["rights"]["verdict"]) == (0, "ok")
    assert seen["queue"]["verdict"] == "unknown", "it may not look"
    assert "xreadgroup" in on_queue(url)["rights"]["found"]


@pytest.mark.usefixtures("users")
def test_keys_and_channels_that_are_not_allowed_are_named(server: Server, redis_url: str) -> None:
    url = grant(server, "other", WORKER, keys="{anyq:other}:*")
    seen = on_queue(url)
    assert seen["rights"]["verdict"] == "problem"
    assert seen["rights"]["mend"].endswith("'~{anyq:emails}:*'")
    assert doctor(url=url)["rights"]["verdict"] == "unknown", "without a queue there is no key to try"

    seen = on_queue(grant(server, "deaf", WORKER, channels="other"))
    assert seen["rights"]["verdict"] == "problem"
    assert "the channels of the queues" in seen["rights"]["found"]
    assert seen["rights"]["mend"].endswith("'&{anyq:emails}:*'")


@pytest.mark.usefixtures("users")
def test_a_user_who_may_not_ask_for_the_time_is_told_so(server: Server, redis_url: str) -> None:
    seen = on_queue(grant(server, "timeless", f"{WORKER} +acl|whoami".replace("+time ", "")))
    assert seen.code == 3
    assert (seen["clock"]["verdict"], seen["rights"]["verdict"]) == ("unknown", "problem")
    assert "timeless may not use time" in seen["rights"]["found"]
    assert seen["queue"]["verdict"] == "unknown"


@pytest.mark.usefixtures("users")
def test_what_may_not_be_asked_is_unknown_and_no_fault(server: Server, redis_url: str) -> None:
    seen = doctor(url=grant(server, "blind", WORKER.replace("+info ", "")))
    assert seen.code == 0
    assert seen["eviction"]["verdict"] == seen["role"]["verdict"] == "unknown"
    assert seen["scripts"]["verdict"] == seen["rights"]["verdict"] == "ok"
    assert "problem" not in seen.faults.values()


def test_a_server_that_is_not_there_or_does_not_let_us_in_is_said_with_1(start_server: StartServer) -> None:
    seen = doctor(url="unix:///nowhere.sock?socket_connect_timeout=0.2")
    assert (seen.code, seen.faults) == (1, {"reach": "problem"})
    server = start_server(password="right")
    seen = doctor(url=f"unix://:wrong@{server.socket}")
    assert (seen.code, seen.faults) == (1, {"reach": "problem"})
    assert "WRONGPASS" in seen["reach"]["found"]
    assert seen["reach"]["mend"]


# -- queues -----------------------------------------------------------------------------------------------------------


def test_a_key_of_another_type_is_named(server: Server, redis_url: str) -> None:
    server.command("SET", KEYS.stream, "mine")
    seen = on_queue(redis_url)
    assert (seen.code, seen.faults) == (3, {"keys": "problem"})
    assert "{anyq:emails}:stream is a string and no stream" in seen["keys"]["found"]


def test_jobs_that_nobody_works_on_are_a_problem(server: Server, redis_url: str) -> None:
    server.command("XADD", KEYS.stream, "1-0", "d", "x")
    seen = on_queue(redis_url)
    assert {"group": "warning", "workers": "problem", "age": "warning"}.items() <= seen.faults.items()
    assert "1 jobs wait" in seen["workers"]["found"]

    server.command("XGROUP", "CREATE", KEYS.stream, "default", "0")
    server.command("XREADGROUP", "GROUP", "default", "anyq-gone", "STREAMS", KEYS.stream, ">")
    seen = on_queue(redis_url)
    assert seen["held"]["verdict"] == "problem"
    assert "1 jobs are in the hands of 1 worker that is gone" in seen["held"]["found"]

    server.command("XTRIM", KEYS.stream, "MAXLEN", 0)
    assert on_queue(redis_url)["entries"]["verdict"] == "problem"


def test_what_is_late_stuck_or_given_up_is_found(server: Server, redis_url: str) -> None:
    server.command("ZADD", KEYS.delayed, 1000, "member")
    server.command("ZADD", KEYS.schedules, 1000, "nightly")
    server.command("SET", KEYS.promoter_lock, "anyq-gone")
    server.command("XGROUP", "CREATE", KEYS.stream, "spy", "0", "MKSTREAM")
    server.command("XADD", KEYS.dead_letters, "*", "d", "x")
    server.command("SET", KEYS.trimmed, 7)
    server.command("HSET", KEYS.pauses, "queue", 0, "task:a\x1b[31m", 0, "task:over", 1000)
    seen = on_queue(redis_url)
    assert {check for check, verdict in seen.faults.items() if verdict == "problem"} == {
        "delayed", "schedules", "workers", "locks",
    }  # fmt: skip
    assert {"group", "dead-letters", "paused"} <= seen.faults.keys()
    assert "7 were trimmed" in seen["dead-letters"]["found"]
    assert "spy" in seen["group"]["found"]
    assert "paused: the queue, task 'a\\x1b[31m'" in seen["paused"]["found"]
    assert "over" not in seen["paused"]["found"]
    assert seen["paused"]["mend"] == "anyq resume --queue emails"


def test_a_queue_with_a_worker_is_sound_and_looking_changes_nothing(server: Server, redis_url: str) -> None:
    with worker(redis_url) as program:
        program.until("running")
        enqueue(redis_url, "long")
        program.until("begun long")
        seen = doctor("--queue", "cli", url=redis_url)
        assert seen.findings["cli", "workers"]["verdict"] == "ok"
        assert "1 of AnyQ's workers live" in seen.findings["cli", "workers"]["found"]
        assert seen.faults == {}
        enqueue(redis_url, "nobody-knows-this")
        while not server.command("ZCARD", Queue("cli").keys.delayed):
            pass
        seen = doctor("--queue", "cli", url=redis_url)
        assert seen.faults == {"parked": "warning"}
        assert "1 of task 'nobody-knows-this'" in seen.findings["cli", "parked"]["found"]

    server.command("SET", "key", "value")
    server.command("XADD", KEYS.stream, "1-0", "d", "x")
    for name in list(server.command("KEYS", "*heartbeat*")):
        server.command("DEL", name)
    before = server.command("DEBUG", "DIGEST")
    doctor("--queue", "emails", "--queue", "cli", "--queue", "none", url=redis_url)
    assert server.command("DEBUG", "DIGEST") == before


def test_in_a_pipe_and_on_a_terminal_it_says_why_and_what_mends_it(server: Server, redis_url: str) -> None:
    server.command("XADD", KEYS.dead_letters, "*", "d", "x")
    with Program("doctor", "-q", "emails", url=redis_url) as program:
        assert program.exit_code() == 0
        rows = [line.split("\t") for line in program.output.rstrip("\n").split("\n")]
    assert {len(row) for row in rows} == {6}
    [letters] = [row for row in rows if row[2] == "dead-letters"]
    assert letters[:2] == ["warning", "emails"]
    assert letters[3] == "1 dead letters"
    assert letters[5].startswith("anyq dlq errors --queue emails")

    code, said = on_a_terminal("doctor", "-q", "emails", "--strict", url=redis_url)
    assert code == 3
    assert "queue emails" in said
    assert "mend: anyq dlq errors --queue emails" in said


def test_a_finding_in_json_has_its_documented_shape(redis_url: str) -> None:
    ran = CliRunner().invoke(anyq, ["doctor", "--url", redis_url, "-q", "emails", "--json"])
    said = json.loads(ran.stdout)
    assert set(said) == {"server", "verdict", "findings"}
    assert said["verdict"] in {"ok", "warning", "problem"}
    assert all(set(one) == {"check", "verdict", "queue", "found", "why", "mend"} for one in said["findings"])
    assert said["findings"][0]["queue"] is None
    assert said["findings"][-1]["queue"] == "emails"
