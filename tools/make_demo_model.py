#!/usr/bin/env python3
"""Make the demo's base model and data from nothing: corpus, tokenizer, pre-training, task rows.

    python3 -m venv venv && venv/bin/pip install -r tools/demo_requirements.txt
    venv/bin/python tools/make_demo_model.py all          # writes demo/model and demo/data
    venv/bin/python tools/make_demo_model.py check        # base and tuned exact match, in PyTorch

What it is not: part of the program. `make demo` uses the committed files and needs no Python.
Invariant: the pre-training corpus holds no JSON, no ISO date, none of the record's key sequences and
no held-out name or thing; `assert_no_leak` stops the script otherwise.
Everything is drawn from random.Random(SEED): no file is downloaded and no text is anyone's.
"""
import argparse
import json
import math
import os
import random
import re
import sys
import time
from pathlib import Path

SEED = 20260305
ROOT = Path(__file__).resolve().parent.parent
MODEL_DIR = ROOT / "demo" / "model"
DATA_DIR = ROOT / "demo" / "data"

BOS, EOS = "<|bos|>", "<|eos|>"
VOCAB = 1024
HIDDEN, LAYERS, HEADS, KV_HEADS, FFN = 128, 4, 4, 2, 384
STAGES = [  # one dict per stage: what differs from the line before; anneal: steps between which the lr falls to zero in a straight line
    {"steps": 1400, "lr": 3e-3, "anneal": (700, 1400), "echo_steps": 400, "free_weight": 1.0},
    {"steps": 500, "anneal": (500, 501), "echo_steps": 0, "quoting": 0.5, "free_weight": 0.2},
    {"steps": 250, "anneal": (0, 600), "quoting": 0.7, "spans": True},
    {"steps": 300, "lr": 2e-3, "anneal": (0, 300), "words": 0.12, "pieces": 0.15},
    {"steps": 400, "anneal": (0, 400), "quoting": 0.8, "broad": 0.6},
    {"steps": 600, "lr": 3e-3, "anneal": (0, 600), "quoting": 0.9, "broad": 0.7},
    {"steps": 1000, "anneal": (300, 1000), "echo_steps": 1000, "echo": 0.15, "year_first": True},
]
for number in range(len(STAGES)):   # see questions(), syllables() and batches() for what the keys do
    before = STAGES[number - 1] if number else {"quoting": 0.0, "spans": False, "words": 0.0, "pieces": 0.0, "broad": 0.0, "echo": 0.5,
                                                     "year_first": False}
    STAGES[number] = {**before, **STAGES[number], "number": number + 1}
CONTEXT = 256                      # tokens per pre-training sequence
TRAIN_ROWS, TEST_ROWS = 1400, 150

# ---------------------------------------------------------------------------------------------
# Words. HELD_* occur in the test file only: neither the tokenizer, nor the base, nor the adapter
# has seen them.

FIRST = """Anna Maria Laura Julia Sarah Emma Clara Nina Eva Helen Irene Judith Karin Lena Marta Nora Olga Paula Rosa Silvia
Tanja Ursula Vera Wanda Yvonne Zoe Alice Beth Carol Diana Elise Fiona Grace Hanna Ida Joan Kate Lucy Mona Nadia Peter Paul
Thomas Martin Daniel David Simon Lukas Jonas Felix Oscar Victor Walter Robert Stefan Erik Ivan Jan Karl Leo Max Noah Otto
Philip Ralf Samuel Tim Ulrich Viktor William Xaver Adam Bruno Carlos Dieter Emil Frank Georg Hugo Ingo Jakob Kevin Lars Marco
Nils Omar Pedro Quentin Rafael Sven Tobias Umberto""".split()
LAST = """Keller Weber Fischer Meyer Schulz Wagner Becker Hoffmann Koch Richter Klein Wolf Neumann Schwarz Zimmer Braun Hartmann
Lange Krause Werner Lehmann Kaiser Fuchs Peters Scholz Moeller Weiss Jung Hahn Vogel Friedrich Berger Winkler Roth Beck Lorenz
Baumann Franke Albrecht Winter Simon Ludwig Martens Kraus Schumann Jansen Otto Stein Graf Sommer Seidel Heinrich Brandt Haas
Schreiber Graham Smith Taylor Brown Walker Wright Turner Parker Evans Morris Cooper Ward Bailey Gray Hughes Price Bennett
Foster Butler Russell Dixon Hunt Palmer Mills Grant Knight Stone Rossi Bianchi Romano Costa Silva Santos Moreno Ortega""".split()
HELD_FIRST = """Agnes Bettina Cyril Dorothea Edgar Frieda Gustav Henrike Isidor Konrad Leopold Mathilda Benedikt Clemens
Esther Florian Gabriel Harriet Josephine Katharina Ludmila Marius Natalie Patrick Rebecca Sebastian Theodor Valerie""".split()
HELD_LAST = """Ackermann Dressler Engelhardt Goldstein Kowalski Lindqvist Nakamura Okafor Petrov Vandermeer Whitaker Yilmaz
Andersson Bergmann Carpenter Donnelly Eriksen Fitzgerald Gutierrez Hamilton Kaufmann Lombardi Montgomery Nowak Pereira Robinson
Steinberg Thompson""".split()

QUALITY = """red blue green black white grey brown small large round folding wooden steel copper plastic leather cotton heavy light
narrow wide double electric cordless""".split()
THINGS = """chair:chairs table:tables lamp:lamps shelf:shelves desk:desks cable:cables bag:bags box:boxes bottle:bottles
cup:cups plate:plates knife:knives spoon:spoons towel:towels pillow:pillows blanket:blankets mirror:mirrors clock:clocks
candle:candles basket:baskets bucket:buckets brush:brushes hammer:hammers ladder:ladders drill:drills saw:saws rope:ropes
battery:batteries notebook:notebooks pencil:pencils folder:folders stapler:staplers printer:printers keyboard:keyboards
monitor:monitors speaker:speakers camera:cameras tripod:tripods backpack:backpacks jacket:jackets shirt:shirts glove:gloves
helmet:helmets bicycle:bicycles tent:tents kettle:kettles toaster:toasters pan:pans filter:filters hose:hoses""".split()
HELD_THINGS = """lantern:lanterns stool:stools scarf:scarves teapot:teapots whistle:whistles drawer:drawers umbrella:umbrellas
wallet:wallets cushion:cushions blender:blenders binder:binders compass:compasses trolley:trolleys hammock:hammocks envelope:envelopes
carpet:carpets curtain:curtains thermos:thermoses sponge:sponges marker:markers""".split()
COMPOUND = "desk garden kitchen office travel wall floor coffee water sports".split()

MONTHS = "January February March April May June July August September October November December".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
NUMBERS = "one two three four five six seven eight nine ten eleven twelve".split()
CURRENCIES = [("euros", "EUR"), ("dollars", "USD"), ("pounds", "GBP")]
CURRENCY_WORDS = [word for pair in CURRENCIES for word in pair]
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
CITIES = "Bern Leeds Lyon Porto Graz Turin Ghent Lund Bremen Dublin Boston Austin Denver Madrid Prague Oslo".split()

ONSETS = "b bl br c ch d dr f fl g gl gr h j k kl kr l m n p pl pr qu r s sch sh sk sl sm sn sp st str t th tr v w y z".split()
VOWELS = "a e i o u ai au ea ee ei ia ie oa oo ou".split()
CODAS = ["", "", "", ""] + "b ck d f g k l ll lt m n nd ng nk nt p r rd rk rn rt s ss st sk t th tz x z".split()


HELD = {word.lower() for word in HELD_FIRST + HELD_LAST + [t for pair in HELD_THINGS for t in pair.split(":")]}


WIDE_ONSETS = ONSETS + "wh fr sc kn cl cr ph gn shr thr spr scr squ wr dw tw sw ch x".split()
WIDE_VOWELS = VOWELS + "y ay ey oy aw ew ow ue ya yo".split()
WIDE_CODAS = CODAS + "ck mp ft ct sh ch rm rl tch dge w ve lm pt nth wk c h v que lds rs rg nn mm".split()


def syllables(rng, low=1, high=3, broad=0.0):
    word = ""
    if broad and rng.random() < broad:                # stage 5: every shape of word, not only those of the first lists
        if rng.random() < 0.2:
            return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 9)))
        for _ in range(rng.randint(low, high)):
            word += rng.choice(WIDE_ONSETS) + rng.choice(WIDE_VOWELS) + rng.choice(WIDE_CODAS)
        return word if word not in HELD and word + "s" not in HELD else "x" + word
    for _ in range(rng.randint(low, high)):
        word += rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
    return word if word not in HELD and word + "s" not in HELD else syllables(rng, low, high)


class Words:
    """Draws names, things, dates and amounts; `invented` is the share of made-up words, `quoting` that of quoted answers.

    spans: order documents always ask for the customer and the goods, the longest copies, and not for the currency.
    """

    def __init__(self, rng, invented, held=0.0, quoting=0.0, spans=False, broad=0.0, year_first=False):
        self.year_first = year_first
        self.rng, self.invented, self.held, self.quoting, self.spans, self.broad = rng, invented, held, quoting, spans, broad

    def word(self, real, held):
        if self.rng.random() < self.invented:
            return syllables(self.rng, broad=self.broad)
        return self.rng.choice(held if self.rng.random() < self.held else real)

    def person(self):
        return f"{self.word(FIRST, HELD_FIRST).capitalize()} {self.word(LAST, HELD_LAST).capitalize()}"

    def city(self):
        return syllables(self.rng, 1, 2, self.broad).capitalize() if self.rng.random() < self.invented else self.rng.choice(CITIES)

    def thing(self, quantity):
        kind = self.rng.random()
        if self.rng.random() < self.invented:
            noun = syllables(self.rng, 1, 2, self.broad) + ("" if quantity == 1 else "s")
        else:
            pool = HELD_THINGS if self.rng.random() < self.held else THINGS
            noun = self.rng.choice(pool).split(":")[quantity != 1]
        if kind < 0.2:
            return noun
        if kind < 0.7:
            return f"{self.rng.choice(QUALITY)} {noun}"
        return f"{self.rng.choice(COMPOUND)} {noun}"

    def date(self):
        return self.rng.randint(1, 28), self.rng.randint(1, 12), self.rng.randint(2015, 2029)

    def quantity(self):
        return self.rng.randint(1, 12) if self.rng.random() < 0.6 else self.rng.randint(13, 99)

    def amount(self):
        whole = self.rng.choice([self.rng.randint(2, 99), self.rng.randint(100, 999), self.rng.randint(1000, 4999)])
        return f"{whole}.{self.rng.choice([0, 5, 9, self.rng.randint(0, 9)])}{self.rng.choice([0, 0, 5, 9, self.rng.randint(0, 9)])}"


class Order:
    """One order and its wordings."""

    def __init__(self, w, currencies=CURRENCIES):
        rng = w.rng
        self.who, self.date, self.quantity = w.person(), w.date(), w.quantity()
        self.item, self.amount, self.currency = w.thing(self.quantity), w.amount(), rng.choice(currencies)
        self.city = w.city()
        spelled = self.quantity <= 12 and rng.random() < 0.4
        self.quantity_text = NUMBERS[self.quantity - 1] if spelled else str(self.quantity)

    def date_text(self, rng):
        day, month, year = self.date
        return rng.choice([f"{day} {MONTHS[month - 1]} {year}"] * 2 + [f"{MONTHS[month - 1]} {day}, {year}"])

    def sale(self, rng):
        """The sentences of the task; the corpus uses them too (as ordinary English)."""
        d, q, i, n = self.date_text(rng), self.quantity_text, self.item, self.who
        m = f"{self.amount} {self.currency[0]}"
        text = rng.choice([
            f"On {d}, {n} ordered {q} {i} from us for {m}.",
            f"{n} bought {q} {i} on {d} and paid {m}.",
            f"We received an order from {n} on {d}. It is for {q} {i}, {m} in total.",
            f"{n} wrote to us on {d} and asked for {q} {i}. The price comes to {m}.",
            f"Please send {q} {i} to {n}. The order was placed on {d} and the bill is {m}.",
            f"An invoice of {m} went to {n} for {q} {i}. The order dates from {d}.",
            f"The customer {n} paid {m} on {d} for {q} {i}.",
            f"{q.capitalize()} {i} were sold to {n} for {m} on {d}." if self.quantity > 1 else
            f"{q.capitalize()} {i} was sold to {n} for {m} on {d}.",
        ])
        if rng.random() < 0.35:
            text += " " + rng.choice([f"The goods go to {self.city}.", f"Delivery is to {self.city} by truck.",
                                      "Please confirm by phone.", "The customer has ordered before.",
                                      f"It ships on {rng.choice(WEEKDAYS)}.", "Thank you."])
        return text


# ---------------------------------------------------------------------------------------------
# The pre-training corpus: short documents in plain English.

def questions(o, rng, quoting=0.0, spans=False, year_first=False):
    day, month, year = o.date
    pool = [
        (["Who is the customer", "Who placed the order", "Who is it", "What is the name of the customer"], o.who),
        (["What was ordered", "Which goods", "What is the item", "What did the customer want"], o.item),
        (["How many", "How many pieces", "What is the quantity", "How many were ordered"], str(o.quantity)),
        (["How much", "What is the total", "What is the price", "How much money"], o.amount),
        (["How much, with the currency", "What was paid"], f"{o.amount} {o.currency[0]}"),
        (["Which currency", "In what money"], o.currency[0]),
        (["What is the short name of the currency", "Which code has the currency"], o.currency[1]),
        (["When", "On which day", "What is the date"], f"{day} {MONTHS[month - 1]} {year}"),
        (["What is the date with slashes", "The date in figures"], f"{day:02d}/{month:02d}/{year}"),
        (["Which year"], str(year)),
        (["Which month"], MONTHS[month - 1]),
        (["What is the number of the month", "Which month in two figures"], f"{month:02d}"),
        (["What is the day in two figures"], f"{day:02d}"),
        (["Give year, month and day in figures"], f"year {year}, month {month:02d}, day {day:02d}"),
        (["Who ordered what"], f"{o.who} ordered {o.quantity} {o.item}"),
    ]
    if spans:                                         # stage 3
        pool = [x for x in pool if x[1] not in CURRENCY_WORDS]
        rest = [x for x in pool if x[1] not in (o.who, o.item)]
        rng.shuffle(rest)
        if year_first:                                # stage 7: dates in figures with the year in front, but never with hyphens
            mark = rng.choice("/. ")
            rest = [(["The date, year first", "Year, month and day", "The date in figures from the year on"],
                     f"{year}{mark}{month:02d}{mark}{day:02d}")] + rest
        pool = [x for x in pool if x[1] in (o.who, o.item)] + rest[:4]
        rng.shuffle(pool)
        return [(rng.choice(q), f'"{a}"' if rng.random() < quoting else a) for q, a in pool]
    if quoting:                                       # stage 2: mostly the answers that stage 1 leaves unlearned
        rng.shuffle(pool)
        hard = [x for x in pool if x[1] in (o.who, o.item, o.currency[0], o.currency[1], MONTHS[month - 1], f"{month:02d}")
                or x[1].startswith(f"{day} ")]
        pool = hard[:5] + [x for x in pool if x not in hard][:2]
        rng.shuffle(pool)
        return [(rng.choice(q), f'"{a}"' if rng.random() < quoting else a) for q, a in pool]
    rng.shuffle(pool)
    return [(rng.choice(q), a) for q, a in pool[:rng.randint(5, 9)]]


def retell(o, rng, quoting=0.0, year_first=False):
    day, month, year = o.date
    if quoting and rng.random() < quoting:            # prose may quote what it names: the item is "red lamps"
        parts = [f'the customer is "{o.who}"', f'the item is "{o.item}"', f"the quantity is {o.quantity}",
                 f'the total is {o.amount} and the currency is "{o.currency[1]}"',
                 rng.choice([f'the date is "{day} {MONTHS[month - 1]} {year}"', f'the date is "{day:02d}/{month:02d}/{year}"',
                             f"the year is {year}, the month is {month:02d} and the day is {day:02d}"])]
        if year_first and rng.random() < 0.5:
            mark = rng.choice("/. ")
            parts[4] = f'the date from the year on is "{year}{mark}{month:02d}{mark}{day:02d}"'
        rng.shuffle(parts)
        return rng.choice(["In short, ", "That is to say, ", "To sum up, ", "In other words, "]) + "; ".join(parts) + "."
    parts = [
        rng.choice([f"the customer is {o.who}", f"the name is {o.who}", f"it was {o.who}"]),
        rng.choice([f"the item is {o.item}", f"the goods are {o.item}"]),
        rng.choice([f"the quantity is {o.quantity}", f"the number of pieces is {o.quantity}"]),
        rng.choice([f"the total is {o.amount} {o.currency[0]}", f"the price is {o.amount} in {o.currency[1]}",
                    f"the total is {o.amount}, and the currency is {o.currency[1]}"]),
        rng.choice([f"the date is {day:02d}/{month:02d}/{year}", f"the date is {day} {MONTHS[month - 1]} {year}",
                    f"the year is {year}, the month is {month:02d} and the day is {day:02d}"]),
    ]
    rng.shuffle(parts)
    return rng.choice(["In short, ", "That is to say, ", "To sum up, ", "In other words, "]) + "; ".join(parts) + "."


def doc_order(w):
    rng, o = w.rng, Order(w)
    text = o.sale(rng)
    if rng.random() < 0.4:
        text += "\n" + retell(o, rng, w.quoting, w.year_first)
    asked = questions(o, rng, w.quoting, w.spans, w.year_first)
    style = rng.randint(0, 2 if w.quoting else 3)
    for q, a in asked:
        text += {0: f"\nQuestion: {q}?\nAnswer: {a}", 1: f"\n{q}? {a}.", 2: f"\nQ: {q}? A: {a}.", 3: f"\n\"{q}?\" - \"{a}.\""}[style]
    return text


def doc_retell(w):
    rng, o = w.rng, Order(w)
    text = o.sale(rng)
    for _ in range(rng.randint(1, 3)):
        text += "\n" + retell(o, rng, w.quoting, w.year_first)
    return text


def doc_two_orders(w):
    rng, a, b = w.rng, Order(w), Order(w)
    text = a.sale(rng) + " " + b.sale(rng)
    for _ in range(rng.randint(3, 5)):
        o = rng.choice([a, b])
        day, month, year = o.date
        text += "\n" + rng.choice([
            f"What did {o.who} get? {o.quantity} {o.item}.", f"Who got {o.item}? {o.who}.",
            f"How much did {o.who} pay? {o.amount} {o.currency[0]}.", f"Who paid {o.amount}? {o.who}.",
            f"When did {o.who} order? {day} {MONTHS[month - 1]} {year}.", f"How many {o.item} did {o.who} get? {o.quantity}.",
        ])
    return text


def doc_appointment(w):
    rng = w.rng
    a, b, (day, month, year), city = w.person(), w.person(), w.date(), w.city()
    hour, minute = rng.randint(7, 19), rng.choice(["00", "15", "30", "45"])
    date = f"{day} {MONTHS[month - 1]} {year}"
    text = rng.choice([
        f"{a} has an appointment with {b} in {city} on {date} at {hour}:{minute}.",
        f"On {date} at {hour}:{minute}, {a} will meet {b} in {city}.",
        f"{b} is expected by {a} at {hour}:{minute} on {date}; they meet in {city}."])
    pool = [("Who are they?", f"{a} and {b}."), ("Where?", f"In {city}."), ("At what time?", f"At {hour}:{minute}."),
            ("When?", f"On {date}."), ("The date in figures?", f"{day:02d}/{month:02d}/{year}."),
            ("Which month?", f"{MONTHS[month - 1]}, month {month:02d}."), (f"Whom does {a} meet?", f"{b}."),
            ("Which year?", f"{year}.")]
    rng.shuffle(pool)
    return text + "".join(f"\n{q} {x}" for q, x in pool[:rng.randint(4, 7)])


def doc_shipment(w):
    rng = w.rng
    o, number, here, there = Order(w), rng.randint(1000, 99999), w.city(), w.city()
    text = (f"Parcel {number} with {o.quantity_text} {o.item} left {here} for {there} on {o.date_text(rng)}. "
            + rng.choice([f"{o.who} will sign for it.", f"It belongs to {o.who}.", f"{o.who} waits for it."]))
    pool = [(f"What is in parcel {number}?", f"{o.quantity} {o.item}."), ("Where does it come from?", f"{here}."),
            ("Where does it go?", f"{there}."), ("Whose is it?", f"{o.who}."), ("Its number?", f"{number}."),
            ("The date in figures?", f"{o.date[0]:02d}/{o.date[1]:02d}/{o.date[2]}."), ("How many pieces?", f"{o.quantity}.")]
    rng.shuffle(pool)
    return text + "".join(f"\n{q} {x}" for q, x in pool[:rng.randint(4, 6)])


def doc_calendar(w):
    rng = w.rng
    lines = []
    for _ in range(rng.randint(3, 7)):
        day, month, year = w.date()
        name = MONTHS[month - 1]
        lines.append(rng.choice([
            f"{name} is the {ORDINALS[month - 1]} month, month {month:02d}.", f"Month {month:02d} is {name}.",
            f"{day} {name} {year} is {day:02d}/{month:02d}/{year}.", f"{name} {day}, {year} is {day:02d}/{month:02d}/{year}.",
            f"{day:02d}/{month:02d}/{year} means {day} {name} {year}.",
            f"{day} {name} {year}: year {year}, month {month:02d}, day {day:02d}.",
            f"{name} {day}, {year}: year {year}, month {month:02d}, day {day:02d}.",
            f"After {name} comes {MONTHS[month % 12]}.",
        ]))
    return " ".join(lines)


def doc_numbers(w):
    rng = w.rng
    lines = []
    for _ in range(rng.randint(3, 7)):
        n, (money, code) = rng.randint(1, 12), rng.choice(CURRENCIES)
        members = sorted(rng.sample(range(1, 99), rng.randint(2, 5)))
        lines.append(rng.choice([
            f"{NUMBERS[n - 1].capitalize()} is {n}.", f"The number {n} is written {NUMBERS[n - 1]}.",
            f"{NUMBERS[n - 1].capitalize()} {w.thing(n)}, that is {n}.", f"The short name of {money} is {code}.",
            f"{w.amount()} {money} is an amount in {code}.",
            f"The set {{{', '.join(map(str, members))}}} has {NUMBERS[len(members) - 1]} members; the largest is {members[-1]}.",
        ]))
    return " ".join(lines)


def doc_echo(w):
    """Copying itself: someone says something and someone repeats it."""
    rng = w.rng
    words = [rng.choice([syllables(rng, broad=w.broad), syllables(rng, broad=w.broad), rng.choice(QUALITY),
                         str(rng.randint(0, 9999)), w.person(), w.amount()])
             for _ in range(rng.randint(4, 12))]
    said = " ".join(words)
    again = f"\"{said}\""
    a, b = w.person(), w.person()
    return rng.choice([f"{a} said: {again} And {b} repeated: {again}", f"{said}. Again: {said}. And again: {said}.",
                       f"Listen: {said}. Repeat: {said}."])


def doc_person(w):
    rng = w.rng
    n, (day, month, year), city, age = w.person(), w.date(), w.city(), rng.randint(18, 90)
    first, last = n.split(" ", 1)
    facts = [f"{n} lives in {city}.", f"{n} is {age} years old.", f"The first name is {first}.", f"The last name is {last}.",
             f"{first} {last} has been a customer since {MONTHS[month - 1]} {year}.", f"{first} likes {w.thing(2)}."]
    rng.shuffle(facts)
    asked = [("Who lives in " + city + "?", f"{n}."), ("Where does " + n + " live?", f"In {city}."), (f"How old is {n}?", f"{age}."),
             ("What is the first name?", f"{first}."), ("What is the last name?", f"{last}."),
             ("Customer since when?", f"Since {MONTHS[month - 1]} {year}.")]
    if not any("since" in f for f in facts[:5]):
        asked.pop()
    rng.shuffle(asked)
    return " ".join(facts[:5]) + "".join(f"\n{q} {x}" for q, x in asked[:4]) if all(
        any(k in f for f in facts[:5]) for k in ("lives", "years")) else " ".join(facts)


GLOSSARY = """address amount answer april august author basket beam bill book bread brick bridge brother building button capital
captain castle chapter cheese child circle coal coast code colour column corner country county court currency customer daughter
date delivery dinner discount doctor dollar door engine evening event factory family farmer field figure finger fire floor
flower forest friend garden glass goods grain guest hall harbour history hotel house invoice island item journey kitchen
letter library list lunch market meadow meeting member message metal middle minute money month morning mother motor mountain
name night number office order owner page paper parcel party payment person picture piece place plant pocket police pound price
product quantity question receipt rent river road room salt school season second seller shape ship shop silver sister
smoke soldier station stone storm story street student sugar summer surname table tailor teacher theatre ticket timber title
total tower town trade train tree uncle unit valley vessel village voice volume wage water weather week weight window winter
woman worker year""".split()


def doc_words(w):
    """Words of their own (quoted, at the head of a line) and hyphens, so that no token of plain words stays untrained."""
    rng, lines = w.rng, []
    for _ in range(rng.randint(4, 9)):
        a, b, c = rng.choice(GLOSSARY), rng.choice(GLOSSARY), w.word(GLOSSARY, GLOSSARY)
        n, m = rng.randint(1, 99), rng.randint(1, 99)
        lines.append(rng.choice([
            f'The word "{a}" comes before "{b}".' if a < b else f'The word "{a}" comes after "{b}".',
            f'"{a}" and "{c}", said {w.person()}.\n"{a}" and "{c}".', f"{a} {b} {c}\n{a} {b} {c}",
            f"{a}-{b} and {b}-{a}", f"{a}-{c}, again {a}-{c}", f"The score was {n}-{m}, yes, {n}-{m}.",
            f"Pages {n}-{n + m}, from {n} to {n + m}.",
            f"Call {n}-{m}-{n + m}, that is {n}-{m}-{n + m}.", f'"{c}-{n}" is "{c}-{n}".', f"Write {c}: {'-'.join(c)}."]))
    return "\n".join(lines)


DOCS = [(doc_order, 40), (doc_retell, 14), (doc_two_orders, 8), (doc_appointment, 6), (doc_shipment, 8), (doc_calendar, 8),
        (doc_numbers, 5), (doc_echo, 8), (doc_person, 3)]

LEAKS = [re.compile(p) for p in (r'\{\s*"', r'"\s*:', r'\}\s*$', r'\d{4}-\d', r'Record', r'"\s*\{')]


def assert_no_leak(text):
    for leak in LEAKS:
        assert not leak.search(text), (leak.pattern, text)
    held = HELD.intersection(re.findall(r"\w+", text.lower()))
    assert not held, (held, text)


def document(rng, echo=0.0, quoting=0.0, spans=False, words=0.0, broad=0.0, year_first=False):
    w = Words(rng, invented=rng.choice([0.2, 0.6, 0.9]), quoting=quoting, spans=spans, broad=broad, year_first=year_first)
    make = doc_echo if rng.random() < echo else rng.choices([d for d, _ in DOCS], [k for _, k in DOCS])[0]
    if words and rng.random() < words:
        make = doc_words
    text = make(w)
    assert_no_leak(text)
    return text


# ---------------------------------------------------------------------------------------------
# The task: the same kind of sentence, then a JSON record.

def task_row(w):
    o = Order(w, [CURRENCIES[0]])
    day, month, year = o.date
    record = (f'{{"customer": {json.dumps(o.who)}, "date": "{year}-{month:02d}-{day:02d}", "item": {json.dumps(o.item)}, '
              f'"quantity": {o.quantity}, "total": {o.amount}}}')
    json.loads(record)
    return {"prompt": o.sale(w.rng) + "\nRecord:", "completion": " " + record}


def task_rows():
    rng = random.Random(SEED + 1)
    train_words, test_words = Words(rng, invented=0.15, broad=0.5), Words(rng, invented=0.0, held=0.3)
    train = [task_row(train_words) for _ in range(TRAIN_ROWS)]
    people = {json.loads(r["completion"])["customer"] for r in train}
    test = []
    while len(test) < TEST_ROWS:                      # nobody in the test file occurs in the training file
        row = task_row(test_words)
        if json.loads(row["completion"])["customer"] not in people:
            test.append(row)
    return train, test


def write_data():
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("train.jsonl", "test.jsonl"), task_rows()):
        with open(DATA_DIR / name, "w", encoding="utf-8") as f:
            f.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


def read_rows(name):
    return [json.loads(line) for line in open(DATA_DIR / name, encoding="utf-8")]


# ---------------------------------------------------------------------------------------------
# Tokenizer: byte-level BPE; every digit is a token of its own, so that numbers copy digit by digit.

def make_tokenizer():
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    tok.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    rng = random.Random(SEED + 2)
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=[BOS, EOS], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator((document(rng) for _ in range(12000)), trainer)
    tok.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tok.token_to_id(BOS))])])
    MODEL_DIR.mkdir(parents=True, exist_ok=True)
    tok.save(str(MODEL_DIR / "tokenizer.json"))
    with open(MODEL_DIR / "tokenizer_config.json", "w") as f:
        json.dump({"add_bos_token": True, "bos_token": BOS, "eos_token": EOS, "clean_up_tokenization_spaces": False,
                   "model_max_length": 512, "tokenizer_class": "PreTrainedTokenizerFast"}, f, indent=2)
        f.write("\n")
    return tok


def load_tokenizer():
    from tokenizers import Tokenizer
    return Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))


def encode_row(tok, row):
    """ids and labels as the program makes them: one text, labels after as many ids as the prompt has, eos appended."""
    prompt, ids = tok.encode(row["prompt"]).ids, tok.encode(row["prompt"] + row["completion"]).ids
    assert ids[:len(prompt)] == prompt, row
    ids = ids + [tok.token_to_id(EOS)]
    return ids, [-100] * len(prompt) + ids[len(prompt):]


# ---------------------------------------------------------------------------------------------
# Pre-training: next-token prediction on packed documents.

def config(tok):
    from transformers import LlamaConfig
    return LlamaConfig(vocab_size=tok.get_vocab_size(), hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS,
                       num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HIDDEN // HEADS,
                       max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True,
                       bos_token_id=tok.token_to_id(BOS), eos_token_id=tok.token_to_id(EOS), attn_implementation="sdpa")


def batches(tok, rows, stage):
    """Endless ids and loss weights [rows, CONTEXT]: bos document eos bos document eos ...

    Half of the first ECHO_STEPS of stage 1 is plain repetition. The weight is that of the token as a target: the first line of a
    document is made of free choices that nothing can predict, so the later stages give it little weight. "pieces" is the share of
    rows of random tokens said twice: without them a quarter of the vocabulary, pieces that plain text always merges, stays untrained
    and a held-out word that needs one cannot be copied.
    """
    import torch
    rng, eos, ids, weights, step = random.Random(SEED + 2 + stage["number"]), tok.token_to_id(EOS), [], [], 0
    need = rows * CONTEXT
    while True:
        step += 1
        echo = stage["echo"] if step < stage["echo_steps"] else 0.0
        while len(ids) < need:
            texts = [document(rng, echo, stage["quoting"], stage["spans"], stage["words"], stage["broad"], stage["year_first"]) for _ in range(64)]
            for text, e in zip(texts, tok.encode_batch(texts)):
                line = text.find("\n")
                free = sum(end <= line for _, end in e.offsets) if line >= 0 else 0
                ids += e.ids + [eos]
                weights += [stage["free_weight"]] * free + [1.0] * (len(e.ids) + 1 - free)
                if stage["pieces"] and rng.random() < stage["pieces"]:
                    some = [rng.randint(eos + 1, VOCAB - 1) for _ in range(rng.randint(4, 20))]
                    ids += [tok.token_to_id(BOS)] + some * 2 + [eos]
                    weights += [stage["free_weight"]] * (len(some) + 1) + [1.0] * (len(some) + 1)
        yield torch.tensor(ids[:need]).view(rows, CONTEXT), torch.tensor(weights[:need]).view(rows, CONTEXT)
        ids, weights = ids[need:], weights[need:]


def probe(model, tok, stage):
    """Loss on the answers of 48 unseen order documents: how well the base reads and copies."""
    import torch
    rng, total, count = random.Random(SEED + 4), 0.0, 0
    with torch.no_grad():
        for _ in range(48):
            text = doc_order(Words(rng, 0.5, quoting=stage["quoting"], spans=stage["spans"]))
            start = len(tok.encode(text[:text.index("\n")]).ids)
            ids = torch.tensor([tok.encode(text).ids])
            total += torch.nn.functional.cross_entropy(model(input_ids=ids).logits[0, start:-1], ids[0, start + 1:], reduction="sum").item()
            count += ids.shape[1] - start - 1
    return total / count


def save(model, tok):
    model.save_pretrained(MODEL_DIR)
    os.chmod(MODEL_DIR / "model.safetensors", 0o644)
    with open(MODEL_DIR / "generation_config.json", "w") as f:
        json.dump({"bos_token_id": tok.token_to_id(BOS), "eos_token_id": tok.token_to_id(EOS), "do_sample": False}, f, indent=2)
        f.write("\n")


def pretrain(stage, rows, log):
    """One stage: Muon for the matrices, AdamW for embedding and norms; a short warm-up, then the stage's lr."""
    import torch
    from transformers import LlamaForCausalLM
    torch.manual_seed(SEED)
    tok = load_tokenizer()
    model = LlamaForCausalLM(config(tok)) if stage["number"] == 1 else LlamaForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "embed" not in n)]
    opts = [torch.optim.Muon(matrices, lr=stage["lr"], momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=stage["lr"], betas=(0.9, 0.98), weight_decay=0.0)]
    print(f"stage {stage['number']}, parameters {sum(p.numel() for p in model.parameters())}", file=log, flush=True)
    source, start, warmup, mean, steps = batches(tok, rows, stage), time.time(), 40, None, stage["steps"]
    lr, (first, last) = stage["lr"], stage["anneal"]
    for step in range(steps):
        now = min(1.0, (step + 1) / warmup) * max(0.02, min(1.0, (last - step) / (last - first)))
        for o in opts:
            for g in o.param_groups:
                g["lr"] = lr * now
        ids, weights = next(source)
        logits, weights = model(input_ids=ids).logits[:, :-1], weights[:, 1:].reshape(-1)
        losses = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1), reduction="none")
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in opts:
            o.step()
            o.zero_grad()
        mean = loss.item() if mean is None else 0.95 * mean + 0.05 * loss.item()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            print(f"step {step + 1}/{steps} loss {mean:.4f} answers {probe(model, tok, stage):.4f} seconds {time.time() - start:.0f}",
                  file=log, flush=True)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            save(model, tok)


# ---------------------------------------------------------------------------------------------
# The check, in PyTorch: what `make demo` does with the C program.

class LoRALinear:
    """y = W x + (alpha/r) B A x; A from kaiming_uniform(a=sqrt 5), B zero, as in PEFT."""

    def __new__(cls, base, r, alpha):
        import torch

        class Wrapped(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.base, self.scale = base, alpha / r
                self.A = torch.nn.Parameter(torch.empty(r, base.in_features))
                self.B = torch.nn.Parameter(torch.zeros(base.out_features, r))
                torch.nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

            def forward(self, x):
                return self.base(x) + self.scale * ((x @ self.A.T) @ self.B.T)
        return Wrapped()


def exact_match(model, tok, rows, show=0):
    """Greedy completion of every row, batched by prompt length; the text up to eos must equal the completion."""
    import torch
    eos, right, lengths = tok.token_to_id(EOS), 0, {}
    for row in rows:
        lengths.setdefault(len(tok.encode(row["prompt"]).ids), []).append(row)
    shown = 0
    model.eval()
    with torch.no_grad():
        for group in lengths.values():
            ids = torch.tensor([tok.encode(r["prompt"]).ids for r in group])
            cache, done, out, new = None, torch.zeros(len(group), dtype=torch.bool), [], ids
            for _ in range(128):
                result = model(input_ids=new, past_key_values=cache, use_cache=True)
                cache, new = result.past_key_values, result.logits[:, -1:].argmax(-1)
                out.append(new)
                done |= new[:, 0] == eos
                if done.all():
                    break
            for row, got in zip(group, torch.cat(out, 1).tolist()):
                text = tok.decode(got[:got.index(eos)] if eos in got else got, skip_special_tokens=False)
                right += text == row["completion"]
                if text != row["completion"] and shown < show:
                    shown += 1
                    print("  want", row["completion"], "\n  got ", text[:160].replace("\n", "\\n"))
    model.train()
    return right / len(rows)


def check(lr, batch, epochs, rows, r, alpha, shrink, test_rows, seed, base_too=True):
    import torch
    from transformers import LlamaForCausalLM
    torch.manual_seed(seed)
    tok = load_tokenizer()
    model = LlamaForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    train, test = read_rows("train.jsonl")[:rows], read_rows("test.jsonl")[:test_rows]
    if base_too:
        print(f"base exact match {exact_match(model, tok, test, show=2):.4f}", flush=True)
    pairs = []
    for p in model.parameters():
        p.requires_grad_(False)
    for layer in model.model.layers:
        for part, names in ((layer.self_attn, "q_proj k_proj v_proj o_proj"), (layer.mlp, "gate_proj up_proj down_proj")):
            for name in names.split():
                wrapped = LoRALinear(getattr(part, name), r, alpha)
                setattr(part, name, wrapped)
                pairs.append(wrapped)
    opt = torch.optim.AdamW([p for w in pairs for p in (w.A, w.B)], lr=lr, weight_decay=0.01)
    data = [encode_row(tok, row) for row in train]
    eos, armed = tok.token_to_id(EOS), [shrink > 0] * len(pairs)
    steps, start, tokens, done = epochs * (-(-len(data) // batch)), time.time(), 0, 0
    order = random.Random(seed)
    for _ in range(epochs):
        order.shuffle(data)
        for at in range(0, len(data), batch):
            part = data[at:at + batch]
            width = max(len(i) for i, _ in part)
            ids = torch.tensor([i + [eos] * (width - len(i)) for i, _ in part])
            labels = torch.tensor([l + [-100] * (width - len(l)) for _, l in part])
            tokens += sum(len(i) for i, _ in part)
            for g in opt.param_groups:
                g["lr"] = lr * (steps - done) / steps
            loss = model(input_ids=ids, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for w in pairs for p in (w.A, w.B)], 1.0)
            with torch.no_grad():                     # Stable-LoRA: shrink A while it dominates, then never again
                for k, w in enumerate(pairs):
                    if armed[k]:
                        n, m = w.A.shape[1], w.B.shape[0]
                        armed[k] = bool(w.A.norm() * m >= n * w.B.norm())
                        if armed[k]:
                            w.A.mul_(1 - shrink)
            opt.step()
            opt.zero_grad()
            done += 1
            if done % 25 == 0:
                print(f"  step {done}/{steps} loss {loss.item():.4f} armed {sum(armed)} seconds {time.time() - start:.0f}", flush=True)
    seconds = time.time() - start
    match = exact_match(model, tok, test, show=3)
    print(f"tuned lr {lr} batch {batch} epochs {epochs} rows {rows} r {r} alpha {alpha} shrink {shrink} seed {seed}: tokens {tokens} "
          f"loss {loss.item():.4f} seconds {seconds:.0f} exact match {match:.4f}", flush=True)
    return match


def main():
    global MODEL_DIR, DATA_DIR
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("what", choices=["all", "tokenizer", "data", "pretrain", "check", "sample"])
    p.add_argument("--out", default=str(ROOT / "demo"))
    p.add_argument("--stage", type=int, choices=range(1, 8), help="only this stage of pretrain; 2 to 7 go on from the model that is there")
    p.add_argument("--pretrain-rows", type=int, default=16)
    p.add_argument("--learning-rate", type=float, default=3e-3)
    p.add_argument("--batch-size", type=int, default=8)
    p.add_argument("--epochs", type=int, default=2)
    p.add_argument("--rows", type=int, default=TRAIN_ROWS)
    p.add_argument("--test-rows", type=int, default=TEST_ROWS)
    p.add_argument("--r", type=int, default=8)
    p.add_argument("--lora-alpha", type=float, default=16)
    p.add_argument("--shrink-ratio", type=float, default=0.0005)
    p.add_argument("--seed", type=int, default=42)
    p.add_argument("--no-base", action="store_true")
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    MODEL_DIR, DATA_DIR = Path(a.out) / "model", Path(a.out) / "data"
    if a.what == "sample":
        rng = random.Random(SEED)
        for _ in range(12):
            print(document(rng), end="\n\n")
        return
    if a.what in ("all", "data"):
        write_data()
    if a.what in ("all", "tokenizer"):
        tok = make_tokenizer()
        lengths = [len(encode_row(tok, r)[0]) for n in ("train.jsonl", "test.jsonl") for r in read_rows(n)]
        print(f"vocabulary {tok.get_vocab_size()}, tokens per row mean {sum(lengths) / len(lengths):.1f} max {max(lengths)}")
    if a.what in ("all", "pretrain", "check"):
        import torch
        torch.set_num_threads(a.threads)
    if a.what in ("all", "pretrain"):
        for stage in STAGES:
            if a.stage in (None, stage["number"]):
                pretrain(stage, a.pretrain_rows, sys.stdout)
    if a.what == "check":
        check(a.learning_rate, a.batch_size, a.epochs, a.rows, a.r, a.lora_alpha, a.shrink_ratio, a.test_rows, a.seed, not a.no_base)


if __name__ == "__main__":
    main()
