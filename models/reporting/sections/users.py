"""The gallery: a table of users, and for each one the history, what was taken next, and every run's list.

All of it is there without a script; that shows one user and one run at a time, and sorts and filters.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from models.reporting.plots import COLOURS
from toolkit.graphemes import cut
from toolkit.measures import number
from toolkit.page.markup import Html, text

Facts = dict[str, Any]
LONG = 90  # letters of a caption that are always shown


def cover_styles(group: int, covers: Mapping[str, bytes]) -> str:
    """Each cover once, as the background of the class that its pictures have."""
    return "".join(
        f".c{group}-{number} {{ background-image: url(data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}) }}\n"
        for number, jpeg in covers.items()
    )


def users(facts: Facts, group: Facts, covers: Sequence[Mapping[str, bytes]]) -> Html:
    """The gallery of a group.

    Args:
        facts: of the report.
        group: one of its groups.
        covers: of each group's gallery, JPEG by item number.
    """
    place = facts["groups"].index(group)
    return _Gallery(facts, place, set(covers[place])).render()


class _Gallery:
    """One gallery; what its parts share."""

    def __init__(self, facts: Facts, place: int, covered: set[str]) -> None:
        group = facts["groups"][place]
        self.place = place
        self.covered = covered
        self.users: list[Facts] = group["gallery"]["users"]
        self.items: dict[str, Facts] = group["gallery"]["items"]
        self.runs: dict[str, Facts] = {str(p): facts["runs"][p] for p in group["runs"]}
        self.first: Facts = facts["runs"][group["runs"][0]]

    def render(self) -> Html:
        if not self.users:
            return Html('<p class="soft">No users were asked for (--users 0).</p>')
        how = (
            f"{number(len(self.users), 'user')} of {self.first['users']:,}, evenly over the quantiles of the rank that "
            f"{self.first['name']} gives to what they took next: from where it does best to where it does worst. "
            "Lists leave out what a user had already; ranks are those of the evaluation."
        )
        look = "" if self.covered else " coverless"
        panels = "\n".join(self._panel(place, user) for place, user in enumerate(self.users))
        return Html(
            f'<p class="soft">{text(how)}</p>\n<div class="gallery{look}">\n'
            f'{self._tools()}\n{self._table()}\n<p class="soft none" hidden>No user is like that.</p>\n'
            f'<div class="panels">\n{panels}\n</div>\n</div>'
        )

    def _tools(self) -> str:
        """Shown by the script, which they need."""
        choices = "".join(
            f'<option value="{key}">{text(run["name"])} has it in its top 10</option>'
            f'<option value="!{key}">{text(run["name"])} misses it</option>'
            for key, run in self.runs.items()
        )
        return (
            '<form class="tools" hidden><label>Find <input type="search" name="find" '
            'placeholder="user, title, item" autocomplete="off"></label>'
            f'<label>Show <select name="show"><option value="">all users</option>{choices}</select></label></form>'
        )

    def _table(self) -> str:
        heads = [
            "user",
            "history",
            "took next",
            "in training",
            *(r["name"] for r in self.runs.values()),
        ]
        numeric = [False, True, False, *[True] * (1 + len(self.runs))]
        cells = "".join(
            f'<th scope="col"{_right(right)}>{text(head)}</th>'
            for head, right in zip(heads, numeric, strict=True)
        )
        rows = "\n".join(self._row(place, user) for place, user in enumerate(self.users))
        return (
            '<div class="wide"><table class="users"><caption>Users, and at which rank each run has what they '
            f"took next</caption>\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
        )

    def _row(self, place: int, user: Facts) -> str:
        target = self.items[str(user["target"])]
        hits = " ".join(key for key in self.runs if _is_hit(user["ranks"][key]))
        found = f"{user['user_id']} {target['item_id']} {target['title'] or ''}".lower()
        ranks = "".join(
            f'<td class="right{" hit" if _is_hit(user["ranks"][key]) else ""}">{_rank(user["ranks"][key])}</td>'
            for key in self.runs
        )
        return (
            f'<tr data-user="{self._id(place)}" data-hits="{hits}" data-find="{text(found)}"><th scope="row">'
            f'<a href="#{self._id(place)}">{text(user["user_id"])}</a></th>'
            f'<td class="right">{user["history_length"]:,}</td><td dir="auto">{_title(target)}</td>'
            f'<td class="right">{target["seen"]:,}</td>{ranks}</tr>'
        )

    def _id(self, place: int) -> str:
        return f"user-{self.place}-{place}"

    def _panel(self, place: int, user: Facts) -> str:
        shown = len(user["history"])
        newest = (
            f", the newest {shown} of {user['history_length']:,}"
            if shown < user["history_length"]
            else ""
        )
        history = "".join(self._item(number, "") for number in user["history"])
        lists = "\n".join(self._list(key, user) for key in self.runs)
        return (
            f'<article class="user" id="{self._id(place)}" tabindex="-1" aria-label="User {text(user["user_id"])}">\n'
            f'<div class="head"><h3>User {text(user["user_id"])}</h3></div>\n'
            f'<div class="story"><div><h4>Had, oldest first{newest}</h4>\n<ol class="items strip">{history}</ol></div>\n'
            f'<div class="next"><h4>Took next</h4>\n<ol class="items">{self._item(user["target"], "")}</ol></div></div>\n'
            f'<div class="lists">\n{lists}\n</div>\n</article>'
        )

    def _list(self, key: str, user: Facts) -> str:
        run, target = self.runs[key], user["target"]
        items = "".join(
            self._item(number, f"{rank}", is_hit=number == target)
            for rank, number in enumerate(user["lists"][key], start=1)
        )
        rank = user["ranks"][key]
        place = f"at rank {_rank(rank)} of {run['catalogue']:,}"
        found = (
            "may not rank what was taken next: it is masked"
            if rank is None
            else f"has what was taken next {place}"
        )
        return (
            f'<section class="list" data-list="{key}"><h4><span class="chip s{int(key) % COLOURS}">{text(run["name"])}'
            f'</span> <span class="soft">{found}</span></h4>\n'
            f'<ol class="items">{items}</ol></section>'
        )

    def _item(self, number: int, badge: str, *, is_hit: bool = False) -> str:
        item = self.items[str(number)]
        covered = str(number) in self.covered
        picture = (
            f'<span class="cover c{self.place}-{number}">'
            if covered
            else '<span class="cover bare">'
        )
        badges = f'<b class="badge">{badge}</b>' if badge else ""
        taken = '<b class="taken">taken next</b>' if is_hit else ""
        said = "".join(_caption(name, words) for name, words in item["captions"].items())
        seen = "never in training" if item["seen"] == 0 else f"{item['seen']:,} × in training"
        return (
            f'<li class="item{" hit" if is_hit else ""}">{picture}{badges}{taken}</span>'
            f'<p class="title" dir="auto">{_title(item)}</p>{said}<p class="seen">{seen}</p></li>'
        )


def _caption(name: str, words: str) -> str:
    label = f'<span class="soft">{escape(name)}</span> '
    if len(words) <= LONG:
        return f'<p class="said" dir="auto">{label}{escape(words)}</p>'
    start = cut(words, LONG).rsplit(" ", 1)[0]
    return (
        f'<details class="said"><summary dir="auto">{label}{escape(start)} …</summary>'
        f'<p dir="auto">{escape(words)}</p></details>'
    )


def _title(item: Facts) -> Html:
    return text(item["title"]) if item["title"] else Html(f"<code>{text(item['item_id'])}</code>")


def _is_hit(rank: float | None) -> bool:
    return rank is not None and rank <= 10


def _rank(rank: float | None) -> str:
    """Whole, or with the half that a tie gives; of a masked target, that it is."""
    if rank is None:
        return "masked"
    return f"{rank:,.0f}" if rank == int(rank) else f"{rank:,.1f}"


def _right(right: bool) -> str:
    return ' class="right"' if right else ""
