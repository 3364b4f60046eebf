# gainstage: `make check` is what CI runs.
.PHONY: fuzz fuzz-media check lint types imports test pythons release-check demo format screenshots pages mutants

check: lint types imports test pythons

lint:
	uv run ruff check .
	uv run ruff format --check .

types:
	uv run mypy

imports:
	uv run lint-imports

test:
	uv run pytest

# the wheel, installed on a fresh resolve, runs the demo on every supported Python that this machine has
pythons:
	uv run pytest -n 0 -m long tests/engine/test_release.py

# before a release: everything, then the wheel in dist/
release-check: check
	uv build

# mutants of media files through the decoder; MUTANTS=500 for fewer
fuzz: fuzz-media

fuzz-media:
	uv run python -m tests.fuzz.media --count $(or $(MUTANTS),5000)

# SETTINGS.md, COMMANDS.md and TROUBLESHOOTING.md, from the code
pages:
	uv run python -m gainstage.tui.commands.pages

format:
	uv run ruff check --fix .
	uv run ruff format .

demo:
	uv run gainstage demo

screenshots:
	uv run python -m gainstage.tui.bench.screenshots screenshots

# plants faults one at a time and lists those no test notices: hours, or MODULES=engine/flow/gate.py for minutes
mutants:
	uv run python -m tests.mutation $(MODULES)
