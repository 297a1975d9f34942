"""A configuration is read whole, or every problem in it is told at once."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from core.text import escaped
from daemon.config.load import read_config, read_sidecar
from daemon.config.schema import Config
from daemon.errors import ConfigError, ConfigProblem, ExitCode

GOOD = """
[service]
state_dir = "state"
[http]
listen = "127.0.0.1:9770"
[watch]
stable_for = "10s"
rescan_every = "5m"
[models]
root = "models"
[[inbox]]
name = "alice"
path = "inbox/alice"
references = ["refs"]
workspace = "ws/alice"
role = "src"
backend = "insightface"
model_pack = "buffalo_l"
on_done = "keep"
[inbox.extract]
similarity_threshold = "auto"
output_size = 512
[[machine]]
name = "gpu1"
address = "gpu1.lan"
port = 22
user = "train"
key = "credential:ssh_key"
known_hosts = "/etc/dfld/known_hosts"
model_dir = "/home/train/workspace/model"
control = "command"
stop = "systemctl --user stop dfl-train@alice"
start = "systemctl --user start dfl-train@alice"
status = "systemctl --user is-active dfl-train@alice"
[[sync]]
name = "alice"
model_class = "SAEHD"
machines = ["gpu1"]
quorum = 1
poll_every = "1m"
rule = "mean"
outer = "none"
target_loss = 0.02
[[sync.stage]]
name = "early"
every_iterations = 5000
[[hook]]
on = ["job.done", "round.failed"]
url = "https://hc.example/ping/1"
"""


@pytest.fixture
def write(tmp_path: Path):
    (tmp_path / "refs").mkdir()

    def write_config(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_config


def problems(path: Path) -> dict[str, ConfigProblem]:
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert caught.value.exit_code is ExitCode.CONFIGURATION
    return {problem.key: problem for problem in caught.value.problems}


def test_every_promised_key_is_read(write, tmp_path: Path) -> None:
    config = read_config(write(GOOD)).config
    inbox = config.inboxes[0]
    assert (config.watch.stable_for_s, config.watch.rescan_every_s) == (10.0, 300.0)
    assert config.http.address == ("127.0.0.1", 9770)
    assert inbox.path == tmp_path / "inbox/alice"
    assert inbox.references == (tmp_path / "refs",)
    assert inbox.extract.similarity_threshold is None
    assert inbox.extract.output_size == 512
    assert config.machines[0].key == Path("/run/credentials/dfld.service/ssh_key")
    assert config.syncs[0].stages[0].every_iterations == 5000
    assert config.hooks[0].timeout_s == 10.0


def test_an_empty_file_gives_the_defaults_and_a_warning(write) -> None:
    loaded = read_config(write(""))
    assert loaded.config == Config()
    assert any("nothing to do" in warning for warning in loaded.warnings)


def test_all_problems_are_told_at_once_each_with_its_line(write) -> None:
    text = (
        GOOD.replace('"10s"', "10")
        .replace("output_size = 512", "output_size = 5")
        .replace("similarity_threshold =", "similarity_treshold =")
        .replace('role = "src"', 'role = "scr"')
        .replace("port = 22", "port = true")
        .replace('listen = "127.0.0.1:9770"', 'listen = "nine"')
    )
    found = problems(write(text))
    lines = text.split("\n")
    assert set(found) == {
        "http.listen",
        "watch.stable_for",
        "inbox[1].role",
        "inbox[1].extract.output_size",
        "inbox[1].extract.similarity_treshold",
        "machine[1].port",
    }
    for key, problem in found.items():
        assert lines[problem.line - 1].startswith(key.rpartition(".")[2])
    assert found["inbox[1].extract.similarity_treshold"].closest == "similarity_threshold"
    assert found["inbox[1].role"].closest == "src"
    assert "64 to 2048" in found["inbox[1].extract.output_size"].expected
    assert found["watch.stable_for"].found == "10"


def test_a_key_in_the_wrong_table_is_shown_its_own(write) -> None:
    problem = problems(write(GOOD.replace("[service]", '[service]\nstable_for = "3s"')))["service.stable_for"]
    assert problem.closest == "watch.stable_for"


def test_wrong_keys_do_not_hide_what_is_wrong_between_the_others(write) -> None:
    text = GOOD.replace("output_size = 512", "output_size = 5").replace('["refs"]', '["gone"]')
    assert {"inbox[1].extract.output_size", "inbox[1].references[1]"} == set(problems(write(text)))


def test_a_wrong_key_brings_no_second_problem_about_its_absence(write) -> None:
    assert set(problems(write(GOOD.replace("quorum = 1", 'quorum = "one"')))) == {"sync[1].quorum"}


def test_margins_of_no_face_type_need_a_plain_crop(write) -> None:
    odd = GOOD.replace("output_size = 512", "margin_factor = 0.3")
    assert "--plain-crop" in problems(write(odd))["inbox[1].extract"].expected
    read_config(write(odd.replace("margin_factor", "plain_crop = true\nmargin_factor")))


def test_a_missing_key_is_told_at_its_table(write) -> None:
    problem = problems(write(GOOD.replace('path = "inbox/alice"', "")))["inbox[1].path"]
    assert GOOD.split("\n")[problem.line - 1] == "[[inbox]]"


def test_a_syntax_error_names_line_and_text(write) -> None:
    problem = problems(write('[service]\nstate_dir = "x\n'))[""]
    assert problem.line == 2
    assert "state_dir" in problem.found


def test_a_table_said_twice_is_told_with_a_line(write) -> None:
    assert problems(write("[http]\n[http]\n"))[""].line == 2


def test_a_date_is_no_text(write) -> None:
    assert (
        "date"
        in problems(write(GOOD.replace('name = "alice"\npath', "name = 2020-01-01\npath")))["inbox[1].name"].expected
    )


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (('workspace = "ws/alice"', 'workspace = "inbox"'), "inbox[1].path"),
        (('workspace = "ws/alice"', 'workspace = "inbox/alice"'), "inbox[1].path"),
        (('workspace = "ws/alice"', 'workspace = "inbox/alice/ws"'), "inbox[1].workspace"),
        (('path = "inbox/alice"', 'path = "state/alice"'), "inbox[1].path"),
        (('references = ["refs"]', 'references = ["gone"]'), "inbox[1].references[1]"),
        (('references = ["refs"]', "references = []"), "inbox[1].references"),
        (('machines = ["gpu1"]', 'machines = ["gpu2"]'), "sync[1].machines[1]"),
        (("quorum = 1", "quorum = 2"), "sync[1].quorum"),
        (('rule = "mean"', 'rule = "trimmed"'), "sync[1].rule"),
        (('stop = "systemctl --user stop dfl-train@alice"', ""), "machine[1].stop"),
        (('url = "https://hc.example/ping/1"', ""), "hook[1]"),
        (("[service]", "require_consent = true\n[service]"), "inbox[1].consent"),
        (('name = "alice"\npath', 'name = "../alice"\npath'), "inbox[1].name"),
        (('state_dir = "state"', 'state_dir = "~nobody-at-all/x"'), "service.state_dir"),
    ],
)
def test_what_contradicts_is_refused_under_its_key(write, change: tuple[str, str], key: str) -> None:
    assert change[0] in GOOD
    assert key in problems(write(GOOD.replace(*change)))


def test_two_inboxes_may_share_neither_name_nor_path(write) -> None:
    inbox = GOOD[GOOD.index("[[inbox]]") : GOOD.index("[inbox.extract]")]
    found = problems(write(GOOD + inbox))
    assert {"inbox[2].name", "inbox[2].path"} <= set(found)


@pytest.mark.parametrize("name", [r"\u001b[2J", r"\u0080", r"\u202egpj", r"a\u2028b", r"\ufeffme"])
def test_a_path_that_could_steer_a_terminal_is_told_harmlessly(write, name: str) -> None:
    found = problems(write(GOOD.replace('["refs"]', f'["{name}"]')))
    assert list(found) == ["inbox[1].references[1]"]
    assert [str(problem) for problem in found.values()] == [escaped(str(problem)) for problem in found.values()]


def test_missing_photos_may_be_a_warning(write) -> None:
    loaded = read_config(write(GOOD.replace('["refs"]', '["gone"]')), missing_files="warn")
    assert any("inbox[1].references[1]" in warning for warning in loaded.warnings)


def test_an_open_listen_address_is_warned_about(write) -> None:
    loaded = read_config(write(GOOD.replace("127.0.0.1:9770", "0.0.0.0:9770")))
    assert any("other machines" in warning for warning in loaded.warnings)


def test_a_file_that_is_not_there_is_a_config_error(tmp_path: Path) -> None:
    assert "No such file" in problems(tmp_path / "gone.toml")[""].found


def test_a_sidecar_is_read_by_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4.dfld.toml"
    path.write_text('references = ["bob.jpg"]\nstart = "90s"\npriority = 9\n', encoding="utf-8")
    sidecar = read_sidecar(path, within=[tmp_path])
    assert (sidecar.start_s, sidecar.end_s, sidecar.priority, sidecar.skip) == (90.0, None, 9, False)
    assert sidecar.references == (tmp_path / "bob.jpg",)
    path.write_text("strat = 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match='did you mean "start"'):
        read_sidecar(path, within=[tmp_path])


def test_a_sidecar_is_a_regular_file_of_the_inbox_or_refused_at_once(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (tmp_path / "secret.toml").write_text("priority = 9\n")
    (inbox / "link.dfld.toml").symlink_to(tmp_path / "secret.toml")
    os.mkfifo(inbox / "pipe.dfld.toml")
    (inbox / "large.dfld.toml").write_bytes(b"#" * ((1 << 20) + 1))
    for name, why in (
        ("link", "symbolic link"),
        ("pipe", "a pipe"),
        ("large", "at most"),
        ("../secret.toml", "outside"),
    ):
        path = inbox / (name if name.startswith("..") else f"{name}.dfld.toml")
        with pytest.raises(ConfigError, match=why):
            read_sidecar(path, within=[inbox])


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_byte_order_mark_in_front_is_passed_over_in_every_file_that_people_write(
    write, tmp_path: Path, ending: str
) -> None:
    plain = write(GOOD)
    wanted = read_config(plain).config
    plain.write_text(GOOD.replace("\n", ending), encoding="utf-8-sig", newline="")
    assert read_config(plain).config == wanted
    sidecar = tmp_path / "clip.mp4.dfld.toml"
    sidecar.write_text(f"priority = 7{ending}", encoding="utf-8-sig", newline="")
    assert read_sidecar(sidecar, within=[tmp_path]).priority == 7


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_refused_by_its_name(write, encoding: str) -> None:
    path = write(GOOD)
    path.write_bytes((b"" if encoding == "utf-16" else b"\xfe\xff") + GOOD.encode(encoding))
    assert "UTF-16" in problems(path)[""].found


def test_a_byte_that_is_no_utf_8_behind_a_byte_order_mark_is_named(write) -> None:
    path = write(GOOD)
    path.write_bytes(b"\xef\xbb\xbf# \xe9\n" + GOOD.encode())
    assert "e9" in problems(path)[""].found
    assert problems(path)[""].line == 1


def test_a_link_does_not_hide_that_an_inbox_lies_in_a_workspace(write, tmp_path: Path) -> None:
    (tmp_path / "workspaces" / "alice" / "inside").mkdir(parents=True)
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "alice").symlink_to(tmp_path / "workspaces" / "alice" / "inside")
    text = re.sub(r"(?m)^path = .*", 'path = "inbox/alice"', GOOD, count=1)
    text = re.sub(r"(?m)^workspace = .*", 'workspace = "workspaces/alice"', text, count=1)
    assert "inbox[1].path" in problems(write(text))


def test_two_inboxes_of_role_dst_do_not_share_a_workspace(write) -> None:
    inbox = '[[inbox]]\nname = "{0}"\npath = "in/{0}"\nreferences = ["refs"]\nworkspace = "w"\nrole = "dst"\n'
    found = problems(write(inbox.format("a") + inbox.format("b")))
    assert set(found) == {"inbox[2].workspace"}
    assert "one clip" in found["inbox[2].workspace"].expected


@pytest.mark.parametrize(
    ("line", "key", "expected"),
    [
        ("references = []", "inbox[1].references", "at least 1 entry"),
        ("priority = 1.5", "inbox[1].priority", "a whole number"),
        ('recursive = "yes"', "inbox[1].recursive", "true or false"),
        ("path = 3", "inbox[1].path", "text in quotes"),
    ],
)
def test_what_was_expected_is_said_in_words_for_people(write, line: str, key: str, expected: str) -> None:
    name = line.partition(" ")[0]
    lines = {"name": 'name = "a"', "path": 'path = "in"', "references": 'references = ["refs"]',
             "workspace": 'workspace = "w"', name: line}  # fmt: skip
    assert problems(write("[[inbox]]\n" + "\n".join(lines.values()) + "\n"))[key].expected == expected
