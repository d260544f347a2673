"""What the other tests here say is not there is found where it is: planted on a page of our own."""

from browsing import broken_images, grave_findings, watch

PLANTED = """<!DOCTYPE html><html lang="en"><title>planted</title><main><h1>planted</h1>
<img src="missing.png"><p style="color: #aaa; background: #fff">pale</p>
<img src="https://example.invalid/image.png" alt="elsewhere">
<script>console.error("complaint"); new WebSocket("wss://example.invalid/socket"); nobody.knows();</script></main>"""
SOUND = '<!DOCTYPE html><html lang="en"><title>sound</title><main><h1>sound</h1><p>dark</p></main>'


def opened(page, tmp_path, content):
    (tmp_path / "page.html").write_text(content)
    record = watch(page)
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_timeout(500)
    return record


def test_complaints_requests_and_barriers_are_found(page, tmp_path):
    record = opened(page, tmp_path, PLANTED)
    for complaint in ("complaint", "nobody is not defined", "missing.png"):
        assert any(complaint in error for error in record.errors), complaint
    assert record.outside == ["https://example.invalid/image.png", "wss://example.invalid/socket"]
    assert {finding.split(":")[0] for finding in grave_findings(page)} == {"image-alt", "color-contrast"}
    assert len(broken_images(page)) == 2


def test_a_sound_page_passes(page, tmp_path):
    record = opened(page, tmp_path, SOUND)
    assert (record.errors, record.outside, grave_findings(page), broken_images(page)) == ([], [], [], [])
