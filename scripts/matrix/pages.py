# SPDX-License-Identifier: GPL-2.0-or-later
"""A page as reStructuredText and as HTML: the document of scripts/report, with
charts that are part of the page and items of a list."""

import csv
import html
import io
import textwrap

from document import Document

UNDERLINE = {1: "=", 2: "=", 3: "-"}


class Page(Document):
    """Charts are in the HTML only: a text page says where they are."""

    def item(self, text):
        """One of a list."""
        self.blocks.append(("item", text))

    def chart(self, svg, text):
        """@svg: the element's text; "" if nothing was measured."""
        if svg:
            self.blocks.append(("chart", svg, text))

    # --- HTML ---

    @staticmethod
    def html_item(text):
        """A list of its own: they look the same."""
        return f"<ul><li>{html.escape(text)}</li></ul>"

    @staticmethod
    def html_chart(svg, text):
        """As it is."""
        return (f'<figure role="img" aria-label="{html.escape(text)}">'
                f"{svg}</figure>")

    # --- reStructuredText ---

    def write_rst(self, name):
        """Returns the file's path."""
        parts = [getattr(self, f"rst_{kind}")(*rest)
                 for kind, *rest in self.blocks]
        return self.write(name, "\n\n".join(p for p in parts if p) + "\n")

    @staticmethod
    def rst_escape(text):
        """What would be markup."""
        for sign in "\\*`|_":
            text = text.replace(sign, f"\\{sign}")
        return text

    def rst_heading(self, level, text):
        """Underlined; the title above as well."""
        text = self.rst_escape(text)
        rule = UNDERLINE[level] * len(text)
        return f"{rule}\n{text}\n{rule}" if level == 1 else f"{text}\n{rule}"

    def rst_paragraph(self, text):
        """Filled."""
        return textwrap.fill(self.rst_escape(text), 80,
                             break_on_hyphens=False, break_long_words=False)

    def rst_item(self, text):
        """With a dash."""
        return textwrap.fill(self.rst_escape(text), 80, initial_indent="- ",
                             subsequent_indent="  ", break_on_hyphens=False,
                             break_long_words=False)

    def rst_table(self, header, rows):
        """A line for each line."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([h.rstrip(">") for h in header])
        writer.writerows([[self.rst_escape(c) for c in row] for row in rows])
        return (".. csv-table::\n   :header-rows: 1\n\n" +
                textwrap.indent(out.getvalue().rstrip(), "   "))

    @staticmethod
    def rst_chart(_svg, _text):
        """See the HTML."""
        return ""
