"""Data sets of any form: what is written as a specification says is read back, and the specification is found out."""

import csv
import dataclasses
import gzip
import io
import json
import tarfile
import zipfile

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from components.polars_example_gen import checks, ratings, source
from components.polars_example_gen.catalog import read_movies
from components.polars_example_gen.chunks import cut
from components.polars_example_gen.config import ExampleGenConfig
from components.polars_example_gen.header import read_headers, schema_of
from components.polars_example_gen.inspection import inspect
from components.polars_example_gen.split import split_by_time
from pipeline.data_sample import SampleConfig, write_sample
from pipeline.written_as import write_sample_as
from schemas import features as f
from schemas.data_spec import CategoriesSpec, DataSpec, ItemsSpec, RatingsSpec, built_in, named
from schemas.domain import Scale
from schemas.ids import number_of
from schemas.ingest import GENRE_NAMES, IS_TRAIN, MOVIE_KEY, TITLE, USER_KEY, YEAR

SAMPLE = SampleConfig(users=30, movies=100, ratings=900)


def read(data, spec, extracted, chunk_bytes=1 << 20):
    """Read a data set; return its ratings, its catalogue and the reports of the checks."""
    tables = source.find_sources(str(data), str(extracted), spec=spec)
    catalogue = read_movies(tables[source.MOVIES], spec=spec)
    ids = catalogue.movies[f.MOVIE_ID].to_numpy()
    parts = [
        ratings.read_chunk(chunk, header, ids)
        for file, header in read_headers(tables[source.RATINGS], 1 << 20, spec).items()
        for chunk in cut(file, header, chunk_bytes, 1 << 20)
    ]
    report = checks.merge_reports(part for _, part in parts)
    return pl.concat([frame for frame, _ in parts]), catalogue, report


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """The sample in every form, and as it is."""
    root = tmp_path_factory.mktemp("samples")
    for name in built_in():
        write_sample_as(named(name), str(root / name), SAMPLE)
    write_sample(str(root / "plain"), SAMPLE)
    return root


@pytest.mark.parametrize("chunk_bytes", [700, 1 << 20])
@pytest.mark.parametrize("name", built_in())
def test_the_sample_in_every_form_is_the_sample(samples, tmp_path, name, chunk_bytes):
    spec = named(name)
    found, (movies, report, domain), of_ratings = read(samples / name, spec, tmp_path, chunk_bytes)
    plain = pl.read_csv(samples / "plain" / "ratings.csv")
    titles = pl.read_csv(samples / "plain" / "movies.csv")
    assert report.counts == of_ratings.counts == {}
    assert found.height == plain.height
    assert dict(found.schema) == schema_of(spec)
    text_users, text_items = domain.text_user_ids, domain.text_item_ids
    users = found[USER_KEY].str.strip_prefix("user-").cast(pl.Int64) if text_users else found[f.USER_ID]
    assert users.to_list() == plain["userId"].to_list()
    assert found[f.USER_ID].to_list() == [number_of(f"user-{u}") if text_users else u for u in plain["userId"]]
    assert found[f.MOVIE_ID].to_list() == [number_of(f"item-{m}") if text_items else m for m in plain["movieId"]]
    assert found[f.TIMESTAMP].to_list() == (plain["timestamp"].to_list() if spec.timed else [0] * plain.height)
    given = spec.scale.of_stars(found[f.RATING].cast(pl.Float64))
    if spec.ratings.rating:
        # The nearest on the other scale.
        expected = spec.scale.of_stars(plain["rating"])
        assert (given - expected).abs().max() <= spec.scale.step / 2 + 1e-6
    else:
        assert set(given) == {1.0}
    keys = movies[MOVIE_KEY if text_items else f.MOVIE_ID].cast(pl.String).str.strip_prefix("item-").cast(pl.Int64)
    wanted = pl.DataFrame({"movieId": keys}).join(titles, on="movieId", how="left", maintain_order="left")
    encodable = [title.encode(spec.items.encoding, "replace").decode(spec.items.encoding) for title in wanted["title"]]
    kept = (
        movies[TITLE].to_list()
        if spec.items.year is None
        else [f"{title} ({year})" for title, year in movies.select(TITLE, YEAR).rows()]
    )
    assert kept == encodable
    if spec.items.categories is not None:
        genres = [set(text.split("|")) - {"(no genres listed)"} for text in wanted["genres"]]
        known = set(domain.categories)
        assert [set(names) - {domain.none} for names in movies[GENRE_NAMES]] == [names & known for names in genres]
    assert all(sum(row) for row in movies[f.MOVIE_GENRES]), "who has no category has the first"


@pytest.mark.parametrize("name", built_in())
def test_a_specification_is_found_out(samples, name):
    found = inspect(str(samples / name))
    assert found.name == name
    assert found.report.counts == {}
    assert found.counts["ratings"] == found.report.rows - 100
    assert found.ratings.height == found.items.height == 5


def turned(samples, directory):
    """The sample with names for ids, ratings of 1 to 10, no time, and categories in another language."""
    directory.mkdir()
    plain, movies = (pl.read_csv(samples / "plain" / f"{name}.csv") for name in ("ratings", "movies"))
    rated = plain.select(
        wer="user-" + pl.col("userId").cast(pl.String),
        was="tt" + pl.col("movieId").cast(pl.String).str.zfill(7),
        punkte=(pl.col("rating") * 2).cast(pl.Int64),
    )
    rated.write_csv(directory / "votes.tsv", separator="\t")
    items = movies.select(
        was="tt" + pl.col("movieId").cast(pl.String).str.zfill(7),
        titel="title",
        arten=pl.col("genres")
        .str.replace("(no genres listed)", "", literal=True)
        .str.replace_all("|", "; ", literal=True),
    )
    items.write_csv(directory / "films.tsv", separator="\t")
    return directory


def test_a_strangers_data_is_found_out(samples, tmp_path):
    data = turned(samples, tmp_path / "data")
    found = inspect(str(data))
    assert found.name is None
    spec = found.spec
    assert (spec.ratings.user, spec.ratings.item, spec.ratings.rating, spec.ratings.time) == (
        "wer",
        "was",
        "punkte",
        None,
    )
    assert (spec.ratings.user_ids, spec.items.item_ids, spec.ratings.separator) == ("text", "text", "\t")
    assert (spec.items.title, spec.items.categories, spec.items.category_separator) == ("titel", "arten", ";")
    assert spec.scale == Scale(1, 10, 1, 8)
    frame, catalogue, report = read(data, spec, tmp_path)
    plain, *_ = read(samples / "plain", named(), tmp_path)
    assert report.counts == catalogue.report.counts == {}
    assert frame[f.RATING].equals(plain[f.RATING]), "doubled ratings are the same stars"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"rating": lambda c: c * 20}, {"scale": Scale(0, 100, 1, 75)}),
        ({"timestamp": lambda c: c * 1000}, {"time_format": "ms"}),
        ({"timestamp": lambda c: pl.from_epoch(c).dt.strftime("%Y-%m-%d %H:%M:%S")}, {"time_format": "iso"}),
        ({"timestamp": lambda c: pl.from_epoch(c).dt.strftime("%d.%m.%Y")}, {"time_format": "%d.%m.%Y"}),
        ({"userId": lambda c: "A" + c.cast(pl.String)}, {"user_ids": "text"}),
    ],
)
def test_what_is_not_as_movielens_has_it_is_found_out(samples, tmp_path, change, expected):
    plain = pl.read_csv(samples / "plain" / "ratings.csv")
    (name, function), (wanted, value) = *change.items(), *expected.items()
    plain.with_columns(function(plain[name]).alias(name)).write_csv(tmp_path / "ratings.csv")
    (tmp_path / "movies.csv").write_bytes((samples / "plain" / "movies.csv").read_bytes())
    found = inspect(str(tmp_path))
    assert found.report.counts == {}
    assert getattr(found.spec, wanted, None) == value or getattr(found.spec.ratings, wanted, None) == value


def test_a_table_without_names_begins_with_the_user(samples, tmp_path):
    """As ml-10m is: dots and half stars, and no header."""
    for name in ("ratings", "movies"):
        rows = pl.read_csv(samples / "plain" / f"{name}.csv").rows()
        (tmp_path / f"{name}.dat").write_text("".join("::".join(map(str, row)) + "\n" for row in rows))
    found = inspect(str(tmp_path))
    assert found.report.counts == {}
    frame, *_ = read(tmp_path, found.spec, tmp_path / "out")
    assert frame.equals(read(samples / "plain", named(), tmp_path / "out")[0])


def test_another_encoding_than_expected_is_named(samples, tmp_path):
    for name in ("ratings", "movies"):
        text = (samples / "plain" / f"{name}.csv").read_text(encoding="utf-8")
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-16")
    with pytest.raises(checks.BadInputError, match=r"movies.csv is no UTF-8, .* matinee data inspect finds out"):
        read(tmp_path, named(), tmp_path / "out")
    assert inspect(str(tmp_path)).spec.ratings.encoding == "utf-16"


@pytest.mark.parametrize("quoted", [False, True])
def test_rows_without_a_rating_are_left_out(samples, tmp_path, quoted):
    plain = pl.read_csv(samples / "plain" / "ratings.csv")
    rated = pl.int_range(pl.len()) % 7 > 0
    scores = pl.when(rated).then((pl.col("rating") * 2).cast(pl.Int64)).otherwise(-1).alias("score")
    style = "always" if quoted else "necessary"
    plain.select("userId", "movieId", scores).write_csv(tmp_path / "scores.csv", quote_style=style)
    (tmp_path / "movies.csv").write_bytes((samples / "plain" / "movies.csv").read_bytes())
    found = inspect(str(tmp_path))
    assert (found.spec.ratings.unrated, found.spec.scale, found.report.counts) == (-1, Scale(1, 10, 1, 8), {})
    frame, _, report = read(tmp_path, found.spec, tmp_path / "out", 2000)
    assert report == checks.Report(plain.height)
    assert frame[f.MOVIE_ID].to_list() == plain.filter(rated)["movieId"].to_list()
    with open(tmp_path / "scores.csv", "a") as file:
        file.write("1,1,-2\n")
    frame, _, report = read(tmp_path, found.spec, tmp_path / "out", 2000)
    assert report.counts == {checks.OFF_SCALE: 1}
    assert frame.height == plain.filter(rated).height


def test_semicolons_and_decimal_commas(samples, tmp_path):
    plain = pl.read_csv(samples / "plain" / "ratings.csv")
    written = plain.with_columns(pl.col("rating").cast(pl.String).str.replace(".", ",", literal=True))
    written.write_csv(tmp_path / "ratings.csv", separator=";")
    pl.read_csv(samples / "plain" / "movies.csv").write_csv(tmp_path / "movies.csv", separator=";")
    found = inspect(str(tmp_path))
    assert found.report.counts == {}
    frame, *_ = read(tmp_path, found.spec, tmp_path / "out")
    assert frame[f.RATING].to_list() == plain["rating"].to_list()


def test_no_tables_are_found(tmp_path):
    with pytest.raises(ValueError, match="no data at"):
        inspect(str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("nothing\nto be seen\nhere\n")
    with pytest.raises(ValueError, match=r"no tables of ratings .* are found in .* \(there is notes.txt"):
        inspect(str(tmp_path))


TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\x85\ufeff"), min_size=1, max_size=8
)


@given(
    rows=st.lists(st.tuples(TEXT, st.integers(1, 4), st.integers(0, 10)), min_size=1, max_size=10),
    dialect=st.sampled_from([(",", '"', ""), (";", '"', "\\"), ("\t", "'", ""), ("::", "", ""), ("|", '"', "")]),
    encoding=st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    end=st.sampled_from(["\n", "\r\n"]),
    final=st.booleans(),
    chunk_bytes=st.integers(1, 120),
)
@settings(deadline=None, max_examples=150)
def test_any_dialect_in_any_chunks(tmp_path_factory, rows, dialect, encoding, end, final, chunk_bytes):
    separator, quote, escape = dialect

    def plain(text):
        text = text.encode(encoding, "replace").decode(encoding).strip() or "x"
        return text if quote else text.replace(separator[0], "-")

    rows = [(plain(user), item, rating) for user, item, rating in rows]
    buffer = io.StringIO()
    if quote:
        options = {"quotechar": quote, "escapechar": escape or None, "doublequote": not escape}
        csv.writer(buffer, delimiter=separator, lineterminator=end, **options).writerows([("u", "i", "r"), *rows])
    else:
        buffer.write("".join(separator.join(map(str, row)) + end for row in [("u", "i", "r"), *rows]))
    text = buffer.getvalue()
    directory = tmp_path_factory.mktemp("data")
    (directory / "r.csv").write_bytes((text if final else text.removesuffix(end)).encode(encoding))
    (directory / "i.csv").write_text("id,title\n1,One\n2,Two\n3,Three\n4,Four\n")
    spec = DataSpec(
        RatingsSpec(
            ("r",), None, separator, quote, escape, encoding, user="u", item="i", rating="r", time=None, user_ids="text"
        ),
        ItemsSpec(("i",), item="id", categories=None),
        Scale(0, 10, 1, 7),
    )
    found, _, report = read(directory, spec, tmp_path_factory.mktemp("out"), chunk_bytes)
    assert report.counts == {}
    given_back = found.select(USER_KEY, f.MOVIE_ID, spec.scale.of_stars(pl.col(f.RATING)).round(3)).rows()
    assert given_back == rows


def test_learned_categories_end_in_the_rest(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4,0\n")
    lines = [f"{i},Film {i},common|rare {i}" for i in range(1, 6)] + ["6,Film 6,(none)", "7,Film 7,"]
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n" + "\n".join(lines) + "\n")
    spec = dataclasses.replace(named(), categories=CategoriesSpec(most=2))
    _, (movies, report, domain), _ = read(tmp_path, spec, tmp_path / "out")
    assert report.counts == {}
    assert domain.categories == ("(none)", "common", "rare 1", "(other)")
    assert movies[GENRE_NAMES].to_list() == [["common", "rare 1"], *[["common", "(other)"]] * 4, [], []]
    assert movies[f.MOVIE_GENRES].to_list()[-1] == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["Drama", "War"]', ["Drama", "War"]),
        ("['Drama']", ["Drama"]),
        ('[{"id": 18, "name": "Drama"}]', ["Drama"]),
        ("", []),
    ],
)
def test_categories_as_lists(tmp_path, text, expected):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4,0\n")
    pl.DataFrame({"movieId": [1], "title": ["One"], "genres": [text]}).write_csv(tmp_path / "movies.csv")
    items = dataclasses.replace(named().items, category_separator="json")
    spec = dataclasses.replace(named(), items=items, categories=CategoriesSpec())
    _, (movies, _, _), _ = read(tmp_path, spec, tmp_path / "out")
    assert movies[GENRE_NAMES].to_list() == [expected]
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,One,[\n2,Two,[]\n")
    _, (_, report, _), _ = read(tmp_path, spec, tmp_path / "out")
    assert report.counts == {checks.UNREADABLE: 1}


@pytest.mark.parametrize(
    ("year", "expected"),
    [("1999", 1999), ("-750.0", -750), ("01-Jan-1995", 1995), ("2015-03-09", 2015), ("0", None), ("x", None)],
)
def test_years_of_a_column(tmp_path, year, expected):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4,0\n")
    (tmp_path / "movies.csv").write_text(f"movieId,title,genres,when\n1,One,Drama,{year}\n")
    spec = dataclasses.replace(named(), items=dataclasses.replace(named().items, year="when"), years=(-1000, 2100))
    spec = dataclasses.replace(spec, years=(1, 2100)) if expected is None else spec
    _, (movies, _, _), _ = read(tmp_path, spec, tmp_path / "out")
    assert movies[YEAR].to_list() == [expected]


def test_a_random_split_without_times(tmp_path):
    spec = dataclasses.replace(named(), ratings=dataclasses.replace(named().ratings, time=None))
    rows = pl.DataFrame(
        {
            f.USER_ID: [u for u in range(1, 21) for _ in range(20)],
            f.MOVIE_ID: [*range(20)] * 20,
            f.RATING: 4.0,
            f.TIMESTAMP: 0,
        }
    ).with_columns(pl.lit(4.0).alias(f.RATING), pl.lit(0).alias(f.TIMESTAMP))
    split = split_by_time(rows, ExampleGenConfig(data_spec=spec))
    held = split.filter(~pl.col(IS_TRAIN))
    assert held.group_by(f.USER_ID).len()["len"].to_list() == [2] * 20
    assert held[f.MOVIE_ID].n_unique() > 8, "not always the same movies"
    assert split_by_time(rows.sample(fraction=1, shuffle=True), ExampleGenConfig(data_spec=spec)).equals(split)
    other = split_by_time(rows, ExampleGenConfig(data_spec=spec, shuffle_seed=1)).filter(~pl.col(IS_TRAIN))
    assert not other.equals(held)


def test_where_nobody_has_enough_ratings_the_last_one_is_held_out():
    rows = pl.DataFrame(
        {f.USER_ID: [1, 2, 2, 3, 3, 3], f.MOVIE_ID: [1, 1, 2, 1, 2, 3], f.RATING: 4.0, f.TIMESTAMP: range(6)}
    )
    split = split_by_time(rows, ExampleGenConfig(), hold_one=True)
    assert split.filter(~pl.col(IS_TRAIN)).select(f.USER_ID, f.MOVIE_ID).rows() == [(2, 2), (3, 3)]


def test_a_wrong_value_is_named_with_its_column(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4,0\n1,1,4,x\n1,1\n")
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,One,Drama\n")
    _, _, report = read(tmp_path, named(), tmp_path / "out")
    assert [row.column for row in report.samples] == ["timestamp", ""]
    assert str(report.samples[0]).endswith("(column timestamp)")


def test_drop_is_offered_where_something_would_be_left():
    row = checks.BadRow(checks.UNREADABLE, "ratings.csv", 2, "x")
    good, all_bad = checks.Report(9, {checks.UNREADABLE: 1}, (row,)), checks.Report(1, {checks.UNREADABLE: 1}, (row,))
    with pytest.raises(checks.BadInputError, match="--on-bad-rows drop"):
        checks.enforce([good], checks.FAIL, 0)
    with pytest.raises(checks.BadInputError, match=r"No row is good: .*matinee data inspect") as caught:
        checks.enforce([good, all_bad], checks.FAIL, 0)
    assert "drop" not in str(caught.value)
    other = checks.Report(9, {checks.UNREADABLE: 1}, (dataclasses.replace(row, file="movies.csv"),))
    with pytest.raises(checks.BadInputError, match=r"movies.csv, line 2: .*; ratings.csv, line 2: "):
        checks.enforce([good, other], checks.FAIL, 0)


# --- Archives and compressed files --------------------------------------------------------------------------------

TABLES = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4,0\n",
    "movies.csv": "movieId,title,genres\n1,One,Drama\n",
}


def tar(path, mode, tables):
    with tarfile.open(path, mode) as archive:
        for name, text in tables.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def zipped(path, tables):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in tables.items():
            archive.writestr(name, text)
    return path


def rows_of(data, tmp_path):
    found, _, report = read(data, named(), tmp_path / "out")
    assert report == checks.Report(1)
    return found.height


@pytest.mark.parametrize(
    ("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar.xz", "w:xz")]
)
def test_a_tar(tmp_path, name, mode):
    inside = {f"./ml/{table}": text for table, text in TABLES.items()}
    inside |= {"ml/._ratings.csv": "x", "__MACOSX/ratings.csv": "x", "README": "x"}
    assert rows_of(tar(tmp_path / name, mode, inside), tmp_path) == 1


def test_an_archive_in_an_archive(tmp_path):
    inner = zipped(tmp_path / "inner.zip", {f"ml/{name}": text for name, text in TABLES.items()}).read_bytes()
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
        archive.writestr("data/inner.zip", inner)
    assert rows_of(tmp_path / "outer.zip", tmp_path) == 1


def test_an_archive_in_an_archive_without_tables_names_what_is_inside(tmp_path):
    inner = zipped(tmp_path / "inner.zip", {"notes.txt": "x"}).read_bytes()
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("inner.zip", inner)
    with pytest.raises(ValueError, match=r"outer.zip holds no folder .* \(inside: inner.zip, notes.txt\)"):
        rows_of(tmp_path / "outer.zip", tmp_path)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [(6, 1, "cannot be unpacked: .*encrypted.* without a password"), (8, 9, "cannot be unpacked: .*compression")],
)
def test_zips_that_cannot_be_read_are_refused(tmp_path, offset, value, message):
    """An encrypted one, and one that is packed by Deflate64: both say so in the headers."""
    path = zipped(tmp_path / "a.zip", TABLES)
    data = bytearray(path.read_bytes())
    for signature, more in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        place = data.find(signature)
        while place >= 0:
            data[place + offset + more] = value
            place = data.find(signature, place + 1)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        rows_of(path, tmp_path)


def test_a_tar_unpacks_to_no_more_than_a_bound(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("zeros")
        member.size = 70 << 20
        archive.addfile(member, io.BytesIO(bytes(70 << 20)))
    with pytest.raises(ValueError, match="unpacks to more than"):
        source.find_sources(str(tmp_path / "a.tar.gz"), str(tmp_path / "out"), 1)


@pytest.mark.parametrize("as_parts", [False, True])
@pytest.mark.parametrize(("suffix", "pack"), [("zst", zstandard.ZstdCompressor().compress), ("gz", gzip.compress)])
def test_compressed_files_and_parts(tmp_path, suffix, pack, as_parts):
    (tmp_path / "movies.csv").write_text(TABLES["movies.csv"])
    packed = pack(TABLES["ratings.csv"].encode())
    if as_parts:
        (tmp_path / "ratings.csv").mkdir()
        (tmp_path / "ratings.csv" / f"part-0.csv.{suffix}").write_bytes(packed)
        (tmp_path / "ratings.csv" / "_SUCCESS").write_text("")
    else:
        (tmp_path / f"ratings.csv.{suffix}").write_bytes(packed)
    assert rows_of(tmp_path, tmp_path) == 1


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Vienna"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_times_are_seconds_whatever_the_specification_calls_the_unit_of_numbers(tmp_path, unit, zone):
    columns = {
        "userId": ["u"],
        "movieId": [1],
        "rating": [4.0],
        "timestamp": pa.array([1_500_000_000 * 10**3], pa.int64()),
    }
    columns["timestamp"] = columns["timestamp"].cast(pa.timestamp("ms")).cast(pa.timestamp(unit, zone))
    pq.write_table(pa.table(columns), tmp_path / "ratings.parquet")
    (tmp_path / "movies.csv").write_text(TABLES["movies.csv"])
    for form in ("s", "ms", "iso"):
        table = dataclasses.replace(named().ratings, user_ids="text", time_format=form)
        found, _, report = read(tmp_path, dataclasses.replace(named(), ratings=table), tmp_path / "out")
        assert report == checks.Report(1)
        assert found.row(0)[1:] == (1, 4.0, 1_500_000_000, "u")


def test_a_specification_travels_as_json_with_the_component():
    config = ExampleGenConfig(data_spec=named("letterboxd"))
    assert json.loads(json.dumps(dataclasses.asdict(config)))["data_spec"]["scale"]["max"] == 10
