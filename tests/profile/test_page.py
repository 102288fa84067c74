"""The profile's page: figures, words and escaping from its HTML alone; test_page_in_browser.py shows it."""

import copy
import json
import re

import pytest
from profile_documents import bare, emptied, measured, modelled, without_dense, without_energy

from edgedst.errors import RunFolderError
from edgedst.profile.page import page, write_page


def text_of(html):
    """What a reader sees, roughly: no tags, a space where a block ends, one space for many."""
    body = re.sub(r"<(style|script|svg)\b.*?</\1>|</(?!span|code|strong)", r" \g<0>", html, flags=re.S)
    body = re.sub(r"<(style|script|svg)\b.*?</\1>", "", body, flags=re.S)
    return " ".join(re.sub(r"<[^>]*>", "", body).replace("\N{NO-BREAK SPACE}", " ").split())


def headline_of(document):
    return text_of(re.search(r"<h1>.*?</h1>", page(document), re.S)[0])


def every_path(value, path=()):
    """Paths of everything below, as keys."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield (*path, key)
        yield from every_path(one, (*path, key))


def with_value(document, path, value):
    changed = copy.deepcopy(document)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return changed


def test_the_whole_document_is_in_the_page(tmp_path):
    document = measured()
    document["doubts"].append("A < B & </script> <!-- \N{LINE SEPARATOR} `x`")
    write_page(document, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    (held,) = re.findall(r'<script type="application/json" id="profile">(.*?)</script>', html, re.S)
    assert json.loads(held) == document


def test_a_page_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(RunFolderError, match="missing"):
        write_page(measured(), tmp_path / "missing" / "page.html")


def test_a_page_and_what_is_beside_it_are_written_together_or_not_at_all(tmp_path):
    document = {**measured(), "command": "edgedst profile caf\udce9"}  # a path that is no UTF-8
    write_page(document, tmp_path / "page.html", {str(tmp_path / "p.json"): b"{}"})
    before = (tmp_path / "page.html").read_bytes()
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunFolderError):
        write_page(measured(), tmp_path / "page.html", {str(tmp_path / "folder"): b"{}"})
    assert (tmp_path / "page.html").read_bytes() == before
    assert (tmp_path / "p.json").read_bytes() == b"{}"


def test_the_headline_says_what_sparse_costs_against_dense():
    assert headline_of(measured()) == (
        "Against dense, sparse takes 32 % less time a step, 31 % less energy and 3 % less memory besides its replay."
    )


def test_without_dense_the_headline_is_about_those_that_ran():
    document = without_dense()
    assert headline_of(document) == (
        "Against Stable-Baselines3, sparse takes 74 % less time a step, 73 % less energy and "
        "86 % less memory at its peak."
    )
    document["ratios"]["sparse / sb3"]["energy_total"] = None
    assert headline_of(document).endswith("86 % less memory at its peak. Energy was not measured.")


def test_of_a_replay_that_is_not_reserved_nothing_is_taken_off():
    # A peer's process has touched only what it has filled: its peak less the whole replay would be too small.
    html = page(measured())
    assert 'data-path="contenders.1.memory.peak_bytes.median - contenders.1.memory.replay_bytes"' in html
    assert "contenders.2.memory.peak_bytes.median - " not in html


def test_where_both_fill_one_budget_the_page_shows_what_it_buys_and_not_two_equal_peaks():
    html = page(measured())
    charts = {
        title: dict(re.findall(r'<span class="name">(.*?)</span><span class="told">(.*?)</span>', rows))
        for title, rows in re.findall(r"<figcaption><strong>(.*?)</strong>(.*?)</figure>", html, flags=re.S)
    }
    kept = {name: text_of(figure) for name, figure in charts["Transitions kept"].items()}
    assert kept == {
        "edgedst DS-TD3": "469,000",
        "edgedst dense TD3": "455,500",
        "Stable-Baselines3 2.9.2 TD3": "not planned",
    }
    assert "Peak memory of the process" not in charts
    assert text_of(charts["sparse against dense"]["Memory besides the replay"]) == "0.97"
    assert text_of(charts["sparse against dense"]["Transitions kept"]) == "1.03"
    assert "Peak memory" not in charts["sparse against dense"]
    assert text_of(charts["sparse against Stable-Baselines3"]["Peak memory"]) == "0.14"  # which no budget holds


def test_modelled_energy_is_never_told_as_measured():
    assert headline_of(modelled()) == (
        "Against dense, sparse takes 23 % more time a step, 31 % less energy (modelled, not measured) and 3 % less "
        "memory besides its replay."
    )
    html = page(modelled())
    assert html.count('<p class="modelled">modelled, not measured</p>') == 3  # the answer, the charts, the run
    for name in ("Energy", "Energy above idle", "Energy of 1,000 steps"):
        assert f">{name} (modelled, not measured)<" in html
    assert "modelled, not measured" not in page(measured())


def test_where_the_interval_holds_1_no_difference_is_claimed():
    assert headline_of(without_energy()) == (
        "Against dense, sparse takes about as much time a step and 3 % less memory besides its replay. "
        "Energy was not measured."
    )
    assert ">no clear difference<" in page(without_energy())


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.5, "50 % less time a step"),
        (0.996, "as much time a step"),
        (1.25, "25 % more time a step"),
        (1.994, "99 % more time a step"),
        (3.456, "3.5 times as much time a step"),
    ],
)
def test_a_ratio_is_told_in_words(ratio, words):
    document = measured()
    document["ratios"]["sparse / dense"]["step_seconds"] = {"median": ratio, "low": None, "high": None}
    assert f"sparse takes {words}" in headline_of(document)


def test_energy_that_was_not_measured_is_told_with_its_reason():
    told = text_of(page(without_energy()))
    assert "Energy not measured No source of energy can be read: RAPL is there but needs root;" in told
    assert not re.search(r"\d J\b", told)


def test_doubts_stand_before_the_first_chart():
    html = page(measured())
    assert 0 < html.index("2 reasons to doubt") < html.index("<svg")
    assert "no reason to doubt" in page(modelled())
    assert "was not looked for" in page(bare())


@pytest.mark.parametrize("document", [bare(), emptied(measured())], ids=["bare", "emptied"])
def test_what_is_null_is_not_drawn_and_has_no_number(document):
    html = page(document)
    assert "<svg" not in html
    assert "data-value" not in html
    assert headline_of(document) == "Nothing was measured of sparse against dense."
    assert not re.search(r"None|NaN|null", text_of(html))


def test_any_one_field_may_be_null():
    document = measured()
    whole = page(document)
    # One entry stands for all of a list, but contenders play different parts.
    kinds = {re.sub(r"(?<!contenders)\.\d+", ".n", ".".join(map(str, path))): path for path in every_path(document)}
    assert len(kinds) > 200
    for path in kinds.values():
        html = page(with_value(document, path, None))
        assert not re.search(r"\b(None|NaN|null|inf)\b", text_of(html)), path
        # Its figures are gone from text and charts alike.
        at = ".".join(map(str, path))
        if f'data-path="{at}" data-value' in whole:
            assert f'data-path="{at}" data-value' not in html, path


def test_a_stack_that_lacks_a_line_is_not_drawn():
    document = measured()
    document["contenders"][0]["memory"]["ledger"][3]["bytes"] = None
    html = page(document)
    assert 'data-drawn="contenders.0.memory.ledger' not in html
    assert 'data-path="contenders.0.memory.ledger.2.bytes" data-value="147136"' in html
    assert 'data-drawn="contenders.1.memory.ledger' in html


def test_figures_that_no_file_can_hold_are_not_shown():
    document = measured()
    for path in (("contenders", 0, "steps_per_second", "median"), ("energy", "idle_watts")):
        document = with_value(document, path, float("nan"))
    document["contenders"][1]["updates_per_second"]["median"] = 0.0  # no update has a duration then
    html = page(document)
    for path in ("contenders.0.steps_per_second.median", "energy.idle_watts"):
        assert f'data-path="{path}" data-value' not in html
    assert not re.search(r"\b(nan|inf)\b", text_of(html).lower())


def test_strings_are_escaped_wherever_they_stand():
    evil = '<img src=x onerror="alert(1)">&\'</td>'
    document = measured()
    for path in every_path(document):
        at = document
        for key in path[:-1]:
            at = at[key]
        if isinstance(at[path[-1]], str) and path[-1] != "name":
            at[path[-1]] = evil
    document["contenders"][0]["memory"]["ledger"][0]["name"] = evil
    document["contenders"][0]["flops"]["parts"][evil] = 12_345_678
    document["ratios"][f"{evil} / dense"] = document["ratios"].pop("sparse / sb3")
    html = re.sub(r'<script type="application/json".*?</script>', "", page(document), flags=re.S)
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;" in html
    assert "<img" not in html
    assert 'onerror="' not in html
