# Shared by the scripts of this folder: installs what is missing, builds what is stale. Source it; it only
# defines functions. Every function does nothing when its work is already done.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Threads that wait do so asleep: spinning ones would only take the cores from each other.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
# Node 24 comes from the npm package `node`: every tool below runs on it, whatever the system has.
export PATH="$ROOT/node_modules/node/bin:$ROOT/node_modules/.bin:$PATH"

# The one list of Debian packages. The second is only needed by scripts/test.
DEBIAN_PACKAGES=(g++ make cmake libopenblas-openmp-dev libhwy-dev libxxhash-dev)
DEBIAN_TEST_PACKAGES=(doctest-dev clang-format-14 python3 python3-venv)

# The Python peers that the numbers are compared with; torch first and alone, so that its CPU build is taken.
PEERS_TORCH='torch==2.13.0'
PEERS=('transformers==5.23.0' 'tokenizers==0.23.3' 'safetensors==0.8.0' 'pyzmq==27.3.0' 'msgpack==1.2.4' 'numpy==2.4.6' 'peft==0.21.2' 'trl==1.16.0' 'tensorboard==2.21.0' 'tiktoken==0.14.0' 'datasketch==2.0.0' 'rensa==0.5.0' 'datatrove==0.10.1' 'orjson==3.13.0' 'nltk==3.10.4' 'tldextract==5.4.0')

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The parent of `npm` must exist before anything else can: Debian's own is enough.
ensure_debian() {
  local wanted=("$@") missing=() package
  command -v npm >/dev/null && command -v node >/dev/null || wanted+=(nodejs npm)
  for package in "${wanted[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  ((${#missing[@]} == 0)) && return
  local install="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
  if [[ $(id -u) == 0 ]]; then
    say "installing Debian packages: ${missing[*]}"
    DEBIAN_FRONTEND=noninteractive bash -ec "$install" >&2
  elif sudo -n true 2>/dev/null; then
    say "installing Debian packages: ${missing[*]}"
    sudo DEBIAN_FRONTEND=noninteractive bash -ec "$install" >&2
  else
    die "these Debian packages are missing: ${missing[*]}
Install them, then start this script again:
  sudo sh -c '$install'"
  fi
}

# npm packages exactly as the lock file names them; a stamp remembers which lock file they came from.
ensure_npm() {
  local stamp="$ROOT/node_modules/.lock-sha256" sum
  sum=$(sha256sum "$ROOT/package.json" "$ROOT/package-lock.json" | sha256sum)
  [[ -f $stamp && $(<"$stamp") == "$sum" ]] && return
  say 'installing npm packages'
  (cd "$ROOT" && npm ci --no-fund --no-audit --loglevel=error >&2)
  [[ -x $ROOT/node_modules/node/bin/node ]] ||
    die "the npm package 'node' did not install its binary: its install script must be allowed (allowScripts)"
  printf '%s' "$sum" >"$stamp"
}

# TypeScript and the native addon. Both tools are incremental; native only runs when a source is newer.
ensure_build() {
  local addon="$ROOT/build/Release/anneal.node" main="$ROOT/dist/src/cli/main.js"
  if [[ ! -e $main || -n $(find "$ROOT/src" "$ROOT/proto" "$ROOT/package-lock.json" -newer "$main" -print -quit) ]]; then
    say 'compiling TypeScript'
    (cd "$ROOT" && npm run --silent build:ts >&2 && touch "$main")
  fi
  if [[ ! -e $addon || -n $(find "$ROOT/native" "$ROOT/CMakeLists.txt" -newer "$addon" -print -quit) ]]; then
    say 'building the native addon (about two minutes)'
    mkdir -p "$ROOT/.cache"
    (cd "$ROOT" && CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) npm run --silent build:native &>.cache/build.log) ||
      die "the native addon does not build; the end of .cache/build.log:
$(tail -n 30 "$ROOT/.cache/build.log")"
    touch "$addon"
  fi
}

# A virtual environment with the peers; prints the path of its Python.
ensure_peers() {
  local venv="$ROOT/.venv" stamp wanted="$PEERS_TORCH ${PEERS[*]}"
  stamp="$venv/.peers"
  if [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]]; then
    say 'installing the Python peers (PyTorch, transformers)'
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "$PEERS_TORCH" >&2
    "$venv/bin/pip" install --quiet "${PEERS[@]}" >&2
    printf '%s' "$wanted" >"$stamp"
  fi
  printf '%s\n' "$venv/bin/python"
}

# Everything that the program needs to run.
setup_all() {
  ensure_debian "${DEBIAN_PACKAGES[@]}"
  ensure_npm
  ensure_build
}
