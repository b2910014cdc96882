# SPDX-License-Identifier: GPL-2.0-or-later
"""A document of headings, paragraphs, tables and pictures, written as
markdown and as one HTML file with the pictures in it."""

import base64
import html
import os

STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 70em; margin: 2em auto;
       padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .2em .7em; border-bottom: 1px solid #ddd; text-align: left; }
td.number, th.number { text-align: right; }
td.reached { color: #0a7a2f; } td.missed, td.failed { color: #b00020; }
img { max-width: 100%; } code { background: #f3f3f3; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5em; }
"""


class Document:
    """Blocks in order; @directory is where pictures lie and files go."""

    def __init__(self, title, directory):
        self.title, self.directory = title, directory
        self.blocks = [("heading", 1, title)]

    def heading(self, level, text):
        """Level 1 is the title's."""
        self.blocks.append(("heading", level, text))

    def paragraph(self, text):
        """Plain text."""
        self.blocks.append(("paragraph", text))

    def table(self, header, rows):
        """Cells are text; a header that ends in '>' is one of numbers."""
        self.blocks.append(("table", header, rows))

    def picture(self, path, text):
        """@path: a file in the directory."""
        self.blocks.append(("picture", path, text))

    def write(self, name, text):
        """Returns the file's path."""
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    # --- Markdown ---

    def write_markdown(self, name):
        """Pictures are referred to."""
        parts = [getattr(self, f"markdown_{kind}")(*rest)
                 for kind, *rest in self.blocks]
        return self.write(name, "\n\n".join(parts) + "\n")

    @staticmethod
    def markdown_escape(text):
        """Names with patterns in them shall not turn bold."""
        for sign in "\\*_|<>":
            text = text.replace(sign, f"\\{sign}")
        return text

    def markdown_heading(self, level, text):
        """# like this"""
        return f"{'#' * level} {self.markdown_escape(text)}"

    def markdown_paragraph(self, text):
        """As it is."""
        return self.markdown_escape(text)

    def markdown_table(self, header, rows):
        """Pipes."""
        rule = ["---:" if h.endswith(">") else "---" for h in header]
        names = [self.markdown_escape(h.rstrip(">")) for h in header]
        body = [[self.markdown_escape(cell) for cell in row] for row in rows]
        return "\n".join(f"| {' | '.join(line)} |"
                         for line in [names, rule, *body])

    def markdown_picture(self, path, text):
        """The file beside the report."""
        return f"![{self.markdown_escape(text)}]({path})"

    # --- HTML ---

    def write_html(self, name):
        """Pictures are inside: the file can be sent as it is."""
        parts = [getattr(self, f"html_{kind}")(*rest)
                 for kind, *rest in self.blocks]
        head = (f'<!DOCTYPE html>\n<html lang="en"><head>'
                f'<meta charset="utf-8"><title>{html.escape(self.title)}'
                f'</title><style>{STYLE}</style></head><body>\n')
        return self.write(name, head + "\n".join(parts) + "\n</body></html>\n")

    @staticmethod
    def html_heading(level, text):
        """With an anchor."""
        anchor = html.escape(text.replace(" ", "-"), quote=True)
        return f'<h{level} id="{anchor}">{html.escape(text)}</h{level}>'

    @staticmethod
    def html_paragraph(text):
        """Plain."""
        return f"<p>{html.escape(text)}</p>"

    @staticmethod
    def html_table(header, rows):
        """A verdict's cell is coloured."""
        numbers = [h.endswith(">") for h in header]
        out = ["<table><tr>"]
        for name, number in zip(header, numbers):
            kind = ' class="number"' if number else ""
            out.append(f"<th{kind}>{html.escape(name.rstrip('>'))}</th>")
        for row in rows:
            out.append("</tr>\n<tr>")
            for cell, number in zip(row, numbers):
                word = cell.split(" ", 1)[0].rstrip(":")
                kind = "number" if number else ""
                if word in ("reached", "missed", "failed"):
                    kind = word
                kind = f' class="{kind}"' if kind else ""
                out.append(f"<td{kind}>{html.escape(cell)}</td>")
        return "".join(out) + "</tr></table>"

    def html_picture(self, path, text):
        """As data in the page."""
        with open(os.path.join(self.directory, path), "rb") as f:
            data = base64.b64encode(f.read()).decode("ascii")
        return (f'<img alt="{html.escape(text, quote=True)}" '
                f'src="data:image/svg+xml;base64,{data}">')
