"""report.html in a real browser: it loads alone, sorts, filters, tells of points, fits a phone and turns dark."""

import json
import shutil
from pathlib import Path

import pytest

from bench.report import write_report

selenium = pytest.importorskip("selenium", reason="selenium is not installed (the extra dev has it)")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="no Chromium with driver (apt-get install chromium-driver)"),
]  # fmt: skip

AXES = {
    "dataset": ["mixture", "moons"],
    "path": ["straight", "noisy"],
    "solver": ["euler", "heun"],
    "solver.steps": ["5", "20"],
}
BAD = "</script><img src=x onerror=document.title='hacked'><b>"


class Browser:
    """A headless Chromium that never reaches a network and remembers what it was asked to load and what went wrong."""

    def __init__(self):
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        options.binary_location = CHROMIUM
        for word in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
        ):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_script_timeout(30)

    def open(self, page: Path, width=1440, dark=False):
        """Show a page and wait until it is drawn; what it asked for, and what the console says is wrong."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        self.prefer("dark" if dark else "light")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(page.as_uri())
        self.drawn(1)
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        wrong = [entry for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return [url for url in asked if not url.startswith(("data:", "blob:")) and url != page.as_uri()], wrong

    def prefer(self, scheme):
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )

    def drawn(self, times):
        """Wait for the figures to have been drawn so many times."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 30, poll_frequency=0.02).until(lambda _: self.count() >= times)

    def count(self):
        return int(self.run("return document.documentElement.dataset.drawn ?? 0"))

    def run(self, script, *given):
        return self.driver.execute_script(script, *given)

    def after(self, script, *given):
        """Run what has the figures drawn anew, and wait for them."""
        before = self.count()
        self.run(script, *given)
        self.drawn(before + 1)

    def column(self, table, place):
        """What a table shows in a column, from the top."""
        return self.run(
            "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)]"
            ".map(row => row.cells[arguments[1]]?.textContent)", table, place,
        )  # fmt: skip

    def points(self):
        """The labels of the dots in the figure of scores, one for each seed of each cell."""
        return self.run(
            "const of = []; const walk = (item) => { for (const one of item.items ?? []) {"
            " if (one.marktype || one.items) walk(one);"
            " else if (item.marktype === 'symbol' && item.name?.includes('seeds')) of.push(one.datum); } };"
            " walk(document.getElementById('scores').view.scenegraph().root);"
            " return of.map(datum => ({cell: datum.cell, seed: datum.seed, path: datum.f1, dataset: datum.f0}));"
        )


@pytest.fixture(scope="module")
def browser():
    one = Browser()
    yield one
    one.driver.quit()


@pytest.fixture(scope="module")
def page(make_shared_run):
    """A run of 16 combinations and 6 seeds with a claim, and labels that are markup, as a page."""
    claim = {
        "claim": BAD, "metric": "wasserstein", "better": BAD, "than": "path=noisy", "by": None, "margin": 0.05,
        "at": None,
        "source": BAD, "because": BAD, "pairs": [[24 + s, s] for s in range(6)],
    }  # fmt: skip
    folder = make_shared_run({**AXES, "path": ["straight", BAD]}, range(6), claims=[claim], question=BAD)
    assert write_report(folder).warnings == []
    return folder / "report.html"


def test_page_opens_without_errors_or_requests_and_labels_do_nothing(browser, page):
    asked, wrong = browser.open(page)
    assert (asked, wrong) == ([], [])
    assert browser.driver.title.startswith("demo: </script>")
    assert browser.run("return document.querySelectorAll('img[src=x]').length") == 0
    assert BAD in browser.run("return document.querySelector('h1').textContent")
    assert BAD in browser.run("return [...document.querySelectorAll('.chip')].map(chip => chip.textContent)")
    assert len(browser.points()) == 96
    assert browser.run("return document.querySelectorAll('.claim-chart svg.marks').length") == 1


def test_sorting_and_searching_change_what_a_table_shows(browser, page):
    browser.open(page)
    scores = browser.run("return [...document.querySelectorAll('#t-headline thead th')].map(th => th.textContent)")
    place = next(i for i, name in enumerate(scores) if name.startswith("W2 (root) ↓"))
    browser.run("document.querySelectorAll('#t-headline thead th')[arguments[0]].click()", place)
    numbers = [float(text.split()[0]) for text in browser.column("t-headline", place)]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 4
    browser.run(
        "const box = document.querySelector('#headline .dt-search input'); box.value = 'moons';"
        "box.dispatchEvent(new Event('input'))"
    )
    assert set(browser.column("t-headline", 0)) == {"moons"}


def test_choosing_a_level_filters_tables_and_figures_together(browser, page):
    browser.open(page)
    chip = (
        "[...document.querySelectorAll('.chip')].find(chip => chip.textContent === arguments[0])"
        ".querySelector('input').click()"
    )
    browser.after(chip, BAD)
    assert set(browser.column("t-headline", 1)) == {BAD}
    assert set(browser.column("t-every", 1)) == {BAD}
    assert {point["path"] for point in browser.points()} == {BAD}
    browser.after(chip, "moons")
    assert {(point["dataset"], point["path"]) for point in browser.points()} == {("moons", BAD)}
    assert len(browser.points()) == 24
    assert "4 of 16 combinations" in browser.run("return document.getElementById('chosen').textContent")
    browser.after("document.getElementById('reset').click()")
    assert len(browser.points()) == 96


def test_hovering_a_dot_names_its_cell_and_seed(browser, page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    browser.open(page)
    dots = browser.driver.find_elements(By.CSS_SELECTOR, "#scores [class*=seeds] path")
    assert len(dots) == 96
    browser.run("arguments[0].scrollIntoView({block: 'center'})", dots[0])
    ActionChains(browser.driver).move_to_element(dots[0]).perform()
    tip = browser.driver.find_element(By.ID, "vg-tooltip-element")
    WebDriverWait(browser.driver, 10).until(lambda _: "visible" in tip.get_attribute("class"))
    told = browser.run(
        "return [...arguments[0].querySelectorAll('tr')].map(row => [...row.cells].map(cell => cell.textContent))", tip
    )
    values = {name.rstrip(":"): value for name, value in told}
    assert int(values["cell"]) % 6 == int(values["seed"])
    assert values["dataset"] in AXES["dataset"]
    assert values["path"] in ("straight", BAD)


@pytest.mark.parametrize("width", [390, 768])
def test_no_page_is_wider_than_its_screen(browser, page, width):
    browser.open(page, width)
    browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_dark_is_as_the_system_says_and_as_the_switch_says(browser, page):
    def ground():
        return browser.run("return getComputedStyle(document.body).backgroundColor")

    browser.open(page)
    light = ground()
    text = "return document.querySelector('#scores svg text').getAttribute('fill')"
    ink = browser.run(text)
    browser.after("document.getElementById('theme').click()")
    dark = ground()
    assert dark != light
    assert browser.run(text) != ink
    browser.open(page, dark=True)
    assert ground() == dark
    browser.after("document.getElementById('theme').click()")
    assert ground() == light


@pytest.mark.long
def test_ten_thousand_cells_open_and_the_page_says_what_it_leaves_out(browser, make_run):
    axes = {"path": [f"p{i}" for i in range(100)], "solver.steps": [str(n) for n in range(1, 101)]}
    folder = make_run(
        axes, (0,), measure=lambda cell: {"wasserstein": 1.0 + cell["cell"] % 97, "nfe": float(cell["solver.steps"])}
    )
    write_report(folder)
    asked, wrong = browser.open(folder / "report.html")
    assert (asked, wrong) == ([], [])
    shown = browser.run("return document.body.textContent")
    assert "of 10000 cells are drawn" in shown
    assert "7000 more combinations are in tables/headline.csv" in shown
    assert len(browser.column("t-every", 0)) == 15


def test_what_is_printed_from_dark_is_light_and_no_wider_than_its_sheet(browser, page):
    browser.open(page, dark=True)
    printed = browser.driver.execute_cdp_cmd
    printed(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    printed(
        "Emulation.setDeviceMetricsOverride", {"width": 700, "height": 990, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        words = "return getComputedStyle(document.querySelector('.chart svg text')).fill"
        assert browser.run(words) == "rgb(34, 34, 34)", "dark words on white paper"
        shown = "[...document.querySelectorAll('.chart svg, #t-claims, #t-headline')]"
        wide = f"return {shown}.map(one => one.getBoundingClientRect().right)"
        assert max(browser.run(wide)) <= 700
        assert browser.run("return getComputedStyle(document.querySelector('#claims')).breakInside") == "auto"
    finally:
        printed("Emulation.setEmulatedMedia", {"media": "", "features": []})
