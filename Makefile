# gainstage: `make check` is what CI runs.
.PHONY: check lint types imports test demo format screenshots

check: lint types imports test

lint:
	uv run ruff check .
	uv run ruff format --check .

types:
	uv run mypy

imports:
	uv run lint-imports

test:
	uv run pytest

format:
	uv run ruff check --fix .
	uv run ruff format .

demo:
	uv run gainstage demo

screenshots:
	uv run python -m gainstage.tui.bench.screenshots screenshots
