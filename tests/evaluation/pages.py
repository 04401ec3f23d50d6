"""What every page must hold to, looked at in a real browser: no network, readable, reachable, not cut."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
WIDE, PHONE, PAPER = 1280, 390, 720
VIEWS = [(width, scheme) for width in (WIDE, PHONE) for scheme in ("light", "dark")]
# What a chart must say that it shows: a number without its unit is none.
UNITS = r"%|points|nats|tokens|steps?|share|of 0 to 1|seconds|US dollars"
READABLE_CONTRAST = 4.5


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start a headless Chromium; skips the test when there is none."""
    if not CHROMIUM:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@contextmanager
def opened(browser: Browser, path: Path, width: int = WIDE, scheme: str = "light") -> Iterator[Page]:
    """Open a page from its file; it must ask for nothing else and have nothing to complain of."""
    said, asked = list[str](), list[str]()
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.absolute().as_uri())
    yield page
    assert not said, "\n".join(said)
    others = [url for url in asked if not url.startswith("data:") and url != path.absolute().as_uri()]
    assert not others, f"asked for {others}"
    context.close()


def check_file(browser: Browser, path: Path) -> None:
    """Check a page on a wide screen and a phone, light and dark, by keyboard, and on paper."""
    for width, scheme in VIEWS:
        with opened(browser, path, width, scheme) as page:
            check_page(page)
    with opened(browser, path) as page:
        check_keyboard(page)
    with opened(browser, path, PAPER) as page:
        check_print(page)


def check_page(page: Page) -> None:
    """Check an open page as it is shown now; all problems are told at once."""
    # What is folded away must be as readable as the rest.
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.evaluate(_DRAWN)
    found = page.evaluate(f"({_CHECKS})({{units: {UNITS!r}, contrast: {READABLE_CONTRAST}}})")
    assert not found, "\n".join(found)


def check_keyboard(page: Page) -> None:
    """Check that Tab reaches each link, each summary, and each region that has to be scrolled, in their order."""
    wanted = page.evaluate(_REACHABLE)
    assert wanted, "the page has nothing to reach"
    reached = list[int]()
    for _ in range(len(wanted) + 2):
        page.keyboard.press("Tab")
        index = page.evaluate(f"(({_REACHABLE_ELEMENTS})()).indexOf(document.activeElement)")
        if index >= 0 and index not in reached:
            reached.append(index)
    found = [wanted[index] for index in reached]
    assert found == wanted, f"reached {found}, expected {wanted}"


def check_print(page: Page) -> None:
    """Check that paper shows what is folded away or scrolled on a screen."""
    page.emulate_media(media="print")
    # What is unfolded is known to be visible only once it has been drawn.
    page.evaluate(_DRAWN)
    found = page.evaluate(f"({_PRINT_CHECKS})()")
    assert not found, "\n".join(found)


_DRAWN = "new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
_REACHABLE_ELEMENTS = """() => [...document.querySelectorAll('a[href], summary, [tabindex="0"]')]
    .filter(each => each.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true}))"""
_REACHABLE = f"""(() => (({_REACHABLE_ELEMENTS})()).map(
    each => each.tagName + ' ' + (each.getAttribute('aria-label') || each.textContent.trim().slice(0, 40))))()"""
_NAME = """each => each.tagName.toLowerCase() + (each.getAttribute('class') ? '.' + each.getAttribute('class') : '')
    + ' "' + (each.getAttribute('aria-label') || each.textContent).trim().replace(/\\s+/g, ' ').slice(0, 50) + '"'"""

_PRINT_CHECKS = f"""() => {{
  const name = {_NAME}, problems = [];
  for (const details of document.querySelectorAll('details'))
    for (const child of details.children)
      if (child.tagName != 'SUMMARY' && !child.checkVisibility({{contentVisibilityAuto: true}}))
        problems.push('not printed: ' + name(child));
  for (const each of document.querySelectorAll('body *')) {{
    const style = getComputedStyle(each);
    const cut = (style.overflowX != 'visible' && each.scrollWidth > each.clientWidth + 1)
      || (style.overflowY != 'visible' && each.scrollHeight > each.clientHeight + 1);
    if (cut && !each.closest('svg')) problems.push('cut on paper: ' + name(each));
  }}
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) problems.push('wider than the paper: ' + root.scrollWidth);
  return problems;
}}"""

_CHECKS = f"""(limits) => {{
  const name = {_NAME}, problems = [];
  const every = selector => [...document.querySelectorAll(selector)];
  const tell = (wrong, what) => {{ if (wrong) problems.push(what); }};

  // -- structure
  tell(!document.documentElement.lang, 'no language');
  tell(!document.title.trim(), 'no title');
  tell(every('main').length != 1, 'not one main');
  tell(every('script, img, iframe, object, embed, link[rel=stylesheet]').length, 'script, image or another document');
  tell(every('h1').length != 1, 'not one h1');
  let before = 0;
  for (const heading of every('h1, h2, h3, h4, h5, h6')) {{
    const level = Number(heading.tagName[1]);
    tell(level > before + 1, 'a level is skipped before ' + name(heading));
    before = level;
  }}
  const ids = every('[id]').map(each => each.id);
  tell(new Set(ids).size != ids.length, 'an id twice');
  for (const link of every('a[href^="#"]'))
    tell(!document.getElementById(link.getAttribute('href').slice(1)), 'a link to nowhere: ' + name(link));
  for (const table of every('table'))
    tell(!table.caption || !table.caption.textContent.trim(), 'no caption: ' + name(table));
  for (const cell of every('th')) tell(!['row', 'col'].includes(cell.getAttribute('scope')), 'no scope: ' + name(cell));
  for (const region of every('[role=region]')) tell(!region.getAttribute('aria-label'), 'no name: ' + name(region));

  // -- size
  const root = document.documentElement;
  tell(root.scrollWidth > root.clientWidth, 'the page is too wide: ' + root.scrollWidth);
  for (const each of every('body *')) {{
    const style = getComputedStyle(each), scrolls = ['auto', 'scroll'];
    const wide = scrolls.includes(style.overflowX) && each.scrollWidth > each.clientWidth;
    const high = scrolls.includes(style.overflowY) && each.scrollHeight > each.clientHeight;
    tell((wide || high) && each.tabIndex < 0, 'scrolls, and no key reaches it: ' + name(each));
    tell((wide || high) && !each.getAttribute('aria-label'), 'scrolls, and has no name: ' + name(each));
  }}

  // -- charts
  for (const chart of every('svg')) {{
    const label = chart.getAttribute('aria-label') || (chart.querySelector('title') || {{}}).textContent || '';
    if (chart.getAttribute('aria-hidden') != 'true') {{
      tell(chart.getAttribute('role') != 'img' || !label.trim(), 'a chart without a text: ' + name(chart));
      tell(!new RegExp(limits.units).test(label), 'a chart without a unit: ' + label);
    }}
    const own = chart.getBoundingClientRect();
    const shown = [...chart.querySelectorAll('text')].filter(text => text.getClientRects().length);
    const boxes = shown.map(text => [text, text.getBoundingClientRect()]);
    boxes.forEach(([text, box], index) => {{
      const outside = box.left < own.left - 1 || box.right > own.right + 1 || box.top < own.top - 1
        || box.bottom > own.bottom + 1;
      tell(outside, 'a label is cut: ' + name(text) + ' in ' + name(chart));
      tell(box.height < 9, 'a label is too small: ' + name(text) + ', ' + box.height);
      for (const [other, place] of boxes.slice(index + 1))
        tell(box.left < place.right - .5 && place.left < box.right - .5 && box.top < place.bottom - .5
          && place.top < box.bottom - .5, 'labels overlap: ' + name(text) + ' and ' + name(other));
    }});
  }}

  // -- contrast
  const parsed = text => {{
    const numbers = (text.match(/[-\\d.e]+/g) || []).map(Number), scale = text.startsWith('color(') ? 255 : 1;
    return numbers.length < 3 ? [0, 0, 0, 0]
      : [...numbers.slice(0, 3).map(value => value * scale), numbers.length > 3 ? numbers[3] : 1];
  }};
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
  const behind = each => {{
    const layers = [];
    for (let place = each; place; place = place.parentElement)
      layers.push(parsed(getComputedStyle(place).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  }};
  const luminance = colour => colour.map(part => part / 255)
    .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + part * [.2126, .7152, .0722][i], 0);
  const seen = new Set(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {{
    const each = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || seen.has(each) || !each.getClientRects().length) continue;
    seen.add(each);
    const style = getComputedStyle(each), page = behind(each);
    const text = over(parsed(each.closest('svg') ? style.fill : style.color), page);
    const [light, dark] = [luminance(text), luminance(page)].sort((a, b) => b - a);
    const contrast = (light + .05) / (dark + .05);
    tell(contrast < limits.contrast, 'hard to read (' + contrast.toFixed(1) + '): ' + name(each));
  }}
  return [...new Set(problems)];
}}"""
