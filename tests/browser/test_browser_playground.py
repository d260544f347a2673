"""The playground, played with: in JupyterLab, with keyboard and mouse."""

import statistics
import time

import pytest
from browsing import keep, watch

pytestmark = pytest.mark.slow
PANELS = ".jp-OutputArea .widget-html-content"
SHOWN = f"() => [...document.querySelectorAll('{PANELS}')].map(panel => panel.innerHTML)"
CHANGED = f"([before, panels]) => ({SHOWN})().filter((shown, panel) => shown !== before[panel]).length >= panels"
PICTURES = 4  # losses, next token, lens, attention


@pytest.fixture(scope="module")
def playground(lab, browser):
    """The notebook, run to its end, in a window in which all of it is drawn; one for all tests here, in their order."""
    page = browser.new_page()
    record = watch(page, lab.address)
    lab.open(page, "playground")
    cells = lab.run_all(page, seconds=600)
    assert lab.red(cells) == []
    lab.show_all(page)
    yield page
    lab.end_kernel(page)
    page.close()
    assert (record.outside, record.errors) == ([], [])


def after(page, act, panels: int = 1) -> float:
    """Seconds from an act of the reader's until as many panels show something else."""
    before = page.evaluate(SHOWN)
    start = time.perf_counter()
    act()
    page.wait_for_function(CHANGED, arg=[before, panels], timeout=60_000, polling="raf")
    return time.perf_counter() - start


def test_the_slider_changes_the_pictures_in_under_a_second(playground, screenshots):
    slider = playground.get_by_role("slider")
    last = int(slider.get_attribute("aria-valuemax").split(".")[0])
    if slider.get_attribute("aria-valuenow") != "0.0":
        after(playground, lambda: slider.press("Home"), PICTURES)
    pictures, seconds = [playground.evaluate(SHOWN)], []
    for layer in range(1, last + 1):
        seconds.append(after(playground, lambda: slider.press("ArrowRight"), PICTURES))
        pictures.append(playground.evaluate(SHOWN))
        keep(playground, screenshots, f"playground-layer-{layer}", whole=False)
    print(f"slider to picture: median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s")
    assert statistics.median(seconds) < 1
    assert len({str(picture) for picture in pictures}) == last + 1


def test_another_sentence_is_taken_and_an_impossible_one_refused_in_words(playground, screenshots):
    text = playground.get_by_label("Text", exact=True)
    text.fill("Once upon a time there was a little girl.")
    after(playground, lambda: text.press("Enter"))
    playground.locator(PANELS, has_text="girl").first.wait_for(timeout=30_000)
    keep(playground, screenshots, "playground-another-sentence", whole=False)
    text.fill("")
    after(playground, lambda: text.press("Enter"))
    playground.locator(f"{PANELS} b").first.wait_for(timeout=30_000)
    assert "girl" in str(playground.evaluate(SHOWN))


def test_one_head_is_looked_at_and_again_the_mean_of_all(playground):
    head = playground.get_by_label("Head", exact=True)
    assert head.evaluate("list => list.selectedIndex") == 0
    mean = playground.evaluate(SHOWN)
    after(playground, lambda: head.select_option(index=1))
    playground.locator(PANELS, has_text="head 0").first.wait_for(timeout=10_000)
    after(playground, lambda: head.select_option(index=0))
    playground.locator(PANELS, has_text="mean of all heads").first.wait_for(timeout=10_000)
    assert playground.evaluate(SHOWN) == mean


def test_the_model_writes_on(playground, screenshots):
    playground.get_by_role("button", name="Write on").click()
    playground.locator(PANELS, has_text="intact: …").wait_for(timeout=60_000)
    playground.wait_for_function(f"() => !({SHOWN})().includes('Writing ...')", timeout=10_000)
    keep(playground, screenshots, "playground-written-on", whole=False)
