#!/bin/sh
# The demonstration: the embedded model before and after some minutes of Stable-LoRA. Called by `make demo`.
#
# usage: sh demo/run.sh [BUILD]      writes BUILD/demo/run-<n> for the next free n and overwrites nothing
set -eu
build=${1:-build}
demo=$(dirname "$0")
lora=$build/stable-lora
model=$demo/model
test=$demo/data/test.jsonl

n=1
while [ -e "$build/demo/run-$n" ]; do n=$((n + 1)); done
run=$build/demo/run-$n
mkdir -p "$build/demo"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# exact_match [--adapter DIR]: the share of rows whose completion comes out word for word, in percent.
exact_match() {
    "$lora" eval --model "$model" --data "$test" --task exact-match --json "$@" >"$scratch/eval.json"
    sed 's/.*"exact_match":\([0-9.e-]*\).*/\1/' "$scratch/eval.json" | awk '{ printf "%.1f", 100 * $1 }'
}

# field NAME LINE: the string of that name in line LINE of the test rows, as text.
field() {
    sed -n "$2p" "$test" | sed "s/.*\"$1\": *\"\\(\\([^\"\\\\]\\|\\\\.\\)*\\)\".*/\\1/" |
        sed 's/\\"/"/g; s/\\n/\
/g; s/\\\\/\\/g'
}

answer() { # PROMPT [--adapter DIR]
    prompt=$1
    shift
    "$lora" generate --model "$model" --prompt "$prompt" --max-new-tokens 96 "$@"
}

echo "1. The base model on $(wc -l <"$test") rows that it will not be trained on"
before=$(exact_match)
echo "   exact match: $before %"
echo
echo "2. Training with Stable-LoRA"
start=$(date +%s)
"$lora" train --model "$model" --data "$demo/data/train.jsonl" --output-dir "$run" \
    --learning-rate 3e-3 --batch-size 8 --num-train-epochs 2
seconds=$(($(date +%s) - start))
echo "   took $seconds s"
echo
echo "3. The same rows with the adapter"
after=$(exact_match --adapter "$run")
echo "   exact match: $before % before, $after % after"
echo
echo "4. Two of the rows"
for line in 1 2; do
    prompt=$(field prompt $line)
    echo "   --- asked"
    printf '%s\n' "$prompt" | sed 's/^/   /'
    echo "   --- before"
    answer "$prompt" | sed 's/^/   /'
    echo "   --- after"
    answer "$prompt" --adapter "$run" | sed 's/^/   /'
    echo "   --- wanted"
    field completion $line | sed 's/^/   /'
done
echo
echo "5. The adapter is in $run: an ordinary PEFT directory, with the run's record beside it"
