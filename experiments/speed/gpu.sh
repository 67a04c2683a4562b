#!/usr/bin/env bash
# Measure one GPU in 9 minutes: images/s for each way of compiling, hand-written loops, accuracy and seconds.
#
#   experiments/speed/gpu.sh FOLDER      FOLDER holds CIFAR-10 (data.path); for an otherwise idle GPU such as an H200
#
# Writes tables and figures to $OUT (default ./gpu-results): report.txt, benchmark.json, peers.json, runs.json, benchmark-MODEL.png.
# Every step has a time limit. Steps that fail or take too long are listed at the end, and the others run.
# Targets: ResNet-18 60,000 to 80,000 training images/s, VGG-16 150,000, the article net 300,000; speedrun: 94 % on average.
#
# PARTS="off train speedrun peers compile" chooses parts; PARTS=compile in a second call if the first had no time left.
# Environment variables with which it also runs on a CPU:
#   MODELS="lenet5" BATCH=64 STEPS=2 MODES="off" PEER_STEPS=2 SEEDS=0 SPEED_SEEDS=0 EPOCHS=1 EXTRA="trainer.limit_train_batches=2"
set -uo pipefail
[ $# -eq 1 ] || { sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 2; }
data=$(realpath "$1")
cd "$(dirname "$0")/../.." || exit 1

PYTHON=${PYTHON:-python3}
OUT=${OUT:-./gpu-results}
SECONDS_IN_ALL=${SECONDS_IN_ALL:-530}
PARTS=${PARTS:-"off train speedrun peers compile"}
MODELS=${MODELS:-"resnet18 vgg16 article"}
BATCH=${BATCH:-1024}
STEPS=${STEPS:-40}
MODES=${MODES:-"default reduce-overhead max-autotune"} # in addition to off
PEER_MODELS=${PEER_MODELS:-"resnet20 article"}
PEER_STEPS=${PEER_STEPS:-44}
TRAINED=${TRAINED:-resnet18}
RECIPE=${RECIPE:-fast_resnet} # or fast, to see the effect of its learning rate on a ResNet
EPOCHS=${EPOCHS:-30}
SEEDS=${SEEDS:-0,1,2}
SPEED_SEEDS=${SPEED_SEEDS:-0,1,2,3,4,5,6,7,8,9}
SPEED_COMPILE=${SPEED_COMPILE:-off}
EXTRA=${EXTRA:-}

mkdir -p "$OUT"
OUT=$(realpath "$OUT")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
exec > >(tee "$OUT/report.txt") 2>&1
done_steps=() failed_steps=()

# step NAME SECONDS COMMAND...: run a command within its time limit and the time left in all.
step() {
  local name=$1 box=$2 left=$((SECONDS_IN_ALL - SECONDS)) code=0
  shift 2
  if [ "$left" -lt 10 ]; then
    failed_steps+=("$name: no time left")
    return
  fi
  local before=$SECONDS
  printf '\n## %s\n\n' "$name"
  timeout --kill-after=5 "$((box < left ? box : left))" "$@" || code=$?
  local took=$((SECONDS - before))
  case $code in
    0) done_steps+=("$name: $took s") ;;
    124 | 137) failed_steps+=("$name: not done after $took s") ;;
    *) failed_steps+=("$name: exit code $code after $took s") ;;
  esac
}

wanted() { [[ " $PARTS " == *" $1 "* ]]; }

# bench NAME MODELS MODE SECONDS [OVERRIDES...]
bench() {
  local name=$1 models=$2 mode=$3 box=$4
  shift 4
  # shellcheck disable=SC2086  # EXTRA is a list of words
  step "benchmark $name" "$box" "$PYTHON" -m cnnlab.benchmark "models=[$models]" "batch_sizes=[$BATCH]" "compile=[$mode]" \
    "steps=$STEPS" "data.path=$data" "output=$work/benchmark-$name.json" "$@" $EXTRA
}

# train NAME SECONDS OVERRIDES...: run a sweep over seeds without logging and progress bar.
train() {
  local name=$1 box=$2
  shift 2
  # shellcheck disable=SC2086
  step "$name" "$box" "$PYTHON" -m cnnlab.train -m "data.path=$data" logger=none trainer.enable_progress_bar=false \
    "hydra.sweep.dir=$work/runs/$name" "$@" $EXTRA
}

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null || echo "no GPU"
git log -1 --format='commit %h %s' 2>/dev/null

# Decode the images before anything is timed.
# shellcheck disable=SC2086
step "images" 60 "$PYTHON" -m cnnlab.train model=lenet5 "data.path=$data" logger=none trainer.max_epochs=1 \
  trainer.limit_train_batches=1 "hydra.run.dir=$work/first" $EXTRA

# One model at a time: a step that takes too long leaves nothing.
if wanted off; then
  for model in $MODELS; do
    bench "$model-off" "$model" off 60 floor=true "figure=$OUT/benchmark-$model.png"
  done
fi
wanted train && train "$TRAINED-$RECIPE" 170 "model=$TRAINED" "recipe=$RECIPE" "trainer.max_epochs=$EPOCHS" "seed=$SEEDS"
# Train on all training images without validation: the last epoch counts, so test images do not choose one.
speedrun=(experiment=speedrun protocol=article trainer.limit_val_batches=0 "trainer.compile=$SPEED_COMPILE")
if wanted speedrun; then
  train speedrun 120 "${speedrun[@]}" "seed=$SPEED_SEEDS"
  # shellcheck disable=SC2086
  step "one speedrun, from the start of its process" 40 "$PYTHON" -m cnnlab.train "data.path=$data" logger=none \
    "${speedrun[@]}" trainer.enable_progress_bar=false "hydra.run.dir=$work/one" $EXTRA
fi
# shellcheck disable=SC2086
wanted peers && step "peers" 90 "$PYTHON" experiments/speed/peers.py --path "$data" --models $PEER_MODELS \
  --ways tutorial-2 by-hand cnnlab --steps "$PEER_STEPS" --batch-size "${PEER_BATCH:-512}" --rounds 3 --output "$OUT/peers.json"
if wanted compile; then
  for model in $MODELS; do
    for mode in $MODES; do
      [ "$mode" = off ] || bench "$model-$mode" "$model" "$mode" 90 rounds=3
    done
  done
fi

printf '\n## Results\n\n'
"$PYTHON" - "$work" "$OUT" <<'PYTHON'
import json
import sys
from pathlib import Path
from statistics import mean, stdev

work, out = map(Path, sys.argv[1:])
records = [json.loads(file.read_text()) for file in sorted(work.glob("benchmark-*.json"))]
rows = [row for record in records for row in record["results"]]
(out / "benchmark.json").write_text(json.dumps(records, indent=2) + "\n")
print("| model | batch | precision | compile | training images/s | inference images/s | peak GB | start s | of the upper bound |")
print("|---|---:|---|---|---:|---:|---:|---:|---:|")
for row in rows:
    names = f"| {row['model']} | {row['batch_size']} | {row['precision']} | {row['compile']} |"
    if row["error"]:
        print(f"{names} {row['error']} |")
        continue
    train, infer = row["training"], row["inference"]
    share = f"{train['floor_share']:.1%}" if "floor_share" in train else "-"
    print(
        f"{names} {train['images_per_second']:,.0f} | {infer['images_per_second']:,.0f} |"
        f" {row['peak_memory_bytes'] / 1e9:.1f} | {row['startup_seconds']:.1f} | {share} |"
    )

runs = {}
for file in sorted((work / "runs").glob("*/*/summary.json")) + sorted(work.glob("one/summary.json")):
    name = file.relative_to(work / "runs").parts[0] if "runs" in file.parts else "speedrun, alone"
    runs.setdefault(name, []).append(json.loads(file.read_text()))
(out / "runs.json").write_text(json.dumps(runs, indent=2) + "\n")
print("\n| run | n | test accuracy, % | with test-time augmentation, % | training s | whole run s | images/s |")
print("|---|---:|---:|---:|---:|---:|---:|")
for name, records in runs.items():
    finished = [record for record in records if record["status"] == "completed"]

    def figure(key, scale=1.0, digits=2, finished=finished):
        values = [scale * record[key] for record in finished if record.get(key) is not None]
        if not values:
            return "-"
        spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
        return f"{mean(values):,.{digits}f}{spread}"

    print(
        f"| {name} | {len(finished)} of {len(records)} | {figure('test_accuracy', 100)} | {figure('test_accuracy_tta', 100)} |"
        f" {figure('train_seconds')} | {figure('total_seconds')} | {figure('images_per_second', 1, 0)} |"
    )
print("\nTraining s: steps and saving, without set-up and test. Whole run s: with set-up and test, without imports.")
PYTHON

printf '\n## Done in %s s\n' "$SECONDS"
[ ${#done_steps[@]} -eq 0 ] || printf -- '- %s\n' "${done_steps[@]}"
printf '\n## Failed\n'
[ ${#failed_steps[@]} -eq 0 ] && { echo "- none"; exit 0; }
printf -- '- %s\n' "${failed_steps[@]}"
exit 1
