import numpy as np
import pytest

from serving.titles import TitleSearch, as_written

TITLES = [
    "Matrix, The (1999)",
    "Amélie (2001)",
    "The Matrix Files",
    "Se7en",
    "Alien³",
    "WALL·E (2008)",
    "Matador (1986)",
]


@pytest.fixture(scope="module")
def search():
    return TitleSearch.of(TITLES, np.array([9.0, 8, 99, 6, 5, 4, 3]), np.full(len(TITLES), np.nan))


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("MATRIX", [0, 2]),
        ("mat", [2, 0, 6]),
        ("alien3", [4]),
        ("wall e", [5]),
        ("atrix", []),
        (".*", [2, 0, 1, 3, 4, 5, 6]),
        ("", [2, 0, 1, 3, 4, 5, 6]),
    ],
)
def test_titles_are_found_by_the_beginnings_of_their_words(search, query, rows):
    assert search.find(query, 10) == rows


def test_the_best_n(search):
    assert search.find("", 2) == [2, 0]


@pytest.mark.parametrize(
    ("title", "written"),
    [
        ("Matrix, The (1999)", "The Matrix (1999)"),
        (
            "Lord of the Rings: The Fellowship of the Ring, The (2001)",
            "The Lord of the Rings: The Fellowship of the Ring (2001)",
        ),
        (
            "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
            "The City of Lost Children (La Cité des enfants perdus) (1995)",
        ),
        ("Avventura, L' (Adventure, The) (1960)", "L'Avventura (The Adventure) (1960)"),
        ("Good, the Bad and the Ugly, The", "The Good, the Bad and the Ugly"),
        ("(500) Days of Summer (2009)", "(500) Days of Summer (2009)"),
        ("Me, Myself & Irene", "Me, Myself & Irene"),
        ("", ""),
    ],
)
def test_titles_as_people_write_them(title, written):
    assert as_written(title) == written


FILMS = {
    # Title: number of ratings; what is asked for, and what could be taken for it.
    "Shrek (2001)": 170, "Shrek 2 (2004)": 92, "Shrek the Third (2007)": 21, "Spider-Man (2002)": 122,
    "Spider-Man 2 (2004)": 79, "Amazing Spider-Man, The (2012)": 20, "Iron Man (2008)": 94, "Iron Man 2 (2010)": 40,
    "Man in the Iron Mask, The (1998)": 26, "X-Men (2000)": 133, "X2: X-Men United (2003)": 76,
    "Kill Bill: Vol. 1 (2003)": 131, "Kill Bill: Vol. 2 (2004)": 110, "Godfather, The (1972)": 192,
    "Godfather: Part II, The (1974)": 129, "Tokyo Godfathers (2003)": 12, "Back to the Future (1985)": 171,
    "Back to the Future Part II (1989)": 73, "Back to the Future Part III (1990)": 62,
    "Star Wars: Episode IV - A New Hope (1977)": 251, "Star Wars: Episode V - The Empire Strikes Back (1980)": 211,
    "Star Wars: Episode I - The Phantom Menace (1999)": 140, "Terminator, The (1984)": 131,
    "Terminator 2: Judgment Day (1991)": 224, "Terminal, The (2004)": 27, "Terminal Velocity (1994)": 15,
    "Lord of the Rings, The (1978)": 15, "Lord of the Rings: The Fellowship of the Ring, The (2001)": 198,
    "Lord of the Rings: The Two Towers, The (2002)": 188, "Matrix, The (1999)": 278,
    "Matrix Reloaded, The (2003)": 96, "Toy Story (1995)": 215, "Toy Story 2 (1999)": 97, "Rocky (1976)": 64,
    "Rocky II (1979)": 19, "Alien (1979)": 146, "Aliens (1986)": 126, "Alien³ (a.k.a. Alien 3) (1992)": 34,
    "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)": 120, "WALL·E (2008)": 104,
    "Wallace & Gromit: The Wrong Trousers (1993)": 56, "E.T. the Extra-Terrestrial (1982)": 122,
    "Eternal Sunshine of the Spotless Mind (2004)": 131, "Seven (a.k.a. Se7en) (1995)": 203,
    "Seven Samurai (1954)": 48, "Twelve Monkeys (a.k.a. 12 Monkeys) (1995)": 177, "12 Angry Men (1957)": 57,
    "Ocean's Eleven (2001)": 119, "Ocean's Twelve (2004)": 33, "Schindler's List (1993)": 220,
    "Silence of the Lambs, The (1991)": 279, "Forrest Gump (1994)": 329, "Pulp Fiction (1994)": 307,
    "Inception (2010)": 143, "Jurassic Park (1993)": 238, "Finding Nemo (2003)": 141, "Finding Neverland (2004)": 32,
    "Shawshank Redemption, The (1994)": 317,
    "Raiders of the Lost Ark (Indiana Jones and the Raiders of the Lost Ark) (1981)": 200,
    "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb (1964)": 97,
    "Léon: The Professional (a.k.a. The Professional) (Léon) (1994)": 133, "Leonard Part 6 (1987)": 1,
    "Monsters, Inc. (2001)": 132, "Good, the Bad and the Ugly, The (Buono, il brutto, il cattivo, Il) (1966)": 77,
    "Die Hard (1988)": 145, "Die Hard 2 (1990)": 61, "Mission: Impossible (1996)": 162,
    "Mission: Impossible III (2006)": 24, "Fight Club (1999)": 218, "Psycho (1960)": 83,
    "American Psycho (2000)": 69, "Halloween (1978)": 50, "Halloween (2018)": 9, "Halloween II (1981)": 8,
    "Dune (1984)": 33, "Dune (2021)": 30, "King Kong (1933)": 21, "King Kong (2005)": 41, "It (2017)": 25,
    "Italian Job, The (2003)": 62, "It Happened One Night (1934)": 14, "2001: A Space Odyssey (1968)": 109,
    "Mummy, The (1999)": 96, "Pan's Labyrinth (Laberinto del fauno, El) (2006)": 81, "Ratatouille (2007)": 72,
    "Star Trek II: The Wrath of Khan (1982)": 58, "Star Trek: The Motion Picture (1979)": 39,
    "Road Warrior, The (Mad Max 2) (1981)": 39, "Mad Max (1979)": 42, "I, Robot (2004)": 60,
    "V for Vendetta (2006)": 97, "American History X (1998)": 129, "Malcolm X (1992)": 15,
    "City of God (Cidade de Deus) (2002)": 75, "Snow White and the Seven Dwarfs (1937)": 77,
    "Lion King, The (1994)": 172, "Usual Suspects, The (1995)": 204,
    "Crouching Tiger, Hidden Dragon (Wo hu cang long) (2000)": 110, "Braveheart (1995)": 237,
    "Gladiator (2000)": 170,
}  # fmt: skip
QUERIES = {
    "shrek 2": "Shrek 2", "spider-man 2": "Spider-Man 2", "iron man 2": "Iron Man 2", "x-men 2": "X2",
    "xmen": "X-Men", "kill bill 2": "Kill Bill: Vol. 2", "godfather 2": "Godfather: Part II",
    "the godfather part ii": "Godfather: Part II", "back to the future 2": "Back to the Future Part II",
    "spiderman": "Spider-Man (", "amazing spiderman": "Amazing", "star wars 4": "Star Wars: Episode IV",
    "starwars": "Star Wars: Episode IV", "star wars episode 5": "Star Wars: Episode V", "terminater": "Terminator",
    "terminator 2": "Terminator 2", "lotr": "Lord of the Rings: The Fellowship",
    "lord of the rings": "Lord of the Rings: The Fellowship", "the matrix": "Matrix, The",
    "Matrix, The": "Matrix, The", "toy story": "Toy Story (", "rocky 2": "Rocky II", "alien": "Alien (",
    "alien 3": "Alien³", "amelie": "Amelie", "wall e": "WALL·E", "walle": "WALL·E", "et": "E.T.", "e.t.": "E.T.",
    "seven": "Seven (", "se7en": "Seven (", "12 monkeys": "Twelve", "twelve monkeys": "Twelve",
    "oceans 11": "Ocean's Eleven", "schindlers list": "Schindler's", "silence of lambs": "Silence",
    "forest gump": "Forrest", "pulp ficton": "Pulp", "inceptoin": "Inception", "jurasic park": "Jurassic",
    "finding nimo": "Finding Nemo", "shawshenk redemtion": "Shawshank", "indiana jones": "Raiders",
    "dr strangelove": "Dr. Strangelove", "leon": "Léon", "monsters inc": "Monsters", "ironman": "Iron Man (",
    "the good the bad and the ugly": "Good, the Bad", "die hard 2": "Die Hard 2",
    "mission impossible 3": "Mission: Impossible III", "psycho": "Psycho", "halloween 1978": "Halloween (1978)",
    "dune 2021": "Dune (2021)", "king kong 2005": "King Kong (2005)", "it": "It (", "2001": "2001", "mummy": "Mummy",
    "pans labyrinth": "Pan's", "ratatouile": "Ratatouille", "star trek 2": "Star Trek II",
    "mad max 2": "Road Warrior", "i robot": "I, Robot", "laberinto del fauno": "Pan's",
    "crouching tiger": "Crouching", "fight club": "Fight", "braveheart": "Braveheart", "usual suspects": "Usual",
}  # fmt: skip
"""What people type, and the beginning of the title that they mean."""


@pytest.fixture(scope="module")
def films():
    years = np.array([float(title[-5:-1]) for title in FILMS])
    return TitleSearch.of(FILMS, np.array([*FILMS.values()], float), years)


def test_what_people_type_finds_the_film_that_they_mean(films):
    assert len(QUERIES) >= 60
    titles = list(FILMS)
    places = {}
    for query, meant in QUERIES.items():
        found = [titles[row].startswith(meant) for row in films.find(query, 3)]
        places[query] = found.index(True) + 1 if any(found) else None
    assert {query: place for query, place in places.items() if place is None} == {}
    assert {query: place for query, place in places.items() if place != 1} == {}


def test_nothing_is_nothing():
    empty = TitleSearch.of([""], np.zeros(1), np.full(1, np.nan))
    assert empty.find("matrix", 3) == []
    assert empty.find("", 3) == [0]
