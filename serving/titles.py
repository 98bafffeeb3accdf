"""Titles as people write them, and the search for them."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import OSA

from schemas.strings import Strings

_ARTICLES = "The|A|An|L'|La|Le|Les|El|Los|Las|Il|Lo|Gli|I|Der|Die|Das|Den|Det|En|Un|Une|Una|O|Os|As"
_MOVED_ARTICLE = re.compile(rf"^(.*), ({_ARTICLES})$")
_YEAR_BEHIND = re.compile(r"\s*\((\d{4})(?:[-–]\d{0,4})?\)\s*$")
_IN_BRACKETS = re.compile(r"\(([^()]*)\)")
_ALSO = re.compile(r"^(?:a\.?k\.?a\.?|also known as)\s+", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_PIECES = re.compile(r"\d+|[^\W\d_]+")
_UNSAID = {"the", "a", "an", "and", "part", "episode", "vol", "volume", "chapter"}
"""Words that people leave out, or say for one another."""
_NUMBERS = dict(zip("i ii iii iv v vi vii viii ix x xi xii xiii".split(), map(str, range(1, 14)), strict=True)) | dict(
    zip("one two three four five six seven eight nine ten eleven twelve".split(), map(str, range(1, 13)), strict=True)
)
_WHOLE, _BEGUN, _MISSPELT = 1.0, 0.4, 0.2
"""How well a word of a query is found: as it is, as the beginning of a word, but for a letter or two."""
_SAME, _BEGINS, _OTHER_NAME = 1.0, 0.4, -0.3
"""What it counts that a name is the query, begins with it, and is not a movie's first one; ten times as many ratings
count 1."""
_LOOKED_AT = 2000
_NEAR_WORDS = 20
_LEAST_INITIALS, _LEAST_MISSPELT, _TWO_WRONG = 3, 4, 8
_FIRST_YEAR, _LAST_YEAR = 1880, 2100


def as_written(title: str) -> str:
    """Return a title as people write it: "The Matrix (1999)" of "Matrix, The (1999)"."""
    year = _YEAR_BEHIND.search(title)
    name, end = (title[: year.start()], title[year.start() :]) if year else (title, "")
    brackets = name.find(" (")
    if brackets > 0:
        name, rest = name[:brackets], name[brackets:]
        end = _IN_BRACKETS.sub(lambda found: f"({_article_first(found[1])})", rest) + end
    return _article_first(name) + end


def _article_first(name: str) -> str:
    moved = _MOVED_ARTICLE.match(name)
    if not moved:
        return name
    return f"{moved[2]}{'' if moved[2].endswith(chr(39)) else ' '}{moved[1]}"


def _names(title: str) -> list[str]:
    """Return the names in a title, the main one first, without its year."""
    bare = _YEAR_BEHIND.sub("", title)
    others = [_article_first(_ALSO.sub("", name).strip()) for name in _IN_BRACKETS.findall(bare)]
    main = " ".join(_IN_BRACKETS.sub(" ", bare).split())
    return [_article_first(main) or bare, *filter(None, others)]


def _words(text: str) -> list[str]:
    """Return the words of a text without case, accents and apostrophes: "amelie" of "Amélie"."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return _WORD.findall(text.lower().replace("'", "").replace("’", ""))


def _meant(words: Sequence[str]) -> list[str]:
    """Return what words mean: numbers as digits, without the words that people leave out unless there are no others."""
    numbers = [_NUMBERS.get(word, word) for word in words]
    return [word for word in numbers if word not in _UNSAID] or numbers


def _joined(words: Sequence[str]) -> list[str]:
    """Return each word with the next one: "spiderman" of "spider man"."""
    return [first + second for first, second in itertools.pairwise(words)]


def is_called(title: str, query: str) -> bool:
    """Whether a query is one of the names in a title, with or without the year."""
    year, asked = _YEAR_BEHIND.search(title), _meant(_words(query))
    names = [_meant(_words(name)) for name in _names(title)]
    return asked in names or (year is not None and asked in [[*name, year[1]] for name in names])


def _pieces(words: Sequence[str]) -> list[str]:
    """Return the letters and the digits of words that have both: "x 2" of "x2"."""
    return _meant([piece for word in words if not word.isalpha() for piece in _PIECES.findall(word)])


@dataclasses.dataclass(frozen=True, eq=False)
class TitleSearch:
    """Finds movies by any of their names: words in any order, begun, joined, split, or a letter or two wrong."""

    by_fame: np.ndarray
    """`[movies]` int64 positions, the most rated movie first."""
    row: np.ndarray
    """`[names]` int64 position of the movie that has the name."""
    fame: np.ndarray
    """`[names]` float64, log10 of one more than the movie's number of ratings."""
    is_other: np.ndarray
    """`[names]` bool, whether it is not the movie's first name."""
    year: np.ndarray
    """`[names]` int32 the movie's year; 0 where there is none."""
    meant: Strings
    """`[names]` the words of each name that count, without spaces."""
    terms: Strings
    """`[terms]` ascending: what may be looked up."""
    holders: np.ndarray
    """`[n]` int64 names that hold the first term, then those that hold the second, ..."""
    starts: np.ndarray
    """`[terms + 1]` int64: where each term's begin among them."""
    initials: Strings
    """`[n]` ascending: initials of names."""
    initialled: np.ndarray
    """`[n]` int64 the name of each."""
    spelt: Strings
    """`[words]` that may be meant by one that is misspelt, by first letter and length."""
    spelt_groups: np.ndarray
    """`[groups, 3]` int64: code point of the letter, length, and where its words begin; behind them an end."""

    @classmethod
    def of(cls, titles: Iterable[str], counts: np.ndarray, years: np.ndarray) -> TitleSearch:
        """Read the titles of a catalogue; of 87,585 it takes more than a second.

        Args:
          titles: Of each movie.
          counts: `[movies]` numbers of ratings.
          years: `[movies]` float64; nan where there is none.
        """
        names: list[list[str]] = []
        owners: list[int] = []
        holders: dict[str, list[int]] = {}
        initials: list[tuple[str, int]] = []
        for row, title in enumerate(titles):
            for name in _names(title):
                words = _words(name)
                if not words:
                    continue
                number, meant = len(owners), _meant(words)
                owners.append(row)
                names.append(meant)
                for term in {*meant, *_joined(words), *_pieces(words)}:
                    holders.setdefault(term, []).append(number)
                letters = "".join([word[0] for word in words[words[0] in _UNSAID :]])
                if len(letters) >= _LEAST_INITIALS:
                    initials.append((letters, number))
        rows, terms = np.array(owners, np.int64), sorted(holders)
        spelt = {word for words in names for word in words if len(word) >= _LEAST_MISSPELT}
        in_groups = sorted(spelt, key=lambda word: (word[0], len(word), word))
        keys = [(ord(word[0]), len(word)) for word in in_groups]
        groups = [(*key, place) for place, key in enumerate(keys) if place == 0 or key != keys[place - 1]]
        return cls(
            by_fame=np.argsort(-counts, kind="stable"),
            row=rows,
            fame=np.log10(1 + counts)[rows],
            is_other=np.diff(rows, prepend=-1) == 0,
            year=np.nan_to_num(years)[rows].astype(np.int32),
            meant=Strings.of("".join(words) for words in names),
            terms=Strings.of(terms),
            holders=np.array([number for term in terms for number in holders[term]], np.int64),
            starts=np.cumsum([0, *(len(holders[term]) for term in terms)], dtype=np.int64),
            initials=Strings.of(letters for letters, _ in sorted(initials)),
            initialled=np.array([number for _, number in sorted(initials)], np.int64),
            spelt=Strings.of(in_groups),
            spelt_groups=np.array([*groups, (0, 0, len(in_groups))], np.int64),
        )

    @functools.cached_property
    def _groups(self) -> dict[tuple[str, int], slice]:
        pairs = itertools.pairwise(self.spelt_groups.tolist())
        return {(chr(letter), length): slice(begin, end) for (letter, length, begin), (*_, end) in pairs}

    def find(self, query: str, n: int) -> list[int]:
        """Return the catalogue positions of the n best matches.

        Every word of the query must be found in one of a movie's names; a number of four digits may be its year
        instead. Where that finds nothing, the words may be a letter or two wrong. Of what is found, names that are the
        query, or begin with it, and movies with many ratings come first. A query without a letter or digit finds the
        most rated movies.
        """
        words = _words(query)
        if not words:
            return self.by_fame[:n].tolist()
        found = self._found(words, misspelt=False)
        if not found.any():
            found = self._found(words, misspelt=True)
        candidates = np.flatnonzero(found)
        if len(candidates) > _LOOKED_AT:
            candidates = candidates[np.argsort(-self.fame[candidates], kind="stable")[:_LOOKED_AT]]
        scores = found[candidates] + self.fame[candidates] + _OTHER_NAME * self.is_other[candidates]
        wanted = "".join(_meant(words))
        scores += [self._fit(self.meant[name], wanted) for name in candidates]
        rows = self.row[candidates[np.lexsort((candidates, -scores))]]
        _, first = np.unique(rows, return_index=True)
        return rows[np.sort(first)][:n].tolist()

    @staticmethod
    def _fit(whole: str, wanted: str) -> float:
        """Rate how well a name as a whole fits to a query, both without spaces."""
        return _SAME * (whole == wanted) + _BEGINS * whole.startswith(wanted)

    def _found(self, words: list[str], misspelt: bool) -> np.ndarray:
        """Rate how well each name holds all words, `[names]`; 0 where one is missing."""
        joined = ["", *_joined(words), ""]
        total, every = np.zeros(len(self.row)), np.ones(len(self.row), bool)
        asked = [(place, _NUMBERS.get(word, word)) for place, word in enumerate(words)]
        asked = [pair for pair in asked if pair[1] not in _UNSAID] or asked
        for place, word in asked:
            rating = self._rated(word)
            for other in filter(None, joined[place : place + 2]):
                np.maximum.at(rating, self._with(other, other), _WHOLE)
            if word.isdigit() and _FIRST_YEAR <= int(word) <= _LAST_YEAR and len(asked) > 1:
                rating[self.year == int(word)] = _WHOLE
            if misspelt and len(word) >= _LEAST_MISSPELT:
                np.maximum.at(rating, self._nearly(word), _MISSPELT)
            total += rating
            every &= rating > 0
        found = np.where(every, total / len(asked), 0)
        if len(words) == 1 and len(words[0]) >= _LEAST_INITIALS:
            np.maximum.at(found, self._with_initials(words[0]), _BEGUN)
        return found

    def _rated(self, word: str) -> np.ndarray:
        rating = np.zeros(len(self.row))
        rating[self._with(word, word + "\U0010ffff")] = _BEGUN
        rating[self._with(word, word)] = _WHOLE
        return rating

    def _with(self, first: str, last: str) -> np.ndarray:
        """Return the names that hold a term between two."""
        begin, end = bisect.bisect_left(self.terms, first), bisect.bisect_right(self.terms, last)
        return self.holders[self.starts[begin] : self.starts[end]]

    def _with_initials(self, letters: str) -> np.ndarray:
        begin = bisect.bisect_left(self.initials, letters)
        return self.initialled[begin : bisect.bisect_left(self.initials, letters + "\U0010ffff")]

    def _nearly(self, word: str) -> np.ndarray:
        """Return the names that hold a word with the same first letter, but for one letter, or two of a long word."""
        wrong = 1 if len(word) < _TWO_WRONG else 2
        lengths = range(len(word) - wrong, len(word) + wrong + 1)
        groups = (self._groups.get((word[0], length), slice(0)) for length in lengths)
        choices = [choice for group in groups for choice in self.spelt[group]]
        near = process.extract(word, choices, scorer=OSA.distance, score_cutoff=wrong, limit=_NEAR_WORDS)
        return np.concatenate([self._with(found, found) for found, _, _ in near] or [np.zeros(0, np.int64)])
