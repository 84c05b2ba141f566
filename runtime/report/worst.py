"""The section of the report on what fared worst: queries, or texts with hidden tokens."""

from __future__ import annotations

from html import escape

from specrun.runtime.report.shape import Json, numbers, part


def worst_section(worst: Json | None) -> tuple[str, str]:
    """(title, body) of best/worst.json, as ``checked`` admits it; an empty body without one."""
    if worst is None:
        return "Worst queries", ""
    return (
        ("Worst texts", _texts(worst)) if "texts" in worst else ("Worst queries", _queries(worst))
    )


def checked(worst: Json) -> Json:
    """The content of worst.json. ValueError where it is damaged."""
    texts = "texts" in worst
    for name in ("step", "texts") if texts else ("step", "width", "queries", "candidates"):
        part(worst, name, int)
    for one in part(worst, "worst", list):
        _check_text(one) if texts else _check_query(one)
    return worst


def _check_text(one: Json) -> None:
    for name, kind in (("text", str), ("place", str), ("hidden", int)):
        part(one, name, kind)
    numbers({"loss": one.get("loss")}, "worst")


def _check_query(query: Json) -> None:
    for name, kind in (("query", str), ("place", str), ("rank", int), ("found", list)):
        part(query, name, kind)
    for candidate in (part(query, "expected", dict), *query["found"]):
        for name in ("text", "place", "name"):
            part(candidate, name, str)
        numbers({"score": candidate.get("score")}, "worst")


def _texts(worst: Json) -> str:
    intro = (
        f"<p>Held-out texts whose hidden tokens cost most on average, after step {worst['step']:,}; "
        f"{worst['texts']:,} texts in all.</p>\n"
    )
    items = "".join(
        f'<li><p class="query"><span class="rank">loss {one["loss"]:.3f}, {one["hidden"]:,} hidden</span> '
        f"{escape(one['text'])} <small>{escape(one['place'])}</small></p></li>\n"
        for one in worst["worst"]
    )
    return f"{intro}<ol>{items}</ol>\n"


def _queries(worst: Json) -> str:
    intro = (
        f"<p>Held-out queries whose right answer ranks worst among {worst['candidates']:,} candidates, "
        f"after step {worst['step']:,}, at width {worst['width']}; {worst['queries']:,} queries in all.</p>\n"
    )
    return intro + f"<ol>{''.join(_query(q) for q in worst['worst'])}</ol>\n"


def _query(query: Json) -> str:
    found = "".join(_candidate("found", c) for c in query["found"])
    return (
        f'<li><p class="query"><span class="rank">rank {query["rank"]:,}</span> {escape(query["query"])} '
        f"<small>{escape(query['place'])}</small></p>\n"
        f"{_candidate('expected', query['expected'])}{found}</li>\n"
    )


def _candidate(role: str, candidate: Json) -> str:
    first = candidate["text"].strip().split("\n", 1)[0]
    name = escape(candidate["name"] or first[:80])
    return (
        f'<details class="{role}"><summary><span class="role">{role}</span> '
        f'<span class="score">{candidate["score"]:.3f}</span> {name} '
        f"<small>{escape(candidate['place'])}</small></summary><pre>{escape(candidate['text'])}</pre></details>\n"
    )
