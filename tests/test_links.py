"""Every link from one of our pages to another leads to a page that is there, and to a heading that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ +(.*?)\s*$", re.MULTILINE)


def text_of(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """What a page's headings are called in links, as GitHub and the built pages do."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(text_of(page))
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for place, anchor in LINK.findall(text_of(page)):
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{page.name} has a link to {place}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} has a link to {place}#{anchor}"


def test_each_feature_of_the_models_has_its_page() -> None:
    """The table of features names, in each of its rows, where it is told here."""
    rows = [
        row
        for row in (ROOT / "docs" / "features.md").read_text(encoding="utf-8").splitlines()
        if row.startswith("|")
    ]
    assert len(rows) > 50
    for row in rows[2:]:
        feature, *models, here = [cell.strip() for cell in row.strip("|").split("|")]
        assert feature
        assert len(models) == 3
        assert LINK.search(here) or here.startswith("not yet: "), f"nothing tells where {feature!r} is"
