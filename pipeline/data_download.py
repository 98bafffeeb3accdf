"""Download of GroupLens' MovieLens archives."""

from __future__ import annotations

import dataclasses
import pathlib

import pooch
import requests

_BASE_URL = "https://files.grouplens.org/datasets/movielens"
LICENCE = (
    "MovieLens data is for research and education; it may not be redistributed or used commercially without GroupLens' "
    "permission, and a publication must cite F. M. Harper and J. A. Konstan, The MovieLens Datasets: History and "
    "Context, ACM TiiS 5(4), 2015. The archive's README.txt has the full terms."
)


@dataclasses.dataclass(frozen=True)
class Archive:
    """An archive in the CSV layout that the pipeline reads."""

    digest: str
    """Algorithm and digest, as GroupLens (MD5) or TensorFlow Datasets (SHA-256) publishes it."""
    ratings: int
    """Number of ratings."""


ARCHIVES = {
    "ml-latest-small": Archive("sha256:696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436", 100_836),
    "ml-20m": Archive("md5:cd245b17a1ae2cc31bb14903e1204af3", 20_000_263),
    "ml-25m": Archive("md5:6b51fb2759a8657d3bfcbfc42b592ada", 25_000_095),
    "ml-32m": Archive("md5:d472be332d4daa821edc399621853b57", 32_000_204),
}


def download(name: str, directory: str, base_url: str = _BASE_URL) -> pathlib.Path:
    """Fetch an archive, unless it lies there already with the right digest.

    Args:
      name: A key of `ARCHIVES`.
      directory: Where to keep it.
      base_url: Where the archives lie.

    Returns:
      The path of the zip archive, which `--data` takes as it is.

    Raises:
      ValueError: The name is unknown, there is no network, or the digest is wrong; no file is left then.
    """
    if name not in ARCHIVES:
        raise ValueError(f"no archive {name!r}; expected one of {', '.join(ARCHIVES)}")
    url = f"{base_url}/{name}.zip"
    try:
        path = pooch.retrieve(url, ARCHIVES[name].digest, f"{name}.zip", directory, progressbar=True)
    except requests.exceptions.RequestException as error:
        raise ValueError(
            f"cannot reach {url} ({type(error).__name__}); check the network, or make data with `matinee data sample`"
        ) from None
    except ValueError as error:
        if "hash" not in str(error).lower():
            raise
        raise ValueError(f"{url} is not the archive that was expected: {error}") from None
    return pathlib.Path(path)
