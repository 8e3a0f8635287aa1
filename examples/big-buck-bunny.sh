#!/usr/bin/env bash
# A real film: gets Big Buck Bunny, prepares it, trains foley on it, and writes a clip with the sound that it makes.
#
#   examples/big-buck-bunny.sh [FOLDER] [--set KEY=VALUE]...
#
# FOLDER (big-buck-bunny) holds everything; what is there already is kept, and training goes on where it stopped. Needs
# Python's pip, and ffmpeg on the PATH or in EVOKE_FFMPEG; EVOKE names the program, where it is not the one built here.
#
# The film is (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0. It comes from the source package of moviepy,
# which carries it as the material of a tutorial.
set -euo pipefail

package=moviepy-2.2.1
hash=c80cb56815ece94e5e3e2d361aa40070eeb30a09d23a24c4e684d03e16deacb1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

folder=big-buck-bunny
if [[ $# -gt 0 && $1 != --* ]]; then
    folder=$1
    shift
fi
evoke=${EVOKE:-$here/../target/release/evoke}
ffmpeg=${EVOKE_FFMPEG:-ffmpeg}
python=${PYTHON:-python3}
mkdir -p "$folder"

die() {
    echo "big-buck-bunny.sh: $*" >&2
    exit 1
}
command -v "$evoke" >/dev/null || die "$evoke: no such program; run cargo build --release, or set EVOKE"
command -v "$ffmpeg" >/dev/null || die "$ffmpeg: no such program; install ffmpeg, or set EVOKE_FFMPEG"
export EVOKE_FFMPEG=$ffmpeg

# The film, 596 seconds of it.
if [[ ! -e $folder/bbb.mp4 ]]; then
    "$python" -m pip download --quiet --no-deps --no-binary moviepy moviepy==2.2.1 --dest "$folder"
    echo "$hash  $folder/$package.tar.gz" | sha256sum --check --quiet || die "$package.tar.gz: is another file than it was"
    "$python" - "$folder" "$package" <<'PYTHON'
import io, os, sys, tarfile, zipfile

folder, package = sys.argv[1:]
inside = package + "/docs/_static/medias/getting_started/moviepy_10_minutes/moviepy_10_minutes.zip"
with tarfile.open(f"{folder}/{package}.tar.gz") as packed:
    film = zipfile.ZipFile(io.BytesIO(packed.extractfile(inside).read()))
name = next(name for name in film.namelist() if name.endswith("resources/bbb.mp4"))
# Aside first: a film that is there is whole.
with open(f"{folder}/bbb.part", "wb") as out:
    out.write(film.read(name))
os.rename(f"{folder}/bbb.part", f"{folder}/bbb.mp4")
PYTHON
    rm "$folder/$package.tar.gz"
fi

# From 490 seconds on it is credits, mostly. Nothing is coded anew.
if [[ ! -e $folder/film.mp4 ]]; then
    "$ffmpeg" -v error -y -i "$folder/bbb.mp4" -t 490 -c copy -f mp4 "$folder/film.part"
    mv "$folder/film.part" "$folder/film.mp4"
fi

# Clips of a second with 12 frames each: a step seen at 3 frames a second could sound anywhere within a third of one.
if [[ ! -e $folder/data/index.json ]]; then
    "$evoke" prepare video "$folder/film.mp4" --out "$folder/data" --seconds 1 --fps 12 --lines 48 --silence=-60
fi

goes_on=()
if [[ -e $folder/run/config.toml ]]; then
    goes_on=(--resume)
else
    goes_on=(--config "$here/big-buck-bunny.toml")
fi
"$evoke" train foley --data "$folder/data" --out "$folder/run" "${goes_on[@]}" "$@"
"$evoke" evaluate "$folder/run" --data "$folder/data" --listen 4 --page "$folder/report.html"

# Ten seconds of the film with sounds of its own.
"$ffmpeg" -v error -y -ss 150 -i "$folder/bbb.mp4" -t 10 -an -c:v copy "$folder/silent.mp4"
"$evoke" sound "$folder/run" "$folder/silent.mp4" --out "$folder/sounding.mp4"
echo "see and hear $folder/sounding.mp4, and $folder/report.html"
