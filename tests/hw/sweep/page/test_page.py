"""The file of the page: data once, nothing from elsewhere, no markup from texts."""

import base64
import hashlib
import json
import re

from darb_hw.sweep.page.contents import page_contents
from darb_hw.sweep.page.page import page_bytes
from darb_hw.sweep.page.saved import load
from tests.hw.sweep.page.sample_sweep import HOSTILE


def test_page(folder):
    contents = page_contents(load(folder))
    page = page_bytes(contents).decode()
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)
    assert [attributes for attributes, _ in scripts] == [' type="application/json" id="data"', "", ""]
    assert json.loads(scripts[0][1]) == contents
    assert HOSTILE not in page
    assert HOSTILE[:20] not in page
    for _, script in scripts[1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in page
    own = page.replace(scripts[0][1], "").replace(scripts[1][1], "")
    assert not re.search(r"https?://|<[^>]*\b(src|href)=|@import|innerHTML|insertAdjacentHTML|document\.write", own)
