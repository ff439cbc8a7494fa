"""Words to fill dialogues with: names, places, things, and words that exist nowhere.

Copying a word that was never seen is what a small model learns last. So most values are lists of
real names, and the rest is put together from pieces of the vocabulary, so that every piece has
been copied many times.
"""

import random

NAMES = """
Ada Adam Aisha Alan Albert Alex Alice Amara Amelia Amir Ana Anders Andrea Andrew Anita Anna Anton
Arjun Arthur Ben Bella Bernard Bianca Boris Brian Bruno Camila Carla Carlos Carmen Caroline Chen
Chiara Chloe Chris Claire Clara Daniel David Deepa Diana Diego Dmitri Dora Edith Eduardo Elena Eli
Elias Ella Elsa Emil Emily Emma Enzo Erik Esther Eva Farah Fatima Felix Fiona Francis Frank Freya
Gabriel George Gina Grace Greta Gustav Hana Hannah Harry Hassan Hector Helen Henry Hugo Ian Ibrahim
Ida Igor Ines Ingrid Irene Isaac Isabel Ivan Jack Jacob James Jamila Jan Jane Jasmin Javier Jenny
Joan Johan John Jonas Jose Joseph Judith Julia Julian Kai Karen Karim Karl Kate Kenji Kevin Kim
Klaus Laila Lara Lars Laura Lea Leila Lena Leo Leon Lily Lina Linda Lisa Louis Lucas Lucia Lucy
Luis Luke Maja Malik Marco Maria Marie Mario Mark Marta Martin Mary Matteo Max Maya Mei Mia Michael
Miguel Mina Mira Mohamed Monica Nadia Naomi Nasir Nathan Nick Nico Nina Noah Nora Oliver Olga Omar
Oscar Otto Pablo Paul Paula Pedro Peter Petra Philip Priya Rachel Rafael Rahul Raj Ravi Rebecca
Rita Robert Rosa Ruth Sam Samir Sandra Sara Sasha Sean Simon Sofia Stefan Stella Susan Sven Tara
Theo Thomas Tim Tina Tom Uma Vera Victor Vincent Walter Wei William Xavier Yara Yasmin Yuki Yusuf
Zara Zoe
""".split()

CITIES = """
Accra Amman Athens Baku Bali Bangkok Barcelona Beirut Belfast Berlin Bern Bogota Bonn Boston Brno
Brussels Cairo Cardiff Casablanca Chicago Cologne Copenhagen Dakar Dallas Delhi Denver Dublin
Florence Geneva Genoa Glasgow Graz Hamburg Hanoi Havana Helsinki Istanbul Jakarta Kiel Krakow Kyoto
Lagos Lausanne Leeds Leipzig Lima Lisbon London Lyon Madrid Malaga Manila Milan Montreal Mumbai
Munich Nantes Naples Nice Oslo Oxford Palermo Paris Parma Perth Phoenix Pisa Porto Prague Quito Riga
Rome Rotterdam Salzburg Santiago Seattle Seoul Seville Shanghai Sofia Split Stockholm Sydney Tampere
Tokyo Toronto Trieste Tunis Turin Utrecht Valencia Venice Vienna Vilnius Warsaw York Zagreb Zurich
""".split()

COLOURS = "red blue green yellow orange purple pink brown black white grey violet turquoise".split()
FOODS = """
pizza pasta rice soup bread cheese sushi curry salad pancakes noodles apples bananas strawberries
chocolate tomatoes olives dumplings tacos waffles lentils mushrooms potatoes cake
""".split()
ANIMALS = "dog cat horse rabbit parrot hamster turtle fish goat hen".split()
JOBS = """
teacher doctor nurse baker pilot lawyer farmer student painter driver engineer writer carpenter
gardener musician plumber chemist librarian cook programmer
""".split()
HOBBIES = """
chess swimming painting running hiking reading dancing cooking sailing climbing cycling singing
knitting gardening football tennis photography fishing
""".split()
THINGS = """
table lamp river garden bridge letter window market ticket mirror engine bottle carpet castle cloud
coffee flower forest guitar hammer island jacket kettle ladder museum needle ocean pencil pillow
planet rocket saddle school shadow silver spider stone temple tunnel valley violin wallet winter
""".split()
SYLLABLES = """
ba be bi bo da de di do fa fe fi ga go ha he jo ka ke ki ko la le li lo lu ma me mi mo na ne ni no
pa pe pi po ra re ri ro sa se si so su ta te ti to va ve vi wa we ya yo za zo
""".split()


class Words:
    """Draws values. `pieces` are words of the vocabulary; without them syllables are used."""

    def __init__(self, rng: random.Random, pieces: list[str]) -> None:
        self._rng = rng
        self._pieces = pieces

    def invented(self) -> str:
        """A word that means nothing, in lower case."""
        r = self._rng
        if self._pieces and r.random() < 0.7:
            return "".join(r.choice(self._pieces) for _ in range(r.choice([1, 2, 2, 3])))
        stem = "".join(r.choice(SYLLABLES) for _ in range(r.randint(2, 4)))
        return stem + r.choice("  nrslmkt").strip()

    def name(self) -> str:
        return self._rng.choice(NAMES) if self._rng.random() < 0.5 else self.invented().capitalize()

    def city(self) -> str:
        return (
            self._rng.choice(CITIES) if self._rng.random() < 0.5 else self.invented().capitalize()
        )

    def of(self, words: list[str], real: float = 0.7) -> str:
        """A word of a list, or at times an invented one."""
        return self._rng.choice(words) if self._rng.random() < real else self.invented()

    def number(self) -> str:
        return str(self._rng.randint(2, 10 ** self._rng.choice([1, 2, 2, 3, 4])))

    def code(self) -> str:
        return f"{self.invented()}-{self._rng.randint(10, 99)}"

    def any(self) -> str:
        kinds = [self.name, self.city, self.number, self.invented, lambda: self.of(THINGS)]
        return self._rng.choice(kinds)()
