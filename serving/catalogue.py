"""An index prepared for ranking: what is looked up of movies and users, in arrays that many processes can map."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import faiss
import numpy as np
import polars as pl

from schemas import features as f
from schemas.histories import Histories
from schemas.ingest import GENRE_NAMES, LINKS, MOVIE_KEY, TITLE, YEAR
from schemas.manifest import EMBEDDING_INDEX, Manifest
from schemas.strings import Strings
from schemas.vectors import Vectors, column_array
from serving.answers import Id
from serving.index import EmbeddingIndex, read_index
from serving.search import Heads
from serving.store import ServingStore
from serving.titles import TitleSearch, as_written

_MOST_FACTS = 10_000
"""Movies whose facts are kept as Python's own objects, about a kilobyte each: few are in most lists."""
_NO_LINKS: dict[str, list[str]] = {"name": [], "url": []}


class Facts(NamedTuple):
    """What there is to say of a movie."""

    key: Id
    """Its id as the data has it."""
    title: str
    """As people write it."""
    genres: tuple[str, ...]
    year: int | None
    links: Mapping[str, str]
    """Where else it is found: name -> address."""


@dataclasses.dataclass(frozen=True, eq=False)
class Catalogue:
    """Movies by their positions in the index, and where the ratings of each user lie."""

    movie_ids: np.ndarray
    """`[movies]` int64, ascending."""
    keys: Strings | None
    """`[movies]` ids as the data has them; None where those are numbers."""
    titles: Strings
    """`[movies]` as people write them."""
    genre_sets: Strings
    """Combinations of names of genres, parted by a bar: many movies share one."""
    genre_set: np.ndarray
    """`[movies]` int32, which of them."""
    genres: np.ndarray
    """`[movies, genres]` float32 indicators."""
    years: np.ndarray
    """`[movies]` float64; nan, which no bound lets through, where there is none."""
    averages: np.ndarray
    """`[movies]` float32 smoothed averages on the data set's scale."""
    counts: np.ndarray
    """`[movies]` float32 numbers of ratings."""
    by_popularity: np.ndarray
    """`[movies]` int64 positions, the most rated movie first."""
    link_ends: np.ndarray | None
    """`[movies + 1]` int64: 0, and where each movie's links end; None where the data has no links."""
    link_names: Strings
    """`[links]` where they lead."""
    link_urls: Strings
    """`[links]` their addresses."""
    user_ids: np.ndarray
    """`[users]` int64, ascending."""
    offsets: np.ndarray
    """`[users + 1]` int64: where each user's ratings begin, and where the last one's end."""
    user_keys: Strings | None
    """`[users]` ids as the data has them; None where those are numbers."""

    @classmethod
    def of(cls, index: EmbeddingIndex) -> Catalogue:
        """Read an index."""
        movies, domain = index.movies, index.manifest.domain
        joined = movies[GENRE_NAMES].list.join("|")
        sets = joined.unique(maintain_order=True)
        counts = movies[f.MOVIE_NUM_RATINGS].to_numpy()
        linked = LINKS in movies.columns
        links = movies[LINKS].explode(empty_as_null=False).struct.unnest() if linked else pl.DataFrame(_NO_LINKS)
        return cls(
            movie_ids=movies[f.MOVIE_ID].to_numpy(),
            keys=Strings.of(movies[MOVIE_KEY]) if domain.text_item_ids else None,
            titles=Strings.of(map(as_written, movies[TITLE])),
            genre_sets=Strings.of(sets),
            genre_set=joined.replace_strict(sets, pl.int_range(len(sets), dtype=pl.Int32, eager=True)).to_numpy(),
            genres=column_array(movies[f.MOVIE_GENRES]),
            years=movies[YEAR].to_numpy().astype(np.float64),
            averages=domain.scale.of_stars(movies[f.MOVIE_AVERAGE_RATING].to_numpy()),
            counts=counts,
            by_popularity=np.argsort(-counts, kind="stable"),
            link_ends=np.append(0, movies[LINKS].list.len().cum_sum()).astype(np.int64) if linked else None,
            link_names=Strings.of(links["name"]),
            link_urls=Strings.of(links["url"]),
            user_ids=index.histories.user_ids,
            offsets=index.histories.offsets,
            user_keys=None if index.user_keys is None else Strings.of(index.user_keys),
        )

    def keys_of(self, rows: np.ndarray) -> list[Id]:
        """Return movies' ids as the data has them."""
        return self.movie_ids[rows].tolist() if self.keys is None else [self.keys[row] for row in rows.tolist()]

    def titles_of(self, rows: np.ndarray) -> list[str]:
        """Return movies' titles as people write them."""
        return [self.titles[row] for row in rows.tolist()]

    def facts(self, rows: np.ndarray) -> list[Facts]:
        """Return what there is to say of movies."""
        known = self._facts
        return [known.get(row) or self._read_facts(row) for row in rows.tolist()]

    def _read_facts(self, row: int) -> Facts:
        links = {}
        if self.link_ends is not None:
            part = slice(*self.link_ends[row : row + 2].tolist())
            links = dict(zip(self.link_names[part], self.link_urls[part], strict=True))
        key, year = self.keys_of(np.array([row]))[0], self.years[row]
        genres = tuple(filter(None, self.genre_sets[self.genre_set[row]].split("|")))
        found = Facts(key, self.titles[row], genres, None if math.isnan(year) else int(year), links)
        if len(self._facts) >= _MOST_FACTS:
            self._facts.clear()
        self._facts[row] = found
        return found

    @functools.cached_property
    def _facts(self) -> dict[int, Facts]:
        return {}


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedIndex:
    """What the ranker needs of an index."""

    manifest: Manifest
    vectors: Vectors
    """Of every movie."""
    similarity: np.ndarray
    """`[movies, n]` float32, L2-normalised: the cosine of two movies' is how similar they are."""
    histories: Histories
    """Every rating."""
    faiss_index: faiss.Index | None
    """Of an approximate search."""
    catalogue: Catalogue
    titles: TitleSearch | None = None
    """None: made when a title is first searched."""
    heads: Heads | None = None
    """Of the embeddings, where they make a search faster."""

    @classmethod
    def of(cls, index: EmbeddingIndex) -> PreparedIndex:
        """Prepare an index."""
        vectors, similarity, histories = index.vectors, index.similarity, index.histories
        return cls(index.manifest, vectors, similarity, histories, index.faiss_index, Catalogue.of(index))

    @classmethod
    def read(cls, store: ServingStore, version: int) -> PreparedIndex:
        """Read a published version's index and verify it; see `serving.index.read_index`."""
        return cls.of(read_index(store.directory(EMBEDDING_INDEX, version), version))

    def for_service(self) -> PreparedIndex:
        """Return the same with what makes many requests faster: of 87,585 movies it takes more than a second."""
        return dataclasses.replace(self, titles=self.title_search(), heads=Heads.of(self.vectors.embeddings))

    def title_search(self) -> TitleSearch:
        """Return the search for titles, made now if it was not."""
        of = self.catalogue
        return self.titles or TitleSearch.of(of.titles, of.counts, of.years)
