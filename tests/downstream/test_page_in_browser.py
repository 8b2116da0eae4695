"""The page of a word in headless Chromium, controlled by a script that is added with its hash."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.downstream.conftest import HOSTILE, Write, two_senses

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += [
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=3000",
    "--dump-dom",
]
DRIVE = """
const seen = { blocked: [] };
document.addEventListener("securitypolicyviolation",
  (event) => seen.blocked.push(event.effectiveDirective));
addEventListener("load", () => {
  const dots = () => [...document.querySelectorAll("figure:last-child .dot:not(.off):not(.dim)")];
  const key = (name, target = document.body) =>
    target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
  const sentence = () => document.getElementById("sentence").textContent;
  seen.dots = dots().length;
  dots()[0].dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  seen.hovered = sentence();
  seen.highlighted = document.querySelectorAll(".dot.on").length;
  dots()[1].dispatchEvent(new MouseEvent("click", { bubbles: true }));
  seen.pinned = sentence();
  dots()[0].dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  seen.still = sentence();
  key("Escape");
  seen.released = sentence();
  key("ArrowDown"); key("ArrowDown");
  seen.stepped = sentence();
  key("/");
  seen.focus = document.activeElement.id;
  const box = document.getElementById("search");
  box.value = "<" + "/SCRIPT>"; box.dispatchEvent(new Event("input"));
  seen.matches = document.getElementById("matches").textContent;
  seen.found = [...document.querySelectorAll("#lines button")].map((line) => line.textContent);
  key("Escape", box);
  document.querySelector("#labels button").click();
  seen.left = dots().length;
  seen.toggles = [...document.querySelectorAll("#labels button")].map((one) => one.textContent);
  seen.bold = document.querySelectorAll("b b, #lines img").length;
  seen.scripts = document.scripts.length;
  seen.hacked = window.hacked === 1;
  document.body.setAttribute("onclick", "window.hacked = 1"); document.body.click();
  seen.inline = window.hacked === 1;
  document.title = "seen:" + btoa(unescape(encodeURIComponent(JSON.stringify(seen))));
});
"""


def drive(page: Path, folder: Path) -> dict:
    """What DRIVE sees in a page."""
    digest = base64.b64encode(hashlib.sha256(DRIVE.encode()).digest()).decode()
    text = page.read_text(encoding="utf-8").replace(
        "script-src ", f"script-src 'sha256-{digest}' ", 1
    )
    driven = folder / "driven.html"
    driven.write_text(text.replace("</body>", f"<script>{DRIVE}</script></body>"), encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", driven.as_uri()]
    dumped = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False
    ).stdout
    found = re.search(r"<title>seen:([\w+/=]+)</title>", dumped)
    assert found, dumped[:2000]
    return json.loads(base64.b64decode(found[1]))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_shows_pins_searches_and_hides(write_features: Write, elmo, tmp_path: Path):
    n = 45
    sentences, arrays, labels = two_senses(n)
    sentences = [[*tokens[:4], HOSTILE[i % len(HOSTILE)]] for i, tokens in enumerate(sentences)]
    path = write_features(sentences, arrays, [f"<b>{label}</b></script>" for label in labels])
    assert (
        elmo("plot", path, tmp_path / "a.html", "--word", "bank", "--color", "sense").exit_code == 0
    )
    seen = drive(tmp_path / "a.html", tmp_path)
    assert seen["dots"] == n
    assert "bank" in seen["hovered"]
    assert seen["highlighted"] == 3
    assert seen["pinned"] == seen["still"] != seen["hovered"]
    assert seen["released"] == ""
    assert seen["stepped"].strip(" ") == " ".join(sentences[1])
    assert seen["focus"] == "search"
    hits = sum("</script>" in tokens for tokens in sentences)
    assert seen["matches"] == f"{hits} of {n} match"
    assert all(line.endswith("</script>") for line in seen["found"])
    assert seen["left"] == 15
    assert seen["toggles"] == ["<b>money</b></script> (30)", "<b>river</b></script> (15)"]
    assert not seen["bold"]
    assert seen["scripts"] == 3
    assert not seen["hacked"]
    assert not seen["inline"]
    assert [name for name in seen["blocked"] if not name.startswith("script-src-attr")] == []


def test_the_page_asks_for_nothing_from_elsewhere(write_features: Write, elmo, tmp_path: Path):
    sentences, arrays, _ = two_senses(4)
    assert (
        elmo(
            "plot", write_features(sentences, arrays), tmp_path / "a.html", "--word", "bank"
        ).exit_code
        == 0
    )
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert "unsafe" not in page
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|<link|<img|@import|url\(",
        page,
    )
    assert set(re.findall(r"https?://[^\"'\s]+", page)) == {"http://www.w3.org/2000/svg"}
