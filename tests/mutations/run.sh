#!/usr/bin/env bash
# Shows that the proofs can fail. Each patch here breaks one rule of the house and names the test that must then go red:
#   tests/mutations/run.sh [NAME…]      all of them, or those
# It works in a copy of the last commit beside the target folder, so the checkout is left alone. By hand: it builds
# once for every patch. Ends with 1 when a mutation lives, does not build, or does not apply any more.
set -uo pipefail
cd "$(git -C "$(dirname "$0")" rev-parse --show-toplevel)" || exit 1
root=$PWD
copy=${ERGANE_MUTATIONS:-$root/target/mutations}
here=$root/tests/mutations
[ -d "$copy" ] || git worktree add -q --detach "$copy" || exit 1
git -C "$copy" checkout -q --force --detach "$(git rev-parse HEAD)" || exit 1
cd "$copy" || exit 1
failed=0
for patch in "$here"/*.patch; do
  name=$(basename "$patch" .patch)
  [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
  proof=$(sed -n 's/^Proof: cargo test //p' "$patch")
  log=$copy/target/$name.log
  mkdir -p "$copy/target"
  # shellcheck disable=SC2086 # a proof is several words
  if ! git apply "$patch"; then
    verdict="does not apply"
  elif ! cargo test -q --no-run ${proof% *} >"$log" 2>&1; then
    verdict="does not build, see $log"
  else
    timeout 600 cargo test -q $proof >"$log" 2>&1
    case $? in
    0) verdict="LIVES: $proof" ;;
    124) verdict="hangs, see $log" ;;
    *) if grep -q '^test result: FAILED' "$log"; then verdict=red; else verdict="did not run, see $log"; fi ;;
    esac
  fi
  echo "$name: $verdict"
  [ "$verdict" = red ] || failed=1
  git checkout -q --force . || exit 1
done
exit $failed
