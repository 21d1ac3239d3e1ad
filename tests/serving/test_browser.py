"""The page in a real browser: upload, search, filter, compare, and what goes wrong."""

import shutil
from collections.abc import Iterator

import pytest

from semreid.serving.service import Service
from tests.conftest import draw_figure
from tests.serving.conftest import Stripes, calibration, listening, png

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install -e '.[dev]'")
BROWSER = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome", "chrome"])), None)
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome in PATH"),
    pytest.mark.timeout(300),
]
UPLOAD = {"name": "a.png", "mimeType": "image/png", "buffer": png(draw_figure(3, 1, 9))}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, gallery, crops, tmp_path) -> Iterator:
    """The search page; fails the test if the browser complains of a script or of the content policy."""
    complaints = []
    service = Service(gallery, Stripes(), calibration=calibration(), images=[crops], uploads=tmp_path / "up")
    with listening(service) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=address)
        page = context.new_page()
        page.set_default_timeout(60_000)
        playwright.expect.set_options(timeout=60_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if "Content Security Policy" in m.text else None)
        page.goto("/gallery")  # counted
        page.goto("/")
        yield page
        context.close()
    assert not complaints


def cards(page) -> list[str]:
    return [link.get_attribute("href").partition("id=")[2] for link in page.query_selector_all("#results .face")]


def upload(page, content=UPLOAD) -> None:
    with page.expect_response("**/search"):
        page.set_input_files("#query .file", content)


def test_upload_search_filter_and_compare(page, crops):
    upload(page)
    page.wait_for_selector("#results .summary .person")
    assert cards(page)[0].startswith("3_")
    assert len(cards(page)) == 24
    picture = page.locator("#results .card img").first
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("image => image.decode().then(() => image.naturalHeight)") == 64
    assert page.locator("#results .chance").count() == 24

    with page.expect_response("**/search"):
        page.click(".chips label:has-text('2')")  # a changed filter asks again, with the same picture
    playwright.expect(page.locator("#results .card")).to_have_count(12)
    assert all(id_[3] == "2" for id_ in cards(page))
    with page.expect_response("**/search"):
        page.fill("[name=since]", "2023-11-15T16:13:20")  # the 18th hour
        page.press("[name=since]", "Enter")
    playwright.expect(page.locator("#results .card")).to_have_count(4)

    with page.expect_response("**/compare"):
        page.locator("#results .compare").first.click()
    page.wait_for_selector("dialog[open] .verdict")
    assert page.locator("dialog .two img").count() == 2
    assert "ccepted as one person" in page.inner_text("dialog")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog:not([open])", state="attached")


def test_a_row_is_picked_and_compared(page):
    with page.expect_navigation():
        page.locator("#results .face").first.click()
    assert page.locator("#query .slot.filled").count() == 1
    query = page.get_attribute("#query [name=id]", "value")
    assert query not in cards(page)
    with page.expect_response("**/compare?*"):
        page.locator("#results .compare").first.click()
    page.wait_for_selector("dialog[open] .verdict")
    page.keyboard.press("Escape")
    upload(page)  # takes the place of the row
    page.wait_for_selector("text=to the picture that you sent")
    assert page.get_attribute("#query [name=id]", "value") == ""


def test_an_invalid_file_is_told_and_the_page_goes_on(page):
    upload(page, {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"these are notes"})
    page.wait_for_selector("#results .problem")
    assert "notes.jpg cannot be decoded" in page.inner_text("#results")
    upload(page)
    page.wait_for_selector("#results .card")
    assert page.locator("#results .problem").count() == 0


def test_two_files_are_compared_as_soon_as_both_are_there(page):
    page.goto("/compare")
    page.locator("#pair .file").nth(0).set_input_files(UPLOAD)
    with page.expect_response("**/compare"):
        page.locator("#pair .file").nth(1).set_input_files(UPLOAD)
    page.wait_for_selector("#verdict .big")
    assert page.inner_text("#verdict .big").endswith("%")


def test_a_dropped_picture_and_the_keyboard_work_too(page):
    page.evaluate(
        """([bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", {type: "image/png"}));
            document.querySelector("#query label").dispatchEvent(
                new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }""",
        [list(UPLOAD["buffer"])],
    )
    page.wait_for_selector("#results .summary .person")
    assert "dropped.png" in page.inner_text("#query")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def test_a_server_that_is_gone_is_told(page):
    page.route("**/search", lambda route: route.abort())
    page.set_input_files("#query .file", UPLOAD)
    page.wait_for_selector("#toast:has-text('cannot be reached')")  # asking again by a script is what the page forbids


def test_people_are_merged_split_and_undone(page):
    page.goto("/people?show=people")
    for who in ("1", "2"):
        page.check(f"input[value='{who}']")
    page.fill(".act [name=name]", "anna")
    with page.expect_navigation():
        page.click("text=Merge into one person")
    assert "1 and 2 are one person, anna" in page.inner_text(".said >> nth=0")
    with page.expect_navigation():
        page.click("text=Show anna")
    assert page.locator(".card").count() == 8
    page.locator(".card img").first.click()  # the picture chooses its crop
    assert page.locator(".card :checked").count() == 1
    with page.expect_navigation():
        page.click("text=Not a person >> visible=true")
    assert page.locator(".card").count() == 7
    with page.expect_navigation():
        page.locator(".said").first.get_by_text("Undo").click()
    assert "Undone: 1 crop of anna shows no person" in page.inner_text("main")


def test_a_phone_has_no_sideways_scrolling(page):
    page.set_viewport_size({"width": 360, "height": 780})
    people = ("/people?show=people", "/people/crops?person=3", "/people/crops?of=nobody")
    for path in ("/", "/?id=3_c1_0", "/compare?id=3_c1_0&id=3_c2_0", *people, "/gallery", "/programs"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
    page.goto("/")
    assert page.evaluate("document.querySelector('.filters').open") is False
