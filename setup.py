"""The one thing of the build that pyproject.toml cannot say: README.md with absolute links, for pages outside the repository."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

SOURCE = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]["urls"]["Source"]


def absolute(text: str) -> str:
    """The text with every relative link of Markdown made absolute: pictures as raw files, pages as pages."""
    text = re.sub(r"(!\[[^\]]*\]\()(?!https?:|#)", rf"\1{SOURCE}/raw/main/", text)
    return re.sub(r"(\]\()(?!https?:|#)", rf"\1{SOURCE}/blob/main/", text)


if __name__ == "__main__":
    setup(long_description=absolute(Path("README.md").read_text("utf-8")), long_description_content_type="text/markdown")
