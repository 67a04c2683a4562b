#!/usr/bin/env bash
# Try and measure one GPU in 585 seconds: does everything run, images/s with and without compiling, seconds to an accuracy.
#
#   experiments/speed/gpu.sh FOLDER      FOLDER holds CIFAR-10 (data.path); for an otherwise idle GPU such as an H200
#
# Each part prints its result when it ends, and writes it into $OUT (default ./gpu-results): report.txt has all that was
# printed; benchmark-*.json, runs-*.json, peers-*.json, profile/. Each part has a limit, a little above the planned seconds,
# and a part that fails or takes too long is listed at the end. If the smoke test fails, nothing is measured: mend it first.
#
#   versions and images 15, smoke 70, profile 25, benchmark 170, vgg16 30, speedrun 75, resnet18 45, peers 80; the rest for
#   max-autotune
#
# PARTS="smoke benchmark" chooses parts; versions and images always run.
# Environment variables with which it also runs on a CPU:
#   SLOWER=10 MODELS=lenet5 BATCH=64 STEPS=2 MODES=off SMOKE="--only fast" PEER_STEPS=2 SEEDS=0 EPOCHS=1 EXTRA="trainer.limit_train_batches=2"
set -uo pipefail
[ $# -eq 1 ] || { sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 2; }
data=$(realpath "$1")
cd "$(dirname "$0")/../.." || exit 1

PYTHON=${PYTHON:-python3}
OUT=${OUT:-./gpu-results}
SECONDS_IN_ALL=${SECONDS_IN_ALL:-580} # 5 are left for the list at the end
SLOWER=${SLOWER:-1} # factor on the limits
PARTS=${PARTS:-"smoke profile benchmark vgg16 speedrun resnet18 peers max-autotune"}
MODELS=${MODELS:-"article,resnet18"}
MORE=${MORE:-vgg16}
TRAINED=${TRAINED:-resnet18}
FASTEST=${FASTEST:-speednet}
BATCH=${BATCH:-1024}
STEPS=${STEPS:-40}
MODES=${MODES:-"off default reduce-overhead"}
LAST_MODE=${LAST_MODE:-max-autotune}
SMOKE=${SMOKE:-}
PEER_MODELS=${PEER_MODELS:-"resnet20 article"}
PEER_STEPS=${PEER_STEPS:-44}
PEER_BATCH=${PEER_BATCH:-512}
EPOCHS=${EPOCHS:-30}
SEEDS=${SEEDS:-0,1,2,3,4}
EXTRA=${EXTRA:-}

mkdir -p "$OUT"
OUT=$(realpath "$OUT")
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec > >(tee "$OUT/report.txt") 2>&1
done_steps=() failed_steps=()

# step NAME SECONDS COMMAND...: run a command within its time limit and the time left in all; return its exit code.
step() {
  local name=$1 box=$(($2 * SLOWER)) left=$((SECONDS_IN_ALL - SECONDS)) code=0
  shift 2
  if [ "$left" -lt 10 ]; then
    failed_steps+=("$name: no time left")
    return 1
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
  return $code
}

wanted() { [[ " $PARTS " == *" $1 "* ]]; }

report() { [ ! -e "$1" ] || "$PYTHON" experiments/speed/gpu_report.py "$1"; }

# bench NAME MODELS MODE SECONDS [OVERRIDES...]
bench() {
  local name=$1 models=$2 mode=$3 box=$4 file=$OUT/benchmark-$1.json
  shift 4
  # shellcheck disable=SC2086  # EXTRA is a list of words
  step "benchmark $name" "$box" "$PYTHON" -m cnnlab.benchmark "models=[$models]" "batch_sizes=[$BATCH]" "compile=[$mode]" \
    "steps=$STEPS" rounds=2 "data.path=$data" "output=$file" "$@" $EXTRA
  report "$file"
}

# train NAME SECONDS OVERRIDES...: a sweep over seeds without logging and progress bar.
train() {
  local name=$1 box=$2
  shift 2
  # shellcheck disable=SC2086
  step "$name" "$box" "$PYTHON" -m cnnlab.train -m "data.path=$data" logger=none trainer.enable_progress_bar=false \
    "hydra.sweep.dir=$OUT/$name" "$@" $EXTRA
  report "$OUT/$name"
}

finish() {
  printf '\n## Done in %s s\n' "$SECONDS"
  [ ${#done_steps[@]} -eq 0 ] || printf -- '- %s\n' "${done_steps[@]}"
  printf '\n## Failed\n'
  [ ${#failed_steps[@]} -eq 0 ] && { echo "- none"; exit 0; }
  printf -- '- %s\n' "${failed_steps[@]}"
  exit 1
}

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null || echo "no GPU"
git log -1 --format='commit %h %s' 2>/dev/null
# Decode the images before anything is timed.
step "versions and images" 30 "$PYTHON" - "$data" <<'PYTHON' || finish
import sys
import lightning, torch, torchvision
from cnnlab.data.images import load_images
from cnnlab.data.sources import find_source
print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, lightning {lightning.__version__}")
print(f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
images = load_images(find_source(None, sys.argv[1]), 32, None)
print(f"{len(images.train):,} training images, {len(images.test):,} test images")
PYTHON

if wanted smoke; then
  # shellcheck disable=SC2086
  step smoke 100 "$PYTHON" experiments/speed/smoke.py --path "$data" $SMOKE || finish
fi
if wanted profile; then
  # shellcheck disable=SC2086
  step profile 30 "$PYTHON" -m cnnlab.train "model=$TRAINED" recipe=fast_resnet "data.path=$data" logger=none \
    trainer.profile=true trainer.max_epochs=1 trainer.limit_train_batches=40 trainer.limit_val_batches=1 \
    trainer.limit_test_batches=1 trainer.enable_progress_bar=false "hydra.run.dir=$OUT/profile" $EXTRA
  head -30 "$OUT/profile/profile/table.md" 2>/dev/null
fi
if wanted benchmark; then
  floor=true # measured once
  for mode in $MODES; do
    bench "$mode" "$MODELS" "$mode" 57 floor=$floor
    floor=false
  done
fi
wanted vgg16 && bench "$MORE" "$MORE" off 35
# All training images without validation: the last epoch counts, so test images do not choose one. In one warm process.
wanted speedrun && train speedrun 80 experiment=speedrun protocol=article trainer.limit_val_batches=0 "seed=$SEEDS" \
  hydra/launcher=in_process
wanted resnet18 && train "$TRAINED" 50 "model=$TRAINED" recipe=fast_resnet "trainer.max_epochs=$EPOCHS" seed=0
if wanted peers; then
  for model in $PEER_MODELS; do
    step "peers $model" 40 "$PYTHON" experiments/speed/peers.py --path "$data" --models "$model" --batch-size "$PEER_BATCH" \
      --ways tutorial-2 by-hand cnnlab --steps "$PEER_STEPS" --rounds 3 --output "$OUT/peers-$model.json"
  done
fi
wanted max-autotune && bench "$LAST_MODE" "$FASTEST" "$LAST_MODE" 120
finish
