"""The page in Chromium: what is drawn, filtered, sorted and opened."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from darb_hw.sweep.page.contents import page_contents
from darb_hw.sweep.page.page import page_bytes
from darb_hw.sweep.page.saved import load
from darb_prune.pareto import pareto
from tests.hw.sweep.page.sample_sweep import AXES, HOSTILE, REASON

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="no Chromium: apt-get install chromium chromium-driver"),
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
]
PLOT = "document.getElementById('plot-1')"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def contents(folder):
    return page_contents(load(folder))


@pytest.fixture(scope="module")
def address(contents, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(page_bytes(contents))
    return path.as_uri()


@pytest.fixture
def page(chromium, address):
    """The page, anew; nothing may be on the console in the end, nothing loaded, nothing run."""
    view(chromium, 1280)
    chromium.get(address)
    until(chromium, lambda: drawn(chromium) and drawn(chromium, "plot-2"))
    yield chromium
    assert chromium.get_log("browser") == []
    assert chromium.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert chromium.execute_script("return window.hit") is None


def view(driver, width, scheme="light", media=""):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def until(driver, condition):
    return WebDriverWait(driver, 120).until(lambda _: condition())


def drawn(driver, plot="plot-1"):
    """Elements of the points of a plot."""
    return driver.find_elements(By.CSS_SELECTOR, f"#{plot} .scatterlayer .point")


def rows(driver):
    """Texts of the table, a list a line."""
    script = "return [...document.querySelectorAll('#table tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    return driver.execute_script(script)


def button(driver, title):
    (found,) = (b for b in driver.find_elements(By.CSS_SELECTOR, "#table th button") if b.text.startswith(title))
    return found


def fronts(driver):
    """Device -> indices of the points of its front, from what the plot has."""
    script = f"return {PLOT}.data.filter(t => t.mode === 'lines+markers').map(t => [t.name, t.customdata])"
    return dict(driver.execute_script(script))


def label_colour(driver):
    return driver.execute_script("return getComputedStyle(document.querySelector('#plot-1 .xtick text')).fill")


def expected_front(points, device, lanes=AXES["lanes"], cost="luts", gain="rate", sign=-1):
    """The same by the function that draws the picture of a sweep."""
    known = [
        (index, point["figures"])
        for index, point in enumerate(points)
        if point["status"] == "ok" and point["axes"]["device"] == device and point["axes"]["lanes"] in lanes
    ]
    front = pareto([(-sign * figures[cost], figures[gain]) for _, figures in known])
    return [known[place][0] for place in front]


def test_points_are_drawn(page, contents):
    assert len(drawn(page)) == 10  # two of the twelve failed: no LUTs, no rate
    assert len(drawn(page, "plot-2")) == 10
    assert page.find_element(By.ID, "count").text == "12 of 12 points; 2 of them failed"
    assert page.find_element(By.TAG_NAME, "h1").text == f"Sweep {HOSTILE}"
    assert len(rows(page)) == 12
    assert [row for row in rows(page) if row[-1] == REASON] == [rows(page)[2], rows(page)[8]]
    points = contents["points"]
    expected = {device: expected_front(points, device) for device in AXES["device"]}
    assert fronts(page) == expected
    assert all(0 < len(front) < 5 for front in expected.values())
    tools = [tool.get_attribute("data-title") for tool in page.find_elements(By.CSS_SELECTOR, "#plot-1 .modebar-btn")]
    assert len(tools) == 4
    assert not any("loud" in tool for tool in tools)  # plotly's button that sends a plot to its maker


def test_choice_of_axes(page, contents):
    first, second = page.find_elements(By.CSS_SELECTOR, "#plots figure")[0].find_elements(By.TAG_NAME, "select")
    first.send_keys("accuracy")
    second.send_keys("inferences/s")
    until(page, lambda: page.execute_script(f"return {PLOT}.layout.xaxis.title.text") == "inferences/s")
    # More of both is better: a point beats another one on its left.
    points = contents["points"]
    expected = {
        device: expected_front(points, device, cost="rate", gain="accuracy", sign=1) for device in AXES["device"]
    }
    assert fronts(page) == expected


def test_a_filter(page, contents):
    for value in ("2", "8"):
        page.find_element(By.CSS_SELECTOR, f"#filters input[value='{value}']").click()
    assert page.find_element(By.ID, "count").text == "4 of 12 points; 2 of them failed"
    assert len(drawn(page)) == 2
    assert len(rows(page)) == 4
    assert fronts(page) == {d: expected_front(contents["points"], d, lanes=(16,)) for d in AXES["device"]}
    page.find_element(By.CSS_SELECTOR, "#filters input[value='failed']").click()
    assert len(rows(page)) == 2
    page.find_element(By.CSS_SELECTOR, "#filters input[value='ok']").click()
    assert page.find_element(By.ID, "count").text == "0 of 12 points"
    page.find_element(By.CSS_SELECTOR, "#filters button").click()
    assert len(rows(page)) == 12


def test_a_sort(page, contents):
    luts = [f"{point['figures']['luts']:,}" for point in contents["points"] if point["status"] == "ok"]
    for reverse, state in ((False, "ascending"), (True, "descending")):
        button(page, "LUTs").click()
        column = [row[8] for row in rows(page) if len(row) > 8]
        assert column == sorted(luts, key=lambda text: int(text.replace(",", "")), reverse=reverse)
        assert [len(row) > 8 for row in rows(page)] == 10 * [True] + 2 * [False]  # what failed comes last
        head = button(page, "LUTs").find_element(By.XPATH, "..")
        assert head.get_attribute("aria-sort") == state


def test_a_click_opens_a_point(page, contents):
    target = drawn(page)[0]
    index = page.execute_script(f"return {PLOT}.data[0].customdata[0]")
    ActionChains(page).move_to_element(target).pause(0.5).click().perform()
    section = page.find_element(By.ID, "point")
    until(page, section.is_displayed)
    point = contents["points"][index]
    assert section.find_element(By.TAG_NAME, "h2").text.endswith(
        f"{point['axes']['device']}, {point['axes']['lanes']} lanes"
    )
    bars = section.find_elements(By.CSS_SELECTOR, ".barlayer .point")
    plan = point["plan"]
    assert len(bars) == 2 * len(plan["layers"]) + len(plan["memory"]["map"]) + len(plan["bits"])
    assert HOSTILE in section.text
    assert "seed 2 100.00 MHz" in section.text.replace("\n", " ")
    assert page.find_element(By.CSS_SELECTOR, "#table tr[aria-current]").get_attribute("data-index") == str(index)


def test_keys(page):
    first = page.find_element(By.CSS_SELECTOR, "#table tbody tr[data-index='2'] button")
    first.send_keys(Keys.ENTER)
    section = page.find_element(By.ID, "point")
    until(page, section.is_displayed)
    assert f"Failed: {REASON}" in section.text
    assert page.switch_to.active_element.get_attribute("id") == "opened"
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not section.is_displayed()
    assert page.switch_to.active_element.get_attribute("textContent") == "4x"


def test_points_that_were_skipped(page, contents, tmp_path):
    """They are counted, filtered and told apart from those that failed."""
    points = [point | {"status": "skipped"} if point["status"] == "failed" else point for point in contents["points"]]
    points[2] = contents["points"][2]
    (tmp_path / "report.html").write_bytes(page_bytes(contents | {"points": points}))
    page.get((tmp_path / "report.html").as_uri())
    assert page.find_element(By.ID, "count").text == "12 of 12 points; 1 of them failed; 1 of them skipped"
    values = [box.get_attribute("value") for box in page.find_elements(By.CSS_SELECTOR, "#filters input")]
    assert {"ok", "failed", "skipped"} <= set(values)
    for value in ("ok", "failed"):
        page.find_element(By.CSS_SELECTOR, f"#filters input[value='{value}']").click()
    assert page.find_element(By.ID, "count").text == "1 of 12 points; 1 of them skipped"
    assert [row[-1] for row in rows(page)] == [REASON]
    page.find_element(By.CSS_SELECTOR, "#table tbody tr button").click()
    assert f"Skipped: {REASON}" in page.find_element(By.ID, "point").text


def test_texts_are_no_markup(page, contents):
    for index in (8, 6):
        page.find_element(By.CSS_SELECTOR, f"#table tr[data-index='{index}'] button").click()
    regions = page.find_elements(By.CSS_SELECTOR, "#point .barlayer text")
    assert HOSTILE in [region.get_attribute("textContent") for region in regions]
    assert contents["points"][page.execute_script(f"return {PLOT}.data[0].customdata[0]")]["network"] == HOSTILE
    ActionChains(page).move_to_element(drawn(page)[0]).perform()
    (label,) = until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#plot-1 .hoverlayer .hovertext"))
    assert HOSTILE in label.get_attribute("textContent")
    assert page.find_elements(By.CSS_SELECTOR, "main img, main b, main script, header img, header b") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_sizes_and_colours(width, scheme, page, address):
    view(page, width, scheme)
    page.get(address)
    for index in (0, 2):
        page.find_element(By.CSS_SELECTOR, f"#table tr[data-index='{index}'] button").click()
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
    paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    assert label_colour(page) == {"light": "rgb(28, 32, 36)", "dark": "rgb(230, 233, 237)"}[scheme]


def test_points_that_say_little(page, contents, tmp_path):
    """Nothing measured, nothing in the plan."""
    empty = {"latency": 1, "interval": 1, "layers": [], "bits": [], "memory": {"depth": 0, "copies": 1, "map": []}}
    figures = dict.fromkeys(contents["points"][0]["figures"])
    failed = contents["points"][2] | {"axes": {}, "figures": figures}
    (tmp_path / "report.html").write_bytes(page_bytes(contents | {"points": [failed, failed | {"plan": empty}]}))
    page.get((tmp_path / "report.html").as_uri())
    assert page.find_element(By.ID, "count").text == "2 of 2 points; 2 of them failed"
    assert page.execute_script(f"return {PLOT}.layout.annotations[0].text") == "no point has both figures"
    page.find_element(By.CSS_SELECTOR, "#table tr[data-index='1'] button").click()
    until(page, page.find_element(By.ID, "point").is_displayed)


def test_print(page):
    view(page, 1280, "dark")
    until(page, lambda: label_colour(page) == "rgb(230, 233, 237)")
    view(page, 1280, "dark", "print")
    until(page, lambda: label_colour(page) == "rgb(28, 32, 36)")
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.find_element(By.ID, "filters").is_displayed()
    assert page.print_page().startswith("JVBERi")  # %PDF
