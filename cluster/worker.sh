#!/usr/bin/env bash
# One of several workers of a sweep, on any machine. Run it again to continue.
#
#   REPOSITORY=git@host:team/project.git SHARED=/shared/sweep STORAGE=postgresql+psycopg://user:password@host/database \
#     cluster/worker.sh NUMBER [SPEC]
#
# SHARED is a folder that all machines see. It holds DVC's cache, a clone for each NUMBER with the checkpoints of its
# interrupted trainings, and the environment `venv`, unless the machine has one. REVISION is the commit to run.
set -euo pipefail
: "${REPOSITORY:?expected the URL of the git repository}" "${SHARED:?expected a folder that all machines see}"
: "${STORAGE:?expected the URL of the database that workers share}"
export STORAGE
number=${1:?expected the number of this worker}
SHARED=$(realpath --canonicalize-missing "$SHARED")
clone=$SHARED/clones/$number

if [[ -f $SHARED/venv/bin/activate ]]; then
  source "$SHARED/venv/bin/activate"
fi
if [[ ! -d $clone ]]; then
  # Renamed only when it is complete.
  rm -rf "$clone.new"
  git clone --quiet "$REPOSITORY" "$clone.new"
  mv "$clone.new" "$clone"
fi
cd "$clone"
git fetch --quiet origin "${REVISION:-HEAD}"
git checkout --quiet --detach FETCH_HEAD
mkdir -p "$SHARED/cache"
dvc cache dir --local "$SHARED/cache"
exec python -m src.sweep "${2:-sweep.yaml}" --workers "${WORKERS:-1}" --remote origin
