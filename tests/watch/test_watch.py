"""`edgedst watch`: what it reads of runs as they go on, who may read it, and the page in a real browser."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
from saved_runs import commit
from study_folder import write_run
from training import TINY, edgedst, run_in, start, train

from edgedst.config import TrainConfig
from edgedst.errors import CheckpointError, ConfigError
from edgedst.runs.find import resume
from edgedst.study.grid import read_study
from edgedst.watch import one_run
from edgedst.watch.server import LOCAL, Server
from edgedst.watch.text import lines, show
from edgedst.watch.watcher import Watcher

PHONE, DESKTOP = 390, 1200


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a short run of DS-TD3 that is finished."""
    folder = tmp_path_factory.mktemp("läuft hier")
    train(folder, *TINY)
    return folder


def made_run(folder, name="s0-20260131-120000", evaluations=(), **settings):
    """A run folder with these lines of metrics, which nobody trains."""
    run = folder / "Arm-v0" / "ds-td3" / name
    run.mkdir(parents=True)
    config = TrainConfig(**{"env": "Arm-v0", "steps": 10_000, "start_steps": 0, **settings}).resolved()
    (run / "config.toml").write_text(config.toml(), encoding="utf-8")
    (run / "plan.json").write_text('{"budget_bytes": 50000000, "lines": [{"name": "replay", "bytes": 20000000}]}')
    write(run, evaluations)
    return run


def write(run, evaluations, begin=0, more=""):
    text = [json.dumps({"step": s, "evaluation_return": r, "seconds": s / 10}) + "\n" for s, r in evaluations]
    with (run / "metrics.jsonl").open("r+" if begin else "a", encoding="utf-8") as file:
        file.truncate(begin) if begin else None
        file.seek(0, 2)
        file.write("".join(text) + more)


def only(watcher):
    (run,) = watcher.runs()
    return run.facts


def evaluations(news):
    lines = [json.loads(line) for line in news["run"]["lines"] if line]
    return [(line["step"], line["evaluation_return"]) for line in lines]


def more(watcher, news):
    """What a page that has this answer asks for, and gets."""
    (name,) = news["order"]
    return watcher.news(news["count"], name, news["run"]["began"], news["run"]["at"])


@contextmanager
def served(folder, host=LOCAL):
    with Server(Watcher(folder), host, 0) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def get(server, path, host=None, method="GET"):
    connection = http.client.HTTPConnection(LOCAL, server.server_address[1], timeout=30)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def shown(browser, server, condition, **options):
    """Open the page and wait until a condition holds; what the browser complained of."""
    browser.show(server.address, **options)
    until(browser, condition)
    return browser.complaints


def until(browser, condition):
    deadline = time.monotonic() + 60
    while not browser.run(condition):
        assert time.monotonic() < deadline, browser.run("document.body.innerText")
        time.sleep(0.05)


def test_a_run_is_running_then_killed_then_resumed_and_finished(tmp_path):
    process = start(tmp_path, *TINY, "--steps", "100000", "--eval-every", "1000")
    watcher = Watcher(tmp_path / "runs", has_to_be=False)
    try:
        deadline = time.monotonic() + 60
        while not watcher.runs() or only(watcher)["step"] < 2000:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        facts = only(watcher)
        assert (facts["state"], facts["steps"], facts["env"]) == ("running", 100_000, "InvertedPendulum-v5")
        assert facts["return"] <= facts["best"][0]
        assert 0 < facts["newest"]["rss_bytes"] <= facts["peak_bytes"] <= facts["budget_bytes"] == 40_000_000
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert only(watcher)["state"] == "failed"
    run = run_in(tmp_path)
    assert f"edgedst train --resume {run}" in only(watcher)["why"]
    step = only(watcher)["step"]
    train(tmp_path, "--resume", run, "--stop-after", "1s", "--no-progress")
    facts = only(watcher)
    assert (facts["state"], facts["step"] > 0, step > 0) == ("stopped", True, True)


def test_imported_networks_are_no_failed_run_and_say_how_to_begin_with_them(trained, tmp_path, browser):
    run = tmp_path / "run"
    shutil.copytree(run_in(trained), run)
    for name in ("metrics.jsonl", "summary.json"):  # an imported folder has none
        (run / name).unlink()
    commit(run, imported="actor.onnx")
    with pytest.raises(CheckpointError) as refused:
        resume(run, {})
    facts = only(Watcher(run))
    assert (facts["state"], facts["why"]) == ("imported", str(refused.value))
    with served(run) as server:
        assert shown(browser, server, "document.querySelector('.state.imported') !== null", width=PHONE) == []
        assert f"--init-from {run}" in browser.run("document.querySelector('.note.plain').innerText")


def test_a_finished_run_has_everything_that_its_files_tell(trained):
    watcher = Watcher(trained / "runs")
    facts = only(watcher)
    assert (facts["state"], facts["step"], facts["newest"]["updates_per_step"]) == ("finished", 600, 1.0)
    assert {"critic_loss", "actor_loss", "connections_moved"} <= facts["newest"].keys()
    told = "\n".join(lines(watcher))
    assert "replay" in told
    assert "connections (" in told
    assert facts["missed_periods"] is facts["watts"] is facts["ends_at"] is None


def test_updates_of_the_run_that_another_began_with_do_not_count_for_it(trained, tmp_path):
    begun = ("--init-from", run_in(trained), "--steps", "100", "--eval-every", "0", "--no-progress")
    train(tmp_path, "--env", "InvertedPendulum-v5", "--budget-mb", "40", *begun)
    facts = only(Watcher(tmp_path / "runs"))
    assert (facts["state"], "updates_per_step" in facts["newest"]) == ("finished", False)


def test_connections_that_moved_are_told_layer_by_layer(tmp_path):
    train(tmp_path, *TINY, "--steps", "300", "--sparsity", "0.5")
    watcher = Watcher(tmp_path / "runs")
    first = watcher.runs()[0].topology()
    assert (first["step"], first["since"], sum(new for *_, new in first["layers"])) == (300, 300, 0)
    train(tmp_path, "--resume", run_in(tmp_path), "--steps", "900", "--no-progress")
    later = watcher.runs()[0].topology()
    assert (later["step"], later["since"]) == (900, 300)
    shapes = [(name, inputs, outputs, there) for name, inputs, outputs, there, _ in later["layers"]]
    assert [layer[:4] for layer in first["layers"]] == shapes
    assert 0 < sum(new for *_, new in later["layers"]) <= sum(there for *_, there in shapes)
    assert "new since step 300" in "\n".join(lines(watcher))


def test_without_evaluations_the_checkpoint_tells_the_losses(trained, tmp_path, browser):
    run = tmp_path / "runs" / run_in(trained).relative_to(trained / "runs")
    shutil.copytree(run_in(trained), run)
    episodes = [line for line in (run / "metrics.jsonl").read_text().splitlines() if "episode_return" in line]
    (run / "metrics.jsonl").write_text("".join(f"{line}\n" for line in episodes))
    facts = only(Watcher(tmp_path / "runs"))
    earned = [json.loads(line)["episode_return"] for line in episodes[-one_run.LAST_EPISODES :]]
    assert (facts["best"], facts["return"]) == (None, pytest.approx(sum(earned) / len(earned)))
    assert facts["newest"]["critic_loss"] > 0
    with served(tmp_path / "runs") as server:
        assert shown(browser, server, "document.querySelectorAll('.charts figure').length > 0", width=PHONE) == []
        assert "at the last checkpoint" in browser.run("document.body.innerText")


def test_what_a_page_has_is_not_sent_again(tmp_path):
    run = made_run(tmp_path, evaluations=[(0, 1.0), (100, 2.0)])
    watcher = Watcher(tmp_path)
    (name,) = watcher.news()["order"]
    first = watcher.news(name=name)
    assert evaluations(first) == [(0, 1.0), (100, 2.0)]
    quiet = more(watcher, first)
    assert (quiet["runs"], evaluations(quiet)) == ({}, [])
    write(run, [(200, 3.0)], more='{"step": 300, "evalu')
    news = more(watcher, quiet)
    assert (list(news["runs"]), evaluations(news)) == ([name], [(200, 3.0)])
    write(run, [], more='ation_return": 4.0}\n')
    assert evaluations(more(watcher, news)) == [(300, 4.0)]
    assert list(more(Watcher(tmp_path), news)["runs"]) == [name]
    assert evaluations(more(Watcher(tmp_path), news)) == [(0, 1.0), (100, 2.0), (200, 3.0), (300, 4.0)]


def test_a_run_that_was_resumed_from_before_what_was_read_is_read_anew(tmp_path):
    run = made_run(tmp_path, evaluations=[(0, 1.0), (100, 2.0)])
    watcher = Watcher(tmp_path)
    (name,) = watcher.news()["order"]
    first = watcher.news(name=name)
    kept = len((run / "metrics.jsonl").read_bytes().splitlines(keepends=True)[0])
    write(run, [(100, 2.5), (200, 9.0), (300, 4.0)], begin=kept)
    again = more(watcher, first)
    assert again["run"]["began"] != first["run"]["began"]
    assert evaluations(again) == [(0, 1.0), (100, 2.5), (200, 9.0), (300, 4.0)]
    facts = only(watcher)
    assert (facts["best"], facts["steps_per_second"]) == ((9.0, 200), 10.0)


def test_many_lines_come_in_several_answers_and_a_card_has_few_points(tmp_path, monkeypatch):
    monkeypatch.setattr(one_run, "READ_BYTES", 1000)
    told = [(step, float(step)) for step in range(500)]
    made_run(tmp_path, evaluations=told)
    watcher = Watcher(tmp_path)
    (name,) = watcher.news()["order"]
    news = watcher.news(name=name)
    assert sum(len(line) + 1 for line in news["run"]["lines"]) <= 1000
    found = evaluations(news)
    while news["run"]["more"]:
        news = more(watcher, news)
        found += evaluations(news)
    assert found == told
    facts = only(watcher)
    assert (facts["best"], facts["spark"][0], facts["spark"][-1]) == ((499.0, 499), 4.0, 499.0)
    assert len(facts["spark"]) == 56  # every ninth


def test_a_run_that_is_deleted_while_it_is_watched_is_gone(tmp_path):
    run = made_run(tmp_path, evaluations=[(0, 1.0)])
    watcher = Watcher(tmp_path)
    (name,) = watcher.news()["order"]
    shutil.rmtree(run)
    news = watcher.news(name=name)
    assert (news["order"], "run" in news) == ([], False)


@pytest.mark.parametrize("name", ["config.toml", "plan.json", "metrics.jsonl"])
@pytest.mark.parametrize("content", [b"", b"\xff\x00{", b'[1, 2]\n"a"\n{"step": "x"}\n{"step": 1e400}\n', b"[" * 9999])
def test_damaged_files_end_nothing(name, content, tmp_path):
    run = made_run(tmp_path, evaluations=[(0, 1.0)])
    (run / name).write_bytes(content)
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / "state.json").write_bytes(content)
    watcher = Watcher(tmp_path)
    facts = only(watcher)
    assert facts["state"] == "failed"
    assert any("state.json" in note for note in facts["notes"])
    json.dumps(watcher.news(name=facts["name"])["run"], allow_nan=False)
    json.dumps(facts, allow_nan=False)
    assert list(lines(watcher))


def test_a_machine_tells_its_missed_periods_and_why_it_rests(tmp_path):
    run = made_run(tmp_path)
    episode = {"step": 40, "episode": 0, "episode_return": 3.0, "missed_periods": 2, "rate_kept_hz": 49.0}
    ended = {"step": 80, "brought_to_rest": "a \x1b[2J hang"}
    lines_ = [episode, {**episode, "step": 80, "missed_periods": 1}, ended]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines_), encoding="utf-8")
    facts = only(Watcher(tmp_path))
    assert (facts["missed_periods"], facts["newest"]["missed_periods"], facts["return"], facts["best"]) == (
        3,
        1,
        3,
        None,
    )
    assert facts["why"].startswith("The machine was brought to rest: a \N{REPLACEMENT CHARACTER}[2J hang. ")


def test_a_study_tells_what_it_plans_and_why_a_run_failed(tmp_path):
    out = tmp_path / "studies" / "one"
    out.mkdir(parents=True)
    grid = '[settings]\nsteps = 3000\n[[grid]]\nenv = "Hopper-v4"\nseed = [0, 1]\n'
    (out / "study.toml").write_text(grid, encoding="utf-8")
    point, other = read_study(out / "study.toml").points
    made = write_run(out, point, [1.0, 2.0], finished=False)
    made.rename(made.with_name("s0-20260131-120000"))
    for failed, why in ((point, "BudgetBroken: too much"), (other, "no room")):
        (out / "points" / failed.name).mkdir(parents=True)
        (out / "points" / failed.name / "failed.txt").write_text(why, encoding="utf-8")
    for folder in (out, out.parent):
        watcher = Watcher(folder)
        run = only(watcher)
        assert "2 runs are planned" in watcher.head["studies"][0]
        assert "failed before it had a run: no room" in watcher.head["studies"][0]
        assert (run["state"], run["why"]) == ("failed", "BudgetBroken: too much")


def test_elsewhere_every_request_needs_the_token_of_the_address(trained):
    with served(trained / "runs", "0.0.0.0") as server:
        path = "/" + server.address.split("/", 3)[3]
        assert len(path) > 20
        assert get(server, path)[0] == get(server, path + "news")[0] == 200
        for wrong in ("/", "/news", path[:-2] + "/", path[:-1] + "x/news", "/%C3%A9/", "//"):
            assert get(server, wrong)[0] == 403, wrong
        assert get(server, "/", method="POST")[0] == 403
        for wrong in ("etc/passwd", "../one_run.py", "watch.js/", "profile.html"):
            assert get(server, path + wrong)[0] == 404, wrong
        status, news, _ = get(server, path + "news?name=../..&seen=-1&at=%FF&began=" + "9" * 5000)
        assert (status, "run" in json.loads(news)) == (200, False)


def test_on_this_machine_a_page_of_another_name_reads_nothing(trained):
    with served(trained / "runs") as server:
        status, page, headers = get(server, "/")
        assert status == 200
        assert b"watch.js" in page
        assert "'unsafe-inline'" not in headers["Content-Security-Policy"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert get(server, "/news", host="elsewhere.example:80")[0] == 403


def test_errors_say_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    for wrong in ("file", "missing"):
        with pytest.raises(ConfigError, match=r"is not a folder\. Name a run"):
            Watcher(tmp_path / wrong)
    with served(tmp_path) as server:
        with pytest.raises(ConfigError, match="`--port 0` takes one that is free"):
            Server(Watcher(tmp_path), LOCAL, server.server_address[1])
        for host in ("192.0.2.77", "no host", "x" * 70):
            with pytest.raises(ConfigError, match="is no address that this machine can listen on"):
                Server(Watcher(tmp_path), host, 0)


def test_ctrl_c_ends_it_with_0_and_text_is_printed_once_into_a_file(trained):
    process = subprocess.Popen(
        edgedst("watch", "--port", "0"), cwd=trained, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().startswith(f"http://{LOCAL}:")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    done = subprocess.run(edgedst("watch", "--text"), cwd=trained, capture_output=True, text=True, check=True)
    assert "finished  600/600" in done.stdout
    done = subprocess.run(edgedst("watch", "--text"), cwd=trained.parent, capture_output=True, text=True, check=True)
    assert "Begin with: edgedst train" in done.stdout


def test_lines_that_a_terminal_wraps_count_as_the_rows_that_they_take(trained, monkeypatch, capsys):
    told = ["a" * 100, "", "b" * 80]  # 3, 1 and 2 rows of 40 columns
    monkeypatch.setattr("edgedst.watch.text.lines", lambda _: told)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(time, "sleep", ends)
    for columns, height, shown in ((100, 4, 3), (100, 3, 2), (40, 10, 3), (40, 7, 3), (40, 6, 2), (40, 4, 1)):
        monkeypatch.setattr(shutil, "get_terminal_size", lambda size=(columns, height): os.terminal_size(size))
        with pytest.raises(KeyboardInterrupt):
            show(Watcher(trained))
        assert capsys.readouterr().out == "\x1b[H\x1b[J" + "\n".join(told[:shown]) + "\n"


def ends(_seconds):
    raise KeyboardInterrupt


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_page_shows_a_run_without_a_complaint_or_a_sideways_scroll(width, dark, trained, browser):
    with served(trained / "runs") as server:
        ready = "document.querySelectorAll('.charts figure').length > 4"
        assert shown(browser, server, ready, width=width, dark=dark) == []
        text = browser.run("document.body.innerText")
        assert all(part in text for part in ("InvertedPendulum-v5", "finished", "Memory, peak", "of 40 MB", "replay"))
        assert browser.run("document.documentElement.scrollWidth") == width
        browser.run("[...document.querySelectorAll('button')].find(b => b.textContent === 'minutes').click()")
        assert " min" in browser.run("document.querySelector('.charts .first').textContent")
        assert browser.complaints == []


def test_the_page_follows_a_run_and_shows_what_files_say_as_text(tmp_path, browser):
    folder = tmp_path / "<img src=x> ä b"
    evil = "<script>document.title='gone'</script><img src=x onerror=alert(1)>"
    run = made_run(folder, evaluations=[(0, 1.0)])
    write(run, [], more=json.dumps({"step": 1, "brought_to_rest": evil}) + "\n")
    with served(folder) as server:
        assert shown(browser, server, "document.querySelector('.note') !== null", width=PHONE) == []
        assert browser.run("document.querySelectorAll('main img, body script, header img').length") == 1  # its own
        text = browser.run("document.body.innerText")
        assert evil in text
        assert "<img src=x> ä b" in text
        write(run, [(500, 1234.5)])
        until(browser, "document.querySelector('.tile b').textContent === '1,235'")
        shutil.rmtree(folder / "Arm-v0")
        until(browser, "document.body.innerText.includes('Begin with edgedst train')")
        assert browser.complaints == []


def test_ten_thousand_evaluations_and_fifty_runs_are_drawn_in_few_points(tmp_path, browser):
    run = made_run(tmp_path, evaluations=[(10 * n, float(n * 7919 % 1000)) for n in range(10_000)], steps=200_000)
    for seed in range(1, 50):
        made_run(tmp_path, f"s{seed}-20250131-120000", evaluations=[(0, 1.0), (100, 2.0)], seed=seed)
    with served(tmp_path) as server:
        for width in (DESKTOP, PHONE):
            shown(browser, server, "document.querySelectorAll('.card').length === 50", width=width)
            browser.run("document.querySelector('.card').click()")
            until(browser, "document.querySelectorAll('.charts figure').length > 1")
            points = browser.run(
                "[...document.querySelectorAll('path')].map(p => p.getAttribute('d').split(/[ML]/).length)"
            )
            assert max(points) <= 2 * width
            assert browser.run("document.documentElement.scrollWidth") == width
        before = len(browser.requests)
        write(run, [(100_000 + 10 * n, 5.0) for n in range(8)])
        until(browser, "runs[order[0]].step === 100070")
        assert browser.complaints == []
        asked = next(url for url in reversed(browser.requests[before:]) if "/news?" in url)
        answer = json.loads(get(server, "/" + asked.split("/", 3)[3])[1])
        assert len(answer["run"]["lines"]) <= 9
        assert len(answer["runs"]) <= 1
