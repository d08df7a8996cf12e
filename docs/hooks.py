"""What the site needs beyond Markdown: the command line's own help, links to files that are not on the site, no CDN.

In the repository a link such as `../../src/glioscope/protocols` opens the file. The site holds the documentation alone,
so there such a link becomes the name of the file.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.utils import get_relative_url
from typer import Context
from typer.cli import get_docs_for_click
from typer.main import get_command

from glioscope.cli import app

LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)#:\s]+)(?:#[^)]*)?\)")
COMMANDS = "<!-- commands -->"
REMOTE_SHIM = "https://unpkg.com/iframe-worker/shim"
MERMAID = re.compile(r"<script type=\"module\">(?:(?!</script>).)*mermaid(?:(?!</script>).)*</script>", re.DOTALL)
OWN_SHIM = "assets/iframe-worker.js"


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Fill in the commands, and turn links that lead out of the documentation into plain text."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, command_help())
    root = Path(config["docs_dir"]).resolve()
    folder = (root / page.file.src_uri).parent

    def inside(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / match["target"]))  # not resolved: the examples are a link
        if target.is_relative_to(root) or page.file.src_uri.startswith("examples/"):
            return match[0]
        name = target.name
        return match["text"] if name in match["text"] else f"{match['text']} (`{name}`)"

    return LINK.sub(inside, markdown)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Take the search's helper from the site itself, and drop the diagrams' script, which would be fetched."""
    output = output.replace(REMOTE_SHIM, get_relative_url(OWN_SHIM, page.url))
    return MERMAID.sub("", output)


def on_post_template(output_content: str, **_: Any) -> str:
    """Leave the helper out of the page for wrong addresses, which no disk ever shows."""
    return output_content.replace(f'<script src="{REMOTE_SHIM}"></script>', "")


def command_help() -> str:
    """Return the help of every command as Markdown, from the program itself."""
    command = get_command(app)
    text = get_docs_for_click(obj=command, ctx=Context(command), name="glioscope")
    return text[text.index("\n## ") :]
