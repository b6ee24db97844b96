"""Charts as SVG, for the studies: panels with axes, lines with bands, points with intervals. Colours are read on white and on black."""
import math
from xml.sax.saxutils import escape

STYLE = """<style>
text { font: 12px sans-serif; fill: #808080 } .title { font-size: 15px } .head { font-size: 13px } .small { font-size: 11px }
.axis, .grid { stroke: #808080; fill: none } .grid { opacity: 0.2 }
.line { fill: none; stroke-width: 1.8 } .band { stroke: none; opacity: 0.18 } .whisker { stroke-width: 1.8 }
</style>"""


class Axis:
    """From `low` to `high` in pixels from `begin` to `end`; logarithmic or not."""

    def __init__(self, values, begin, end, log=False, include=()):
        values = [v for v in [*values, *include] if v is not None and (v > 0 or not log)]
        self.log, self.begin, self.end = log, begin, end
        low, high = (min(values), max(values)) if values else (1, 10)
        if log:
            low, high = math.log10(low), math.log10(high)
        room = (high - low) * 0.06 or 0.5 * (1 if log else abs(high) or 1)
        self.low, self.high = low - room, high + room

    def __call__(self, value):
        place = math.log10(value) if self.log else value
        return self.begin + (place - self.low) / (self.high - self.low) * (self.end - self.begin)

    def ticks(self):
        """(value, words) of four to nine marks."""
        if self.log:
            for marks in ((1,), (1, 3), (1, 2, 5)):
                found = [m * 10.0**e for e in range(math.floor(self.low) - 1, math.ceil(self.high) + 1) for m in marks]
                found = [v for v in found if self.low <= math.log10(v) <= self.high]
                if len(found) >= 3 or len(marks) == 3:
                    break
            return [(v, f"{v:g}") for v in found[:: len(found) // 8 + 1]]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next((m for m in (5, 2) if (self.high - self.low) / (m * step) >= 3.5), 1)
        first = math.ceil(self.low / step)
        return [(k * step, f"{k * step:g}") for k in range(first, math.floor(self.high / step) + 1)]


class Panel:
    """A sheet at (left, top); what is drawn on it is collected until it is asked for its markup."""

    def __init__(self, left, top, width, height, title, x, y, x_words, y_words):
        self.left, self.top, self.right, self.bottom = left, top, left + width, top + height
        self.title, self.x_words, self.y_words = title, x_words, y_words
        self.x = Axis(x["values"], self.left, self.right, x.get("log", False), x.get("include", ()))
        self.y = Axis(y["values"], self.bottom, self.top, y.get("log", False), y.get("include", ()))
        self.x_ticks = x.get("ticks")
        self.marks, self.names = [], []

    def shown(self, points):
        return [p for p in points if all(v is not None and (v > 0 or not axis.log) for v, axis in zip(p, (self.x, self.y)))]

    def line(self, points, colour, name=None, dash=""):
        points = self.shown(points)
        if not points:
            return
        path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        self.marks.append(f'<path class="line" stroke="{colour}" stroke-dasharray="{dash}" d="M{path}"/>')
        if name:
            self.names.append((name, colour, dash))

    def band(self, low, high, colour):
        points = self.shown(low) + self.shown(high)[::-1]
        if len(points) > 3:
            path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
            self.marks.append(f'<path class="band" fill="{colour}" d="M{path}Z"/>')

    def point(self, x, y, colour, low=None, high=None, hollow=False, words=""):
        if not self.shown([(x, y)]):
            return
        if low is not None and high is not None:
            ends = [min(max(self.y(v), self.top), self.bottom) for v in (low, high)]
            self.marks.append(f'<path class="whisker" stroke="{colour}" d="M{self.x(x):.1f} {ends[0]:.1f}V{ends[1]:.1f}"/>')
        fill = "none" if hollow else colour
        self.marks.append(f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="3.5" fill="{fill}" stroke="{colour}" stroke-width="1.5">'
                          f"<title>{escape(words)}</title></circle>")

    def level(self, y):
        self.marks.append(f'<path class="axis" stroke-dasharray="2 3" d="M{self.left} {self.y(y):.1f}H{self.right}"/>')

    def markup(self):
        yield f'<text class="head" x="{self.left}" y="{self.top - 10}">{escape(self.title)}</text>'
        for value, words in self.x_ticks or self.x.ticks():
            at = self.x(value)
            yield f'<path class="grid" d="M{at:.1f} {self.top}V{self.bottom}"/>'
            yield f'<text class="small" x="{at:.1f}" y="{self.bottom + 15}" text-anchor="middle">{escape(words)}</text>'
        for value, words in self.y.ticks():
            at = self.y(value)
            yield f'<path class="grid" d="M{self.left} {at:.1f}H{self.right}"/>'
            yield f'<text class="small" x="{self.left - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(words)}</text>'
        yield f'<path class="axis" d="M{self.left} {self.top}V{self.bottom}H{self.right}"/>'
        middle, height = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        yield f'<text class="small" x="{middle:.1f}" y="{self.bottom + 31}" text-anchor="middle">{escape(self.x_words)}</text>'
        yield f'<text class="small" transform="translate({self.left - 52} {height:.1f}) rotate(-90)" text-anchor="middle">{escape(self.y_words)}</text>'
        yield from self.marks
        at = self.left + 10
        for name, colour, dash in self.names:
            yield f'<path class="line" stroke="{colour}" stroke-dasharray="{dash}" d="M{at} {self.bottom + 46}h22"/>'
            yield f'<text class="small" x="{at + 27}" y="{self.bottom + 50}">{escape(name)}</text>'
            at += 50 + 6.2 * len(name)


def write(path, width, height, title, panels, legend=(), at=(0, 0)):
    """`legend` is of all panels: (words, colour, dash), four to a row from `at`."""
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">', STYLE,
           f'<text class="title" x="24" y="26">{escape(title)}</text>']
    for panel in panels:
        out.extend(panel.markup())
    for number, (words, colour, dash) in enumerate(legend):
        x, y = at[0] + number % 4 * 260, at[1] + number // 4 * 20
        out.append(f'<path class="line" stroke="{colour}" stroke-dasharray="{dash}" d="M{x} {y}h22"/><text class="small" x="{x + 27}" y="{y + 4}">{escape(words)}</text>')
    path.write_text("\n".join([*out, "</svg>"]) + "\n", encoding="utf-8")
