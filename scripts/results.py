#!/usr/bin/env python3
"""Brings README.md in line with benches/results: the tables of peers from compare-cpu*.json, and the plots of the profile from
profile-attention-cpu.json.

    scripts/results.py [--evoke PROGRAM]     writes the tables, and with the program the plots (docs/pictures/profile-*.png)
    scripts/results.py --check               says whether the tables are what the results give; changes nothing

New results come from `scripts/compare-cpu.sh --out benches/results/compare-cpu.json` and from `evoke profile attention --json`;
both files tell machine and commit."""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS, PICTURES = ROOT / "benches/results", ROOT / "docs/pictures"
BEGIN, END = "<!-- begin: scripts/results.py -->", "<!-- end: scripts/results.py -->"
PLOTS = ("time-forward",)
COMPARED = ("compare-cpu.json", "compare-cpu-intel.json")  # the same on two machines
NAMES = {"attention": "attention, 4 heads of 64: {}, ms", "captioner": "captioner: a training step, ms",
         "foley": "foley: a training step on 16,000 samples, bands of 256, ms",
         "spectrogram": "spectrogram loss with its gradient, 16 clips of 16,000 samples, ms"}


def load(name):
    with open(RESULTS / name) as file:
        return json.load(file)


def time(one):
    ms = 1e3 * one["median_s"]
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def memory(one):
    return f"{one['peak_bytes'] / 1e6:.0f}" if one["peak_bytes"] else ""


def table(found):
    versions = ", ".join(f"{name} {found['versions'][key]}" for key, name in (("torch", "PyTorch"), ("jax", "JAX"))
                         if key in found["versions"])
    lines = [
        f"On {found['hardware']}; commit {found['commit']}, {found['date']}; {versions}; medians of {found['rounds']} rounds in"
        " which all take turns. Memory is the process's at its peak, in MB.",
        "",
        "| work | Evoke | fastest peer | times as fast | MB: Evoke | peer |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        peer = row["peers"][row["fastest_peer"]]
        name = NAMES[row["work"]].format(row["case"] + " tokens")
        lines.append(f"| {name} | {time(row['evoke'])} | {time(peer)} ({row['fastest_peer']}) | {row['times']:.2f} | "
                     f"{memory(row['evoke'])} | {memory(peer)} |")
    return "\n".join(lines)


def draw(evoke):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([evoke, "profile", "attention", "--from", RESULTS / "profile-attention-cpu.json", "--plots", folder],
                       check=True, stdout=subprocess.DEVNULL)
        for name in PLOTS:
            shutil.copy(pathlib.Path(folder) / f"{name}.png", PICTURES / f"profile-{name}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--evoke", help="a built program, for the plots")
    options = parser.parse_args()
    readme = ROOT / "README.md"
    old = readme.read_text()
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"results.py: README.md lacks the lines {BEGIN} and {END}")
    tables = "\n\n".join(table(load(name)) for name in COMPARED)
    new = f"{before}{BEGIN}\n{tables}\n{END}{after}"
    if options.check:
        sys.exit(0 if new == old else "results.py: README.md is not what benches/results gives; run scripts/results.py")
    readme.write_text(new)
    if options.evoke:
        draw(options.evoke)


main()
