#!/bin/sh
# Tag a commit, build it, wait for its release, and sync a test tenant. Requires git and the command:
#
#     pip install 'pandium[cli]'
#     PANDIUM_API_KEY=… sh ci_build.sh v1.4.0 42 7
#
# The arguments are the tag, the integration's id and the test tenant's id. If the run fails, the end
# of its log is printed. BUILD_TIMEOUT is the time limit of the build in seconds.
set -eu
tag=$1 integration=$2 tenant=$3

# If the tag exists, git exits with an error, so that no tag is built twice.
git tag "$tag"
git push origin "$tag"

pandium-api builds create "$integration" "$tag" --wait --wait-timeout "${BUILD_TIMEOUT:-900}"
pandium-api tenants sync "$tenant" --wait --logs
