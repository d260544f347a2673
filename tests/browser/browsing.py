"""What a page asks for and complains of while it is open, and what axe-core finds on it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

INSIDE = ("file:", "data:", "blob:", "about:", "chrome-error:")
GRAVE = ("serious", "critical")


@dataclass
class Record:
    """What has happened on a page so far: console errors, and addresses asked for that lie elsewhere."""

    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


def watch(page: "Page", server: str = "file:") -> Record:
    """Record from now on; whatever lies neither in a file nor on `server` is noted and not let through."""
    record = Record()

    def is_inside(address: str) -> bool:
        return address.startswith((*INSIDE, server, server.replace("http", "ws", 1)))

    def note_request(request) -> None:
        if not is_inside(request.url):
            record.outside.append(request.url)

    def note_console(message) -> None:
        if message.type == "error":
            record.errors.append(f"{message.text} ({message.location.get('url', '')})")

    page.on("request", note_request)
    page.on("websocket", note_request)  # has a `url`, too
    page.on("console", note_console)
    page.on("pageerror", lambda error: record.errors.append(str(error)))
    page.route(lambda address: not is_inside(address), lambda route: route.abort())
    return record


def grave_findings(page: "Page", *rules: str) -> list[str]:
    """What axe-core calls serious or critical on the page as it now is, by all rules or some: rule, reason, where."""
    from axe_playwright_python.sync_playwright import Axe

    # Without `preload` axe does not fetch style sheets itself, which a page on the disk is refused.
    options = {"resultTypes": ["violations"], "preload": False, **({"runOnly": list(rules)} if rules else {})}
    violations = Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {', '.join(str(node['target']) for node in rule['nodes'][:4])}"
        for rule in violations
        if rule["impact"] in GRAVE
    ]


def broken_images(page: "Page") -> list[str]:
    """The sources of images that are on the page and show nothing."""
    return page.evaluate(
        "() => [...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src)"
    )


def keep(page: "Page", folder: Path, name: str, *, whole: bool = True) -> None:
    """Leave a screenshot to be looked at."""
    page.screenshot(path=folder / f"{name}.png", full_page=whole)
