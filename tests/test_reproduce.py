"""What a user of ``adagp reproduce`` gets: every notebook executed, a book built without warnings, pages that work offline."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from conftest import copy_checkout

from adagp import publishing
from adagp.publishing._notebooks import is_stale
from adagp.running import profile

pytestmark = pytest.mark.xdist_group("reproduce")  # one process: the reproduction is made once


def adagp(home, *arguments):
    environment = os.environ | {"ADAGP_HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    environment.pop("ADAGP_DATA", None)
    return subprocess.run(
        [sys.executable, "-m", "adagp", *arguments], env=environment, cwd=home, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A checkout in which the smoke profile has been reproduced."""
    home = copy_checkout(tmp_path_factory.mktemp("reproduced"))
    answer = adagp(home, "reproduce", "--profile", "smoke")
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-4000:]
    (home / "progress.txt").write_text(answer.stderr)
    (home / "claims.txt").write_text(answer.stdout)
    return home


@pytest.fixture(scope="module")
def pages(home):
    return home / "book" / "_build" / "html"


def test_progress_and_claims_are_printed(home):
    progress, claims = (home / "progress.txt").read_text(), (home / "claims.txt").read_text()
    assert re.search(r"\[\d\d:\d\d\] \d+/\d+ runs \| vgg13 digits bp seed 0: done, accuracy", progress)
    assert re.search(r"\d+/\d+ notebooks \| 16_claims in \d+ s", progress)
    assert re.search(r"mean-speedup (\(paper\) )? *(holds|differs)", claims)
    assert str(home / "book" / "_build" / "html" / "index.html") in progress


def test_nothing_is_done_twice(home):
    again = adagp(home, "reproduce", "--profile", "smoke")
    assert again.returncode == 0
    assert re.search(r"1/4 training: 0 of \d+ runs", again.stderr)
    assert "notebooks |" not in again.stderr and "nothing changed" in again.stderr


def test_only_a_touched_notebook_would_be_redone(home, at_home):
    at_home(home)
    smoke, executed = profile("smoke"), home / "artifact" / "output" / "smoke" / "executed"
    source, inputs = home / "notebooks" / "10_layers.ipynb", publishing.results_digest(smoke)

    def stale():
        return [job.page for job in publishing.notebook_jobs(smoke) if is_stale(job, executed, inputs)]

    status = source.stat()
    assert not stale()
    source.touch()
    assert stale() == ["10_layers"]
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_figures_are_saved_as_vector_bitmap_and_data(home):
    folder = home / "artifact" / "output" / "smoke" / "figures"
    drawn = {path.stem for path in folder.glob("*.svg")}
    assert {"speedup", "energy-saving", "accuracy", "curves-vgg13", "curves-transformer"} <= drawn
    for name in drawn:
        assert (folder / f"{name}.png").stat().st_size > 1000
        assert len((folder / f"{name}.csv").read_text().splitlines()) > 1 or name in ("phases", "designs", "reorganization")


def test_every_figure_has_a_text_for_those_who_do_not_see_it(pages):
    for page in pages.rglob("*.html"):
        html = page.read_text()
        for figure in re.findall(r'<figure class="adagp-figure">.{0,300}', html, re.DOTALL):
            assert re.search(r'role="img"[^>]* aria-label="[^"]{20,}"', figure), page


def test_pages_are_light_and_show_no_logs(pages):
    for page in pages.rglob("*.html"):
        html = page.read_text()
        assert page.stat().st_size < 1_500_000, page
        assert not re.search(r"Traceback \(most|UserWarning|FutureWarning|it/s\]", html), page
        assert str(pages.parents[2]) not in html, f"{page} shows a path of this machine"


def test_inline_numbers_are_filled_in(pages):
    for page in (pages / "notebooks").glob("*.html"):
        body = re.sub(r"<pre.*?</pre>", "", page.read_text(), flags=re.DOTALL)
        assert "glue:text" not in body and "{{" not in body, page


def test_the_appendix_says_how_long_each_page_and_run_took(pages):
    html = (pages / "artifact.html").read_text()
    cells = [re.sub(r"<.*?>", " ", row).split() for row in re.findall(r"<tr.*?</tr>", html, re.DOTALL)]
    assert any("10_layers" in row and re.fullmatch(r"\d+", row[row.index("10_layers") + 1]) for row in cells)
    for caption in ("Pages, on the machine that built this book", "Runs of the profile smoke", "Recorded runs"):
        assert caption in html


def _chromium():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = shutil.which("chromedriver")
    if not _chromium() or not driver:
        pytest.skip("no chromium with chromedriver is installed (Debian: chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = _chromium()
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}",
        "--window-size=1280,1000",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver)) as opened:
        yield opened


def test_the_sidebar_leads_to_every_page(pages, browser):
    browser.get((pages / "index.html").as_uri())
    links = browser.execute_script(
        "return [...document.querySelectorAll('.bd-sidebar-primary a.reference.internal')].map(a => a.href.split('#')[0])"
    )
    found = {Path(unquote(urlparse(link).path)) for link in links}
    built = {page for page in (*pages.glob("*.html"), *pages.glob("notebooks/*.html"))}
    built -= {pages / name for name in ("genindex.html", "search.html", "py-modindex.html", "index.html")}
    assert built <= found


# Tables, figures, code and results that leave the window or the box around them, and figures' text too small to read.
CUT = """
const found = [], page = document.documentElement.clientWidth;
const name = e => `${e.tagName} ${e.className.baseVal ?? e.className} "${e.textContent.trim().slice(0, 40)}"`;
for (const e of document.querySelectorAll('article :is(table, figure, svg, img, pre, .adagp-finding)')) {
  if (e.parentElement.closest('svg') || !e.getClientRects().length) continue;
  const box = e.getBoundingClientRect();
  if (box.left < -1 || box.right > page + 1) found.push(`${name(e)} ends at ${box.right} of ${page}`);
  for (let b = e; b.tagName !== 'ARTICLE'; b = b.parentElement)
    if (b.scrollWidth > b.clientWidth + 1 && getComputedStyle(b).overflowX !== 'visible')
      found.push(`${name(e)}: ${b.scrollWidth} in ${name(b)} of ${b.clientWidth}`);
  if (e.tagName === 'svg' && e.closest('figure, .adagp-picture')) {
    const scale = box.width / e.viewBox.baseVal.width, texts = [...e.querySelectorAll('text')];
    const sizes = texts.map(t => scale * parseFloat(getComputedStyle(t).fontSize));
    if (Math.min(99, ...sizes) < 8) found.push(`${name(e)}: text of ${Math.min(...sizes).toFixed(1)} pixels`);
    for (const t of texts) {
      const words = t.getBoundingClientRect();
      if (words.left < box.left - 2 || words.right > box.right + 2) found.push(`a figure cuts "${t.textContent.trim()}"`);
    }
  }
}
const wide = document.documentElement.scrollWidth - page;
return wide > 0 ? [`the page is ${wide} pixels wider than the window`, ...found] : found;
"""


# Messages of the browser, images that are broken, and what is asked of other machines.
OFFLINE = """
const broken = [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => `broken image ${i.src}`);
const names = performance.getEntriesByType('resource').map(e => e.name).filter(name => name.startsWith('http'));
return [...broken, ...names.map(name => `asks for ${name}`)];
"""
# The theme slides its side bar in when the window's width changes.
AT_ONCE = "document.head.insertAdjacentHTML('beforeend', '<style>* { transition: none !important }</style>');"


@pytest.mark.slow
def test_pages_work_offline_and_nothing_is_cut_at_any_width(pages, browser):
    found = {}
    for page in sorted((*pages.glob("*.html"), *pages.glob("notebooks/*.html"))):
        browser.get(page.as_uri())
        problems = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        problems += browser.execute_script(OFFLINE)
        browser.execute_script(AT_ONCE)
        for width in (390, 1280, 1920):
            screen = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
            problems += [f"{width} pixels: {problem}" for problem in browser.execute_script(CUT)]
        found[page.name] = problems
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert not {page: problems for page, problems in found.items() if problems}


def test_links_inside_the_book_have_targets(pages):
    for page in (*pages.glob("*.html"), *pages.glob("notebooks/*.html")):
        for href in re.findall(r'<a [^>]*href="([^"#:?]+)(?:#[^"]*)?"', page.read_text()):
            assert (page.parent / unquote(href)).exists(), f"{page.name} links to {href}"


def test_the_chip_that_a_reader_chooses_has_the_figures_of_a_simulation(pages, browser):
    """The page prints the call that gives the same figures: it is run here. Only the keyboard is used."""
    from selenium.webdriver.common.keys import Keys

    browser.get((pages / "notebooks" / "27_explore.html").as_uri())

    def control(name):
        return browser.find_element("id", f"explorer-{name}")

    def shown():
        pairs = browser.find_elements("css selector", "#explorer-result div")
        return dict(pair.text.split("\n") for pair in pairs)

    first = shown()
    for name in ("network", "array", "bandwidth", "dataflow", "dataflow", "design", "design"):
        control(name).send_keys(Keys.DOWN)
    control("batch").send_keys(Keys.UP)
    control("warm-up").send_keys(Keys.LEFT * 4)
    control("ratio").send_keys("3")
    printed = browser.find_element("id", "explorer-call").text
    chosen = ("vgg16", "batch=64", "rows=16", '"is"', '"max"', "warm_up_epochs=6", "final=(3, 1)")
    assert [word for word in chosen if word not in printed] == [], printed
    names: dict = {}
    exec(printed, names)
    report = names["report"]
    facts = shown()
    assert facts != first
    assert facts["Speed-up"] == f"{report.speedup:.2f} times" and facts["Energy saved"] == f"{100 * report.energy_saving:.1f} %"
    assert facts["Batches of Phase GP"] == f"{100 * report.numbers['gp'] / report.batches:.1f} %"
    area = sum(names["acc"].area("max", report.hardware, "is").values())
    assert facts["Area"].startswith(f"{area:.2f} mm²")
    assert browser.find_element("id", "explorer-note").text == "vgg16: cifar10 only on this page"
    control("epochs").send_keys(Keys.HOME)
    control("warm-up").send_keys(Keys.END)
    assert browser.find_element("id", "explorer-result").text.startswith("No batch is in Phase GP:")
    assert not browser.find_elements("css selector", ".explorer-bar")
