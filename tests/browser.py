"""The browser that pages are tried in, and what makes a page accessible."""

import os
import shutil

from axe_playwright_python.sync_playwright import Axe

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


def violations(page):
    """Return what axe finds wrong: rule and the first elements."""
    found = Axe().run(page).response["violations"]
    return [(each["id"], [node["html"][:100] for node in each["nodes"][:3]]) for each in found]
