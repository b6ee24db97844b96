"""A roofline as SVG: what the machine could do at an intensity, and where the ops of a step are."""
from math import log10
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1000, 560, 70, 240, 50, 50
LEAST_SHARE = 0.002  # ops of less of the step are no points
# Colours that are read on white and on black alike: a middle grey for words and axes.
STYLE = """<style>
text { font: 12px sans-serif; fill: #808080 } .title { font-size: 15px } .op { font-size: 11px }
.axis, .grid { stroke: #808080; fill: none } .grid { opacity: 0.2 } .roof { fill: none; stroke-width: 2 }
.fp32 { stroke: #3b82f6 } .bf16 { stroke: #16a34a } .tiles { stroke: #a855f7 } .point { fill: #e2762b; fill-opacity: 0.75; stroke: #e2762b }
.leader { stroke: #808080; stroke-width: 0.6; opacity: 0.6 }
</style>"""


class Scale:
    """A logarithmic axis from `low` to `high`, in pixels."""

    def __init__(self, low, high, begin, end):
        self.low, self.high, self.begin, self.end = log10(low), log10(high), begin, end

    def __call__(self, value):
        return self.begin + (log10(value) - self.low) / (self.high - self.low) * (self.end - self.begin)

    def decades(self):
        first = int(self.low) - 1
        return [10.0**n for n in range(first, int(self.high) + 2) if self.low - 1e-9 <= n <= self.high + 1e-9]


def points_of(profile):
    """(op, flop/byte, GFLOP/s, share) of what took long enough and computes."""
    points = []
    for line in profile["lines"]:
        share = line["seconds"] / profile["seconds"]
        if line["flops"] and line["bytes"] and share >= LEAST_SHARE:
            points.append((line["op"], line["flops"] / line["bytes"], line["flops"] / line["seconds"] / 1e9, share))
    return points


def spread(places, gap, low, high):
    """Heights of labels near their places, none closer than gap, none outside."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    at = dict.fromkeys(order, 0.0)
    floor = low
    for i in order:
        at[i] = floor = max(places[i], floor)
        floor += gap
    over = floor - gap - high
    if over > 0:
        ceiling = high
        for i in reversed(order):
            at[i] = ceiling = min(at[i], ceiling)
            ceiling -= gap
    return at


def axes(x, y):
    for value in x.decades():
        yield f'<path class="grid" d="M{x(value):.1f} {y.begin}V{y.end}"/><text x="{x(value):.1f}" y="{y.begin + 18}" text-anchor="middle">{value:g}</text>'
    for value in y.decades():
        yield f'<path class="grid" d="M{x.begin} {y(value):.1f}H{x.end}"/><text x="{x.begin - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
    yield f'<path class="axis" d="M{x.begin} {y.end}V{y.begin}H{x.end}"/>'
    yield f'<text x="{(x.begin + x.end) / 2}" y="{HEIGHT - 12}" text-anchor="middle">counted operations per byte moved at least</text>'
    yield f'<text transform="translate(18 {(y.begin + y.end) / 2}) rotate(-90)" text-anchor="middle">GFLOP/s</text>'


def roofs(x, y, ceilings):
    memory = ceilings["memory"]
    low, high = 10**x.low, 10**x.high
    bottom = 10**y.low
    for kind in ("fp32", "bf16", "bf16 tiles"):
        if not ceilings.get(kind):
            continue
        ridge = ceilings[kind] / memory
        start = max(low, bottom / memory)
        yield (f'<path class="roof {kind.split()[-1]}" d="M{x(start):.1f} {y(start * memory):.1f}L{x(ridge):.1f} {y(ceilings[kind]):.1f}H{x(high):.1f}"/>'
               f'<text x="{x(ridge) + 34:.1f}" y="{y(ceilings[kind]) - 6:.1f}">{kind} {ceilings[kind]:.0f} GFLOP/s</text>')
    at = max(low, bottom / memory) * 2
    yield f'<text x="{x(at) + 8:.1f}" y="{y(at * memory) + 16:.1f}">memory {memory:.0f} GB/s</text>'


def write_svg(path, case, profile, precision, ceilings):
    points = points_of(profile)
    x = Scale(0.1, 1000, LEFT, WIDTH - RIGHT)
    top = 10000 if max(ceilings.get(kind, 0) for kind in ("fp32", "bf16", "bf16 tiles")) > 1000 else 1000
    y = Scale(1, top, HEIGHT - BOTTOM, TOP)
    inside = [(op, min(max(i, 0.1), 1000), min(max(rate, 1), top), share) for op, i, rate, share in points]
    share_of_floor = 100 * profile["needed_flops"] / profile["ceiling_flops"] / profile["seconds"] if profile["ceiling_flops"] else 0
    title = f"A step of {case}, {precision}: {share_of_floor:.0f} % of its counted floor at the ceiling"
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">', STYLE,
           f'<text class="title" x="{LEFT}" y="26">{escape(title)}</text>', *axes(x, y), *roofs(x, y, ceilings)]
    # Names stand in a column beside the sheet, as high as their points where there is room.
    column = WIDTH - RIGHT + 24
    heights = spread([y(rate) for _, _, rate, _ in inside], 15, TOP + 4, HEIGHT - BOTTOM)
    for n, (op, intensity, rate, share) in enumerate(inside):
        px, py = x(intensity), y(rate)
        out.append(f'<path class="leader" d="M{px:.1f} {py:.1f}L{column - 4:.1f} {heights[n] - 4:.1f}"/>'
                   f'<circle class="point" cx="{px:.1f}" cy="{py:.1f}" r="{2 + 14 * share**0.5:.1f}"><title>{escape(op)}: {100 * share:.1f} %</title></circle>'
                   f'<text class="op" x="{column:.1f}" y="{heights[n]:.1f}">{escape(op)} · {100 * share:.1f} %</text>')
    out.append("</svg>\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(out), encoding="utf-8")
