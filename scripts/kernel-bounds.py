#!/usr/bin/env python3
"""What the machine code of the program's kernels allows on a Hopper GPU: registers, shared memory, blocks that fit a
multiprocessor, and for the hot loop of each kernel the instructions by pipe, the clocks that each pipe needs for them,
the pipe that bounds, and the share of the tensor cores' dense peak (or of the memory's bandwidth) that this leaves at
best. These are sums over machine code, not measurements; nothing of them needs a GPU.

    scripts/kernel-bounds.py [--program target/release/evoke] [--json] [KERNEL...]      names, or how they begin

The hot loop is the smallest one that holds at least half of a kernel's tensor-core instructions, or where there are
none of the bytes that it moves; a kernel that has no such loop is taken as a whole. Of the ways through it the `lean`
one does the most tensor-core work, then moves the most bytes, 16 at a time if it can, in the fewest instructions: tiles
that need no comparison, no dropout. The `full` one does so in the most: comparisons, dropout at its dearest. Loops
within it count as often as they run where that is a constant in the code (such a loop is never the hot one); where it
is not, once. --times N takes the whole kernel with its hot loop N times, and the loops around that once: what a block
does whose queries see N tiles of keys. A loop over the halves of a tile whose end the compiler tells by a predicate
cannot be told from one over tiles: the hot loop of attention_queries_bf16_64 is such a half.

A listing that cuobjdump -sass wrote can be read instead of a program (--listing FILE; --threads, --registers, --shared
then say what a listing does not). Of Python nothing but its own library is needed."""

import argparse
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
WARP = 32

# A multiprocessor of an H100 or H200 (compute capability 9.0), by the CUDA programming guide's tables of technical
# specifications and of the throughput of arithmetic instructions: results a clock and multiprocessor.
SCHEDULERS, REGISTERS, THREADS, BLOCKS = 4, 65536, 2048, 32
SHARED, SHARED_OF_A_BLOCK = 228 << 10, 1 << 10  # of each block the system takes its own
SHARED_UNIT, REGISTER_UNIT = 128, 256  # what is handed out: bytes, and registers of a warp
RESULTS = {"fp32": 128, "imad": 64, "alu": 64, "mufu": 16, "fp64": 64, "half": 256}
WIDEST = 16  # bytes that a lane loads or stores at once
SHARED_BYTES = 128  # a clock; loads and stores of global memory use the same path
# Multiprocessors, and the clock at which they reach the data sheet's dense 989 TFLOP/s: 132 * 4096 * 1.83 GHz.
MULTIPROCESSORS, CLOCK, DENSE = 132, 1.83e9, 4096
# Of that mma.sync reaches 62 % on Hopper; the rest takes wgmma (Luo et al. 2024, arXiv 2402.13499).
MMA_SYNC = 0.62
BANDWIDTH = {"H100": 3.35e12, "H200": 4.8e12}

FP32 = {"FADD", "FMUL", "FFMA", "FSWZADD"}
HALF = {"HADD2", "HMUL2", "HFMA2"}
IMAD = {"IMAD", "IDP", "IMUL"}
FP64 = {"DADD", "DMUL", "DFMA", "DSETP", "DMNMX"}
MUFU = {"MUFU", "POPC", "FLO", "BREV"}
ALU = {"FMNMX", "FSEL", "FSET", "FSETP", "FCHK", "F2F", "F2FP", "F2I", "I2F", "I2FP", "I2I", "FRND", "HMNMX2", "HSET2",
       "HSETP2", "IADD3", "IABS", "ISETP", "IMNMX", "VIMNMX", "VIADD", "VIADDMNMX", "LEA", "LOP3", "SHF", "SEL", "PRMT",
       "MOV", "PLOP3", "P2R", "R2P", "SGXT", "BMSK", "VABSDIFF", "VABSDIFF4"}
TENSOR = {"HMMA", "IMMA", "DMMA", "HGMMA"}
SHARED_LOADS, SHARED_STORES = {"LDS", "LDSM"}, {"STS", "STSM", "ATOMS"}
GLOBAL_LOADS, GLOBAL_STORES = {"LDG", "LDGSTS"}, {"STG", "RED", "REDG", "ATOM", "ATOMG"}
LOCAL = {"LDL", "STL"}
BRANCHES = {"BRA", "BRX", "BSSY", "BSYNC", "CALL", "RET", "EXIT", "JMP", "WARPSYNC", "BREAK"}
BARRIERS = {"BAR", "DEPBAR", "LDGDEPBAR", "ERRBAR", "MEMBAR"}
LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:\{\s*)?(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*([^;]*);")


def fail(text):
    sys.exit("kernel-bounds: " + text)


# ---- the program's kernels ----------------------------------------------------------------------------------------


def tool(name):
    """cuobjdump: EVOKE_CUOBJDUMP, that of the repository's toolchain, of the system's CUDA, or on PATH."""
    own, system = ROOT / ".tools/cuda/bin" / name, "/usr/local/cuda/bin/" + name
    for place in (os.environ.get("EVOKE_CUOBJDUMP"), own, system, shutil.which(name)):
        if place and os.access(place, os.X_OK):
            return str(place)
    fail(f"no {name} here; scripts/cuda-toolchain.sh brings it, or EVOKE_CUOBJDUMP says where it is")


def ran(command):
    # It runs nvdisasm, which stands beside it.
    path = os.path.dirname(command[0]) + os.pathsep + os.environ.get("PATH", "")
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
    if done.returncode != 0:
        fail(f"{os.path.basename(command[0])}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def fatbins(program):
    """The fatbins that a program embeds: each begins with a mark, the length of its header, and its own length."""
    try:
        whole = pathlib.Path(program).read_bytes()
    except OSError as error:
        fail(f"{program}: {error.strerror}; build it first: cargo build --release")
    mark, at = struct.pack("<I", 0xBA55ED50), 0
    while (at := whole.find(mark, at)) >= 0:
        version, header, size = struct.unpack_from("<HHQ", whole, at + 4) if at + 16 <= len(whole) else (0, 0, 0)
        if version == 1 and header == 16 and 0 < size <= len(whole) - at - header:
            yield whole[at:at + header + size]
            at += header + size
        else:
            at += len(mark)


class Cubin:
    """Of an ELF file of machine code: what its kernels take."""

    def __init__(self, path):
        self.path, self.bytes = path, path.read_bytes()
        start, = struct.unpack_from("<Q", self.bytes, 0x28)
        size, count, names = struct.unpack_from("<HHH", self.bytes, 0x3A)
        rows = [struct.unpack_from("<IIQQQQIIQQ", self.bytes, start + i * size) for i in range(count)]
        self.sections = {self.text(rows[names][4] + row[0]): row for row in rows}
        order = [self.text(rows[names][4] + row[0]) for row in rows]
        table = self.sections[".symtab"]
        texts = rows[table[6]][4]
        self.symbols = []
        for at in range(table[4], table[4] + table[5], table[9]):
            name, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", self.bytes, at)
            self.symbols.append((self.text(texts + name), order[section] if section < len(order) else "", value))
        self.kernels = sorted(name[len(".nv.info."):] for name in self.sections if name.startswith(".nv.info."))

    def text(self, at):
        return self.bytes[at:self.bytes.index(0, at)].decode()

    def attributes(self, section):
        """(number, value) of a section of attributes: a format, a number, and a value or its length."""
        row = self.sections[section]
        at, end = row[4], row[4] + row[5]
        while at < end:
            form, number, value = struct.unpack_from("<BBH", self.bytes, at)
            at += 4
            if form == 4:  # the value follows
                yield number, self.bytes[at:at + value]
                at += value

    def takes(self, kernel):
        """Registers and threads, and bytes of shared memory: those that are declared, and those of the launch, which
        EVOKE_KERNEL leaves in a variable beside the kernel."""
        threads = registers = 0
        for number, value in self.attributes(".nv.info." + kernel):
            if number == 0x05:
                x, y, z = struct.unpack("<III", value)
                threads = x * y * z
        for number, value in self.attributes(".nv.info"):
            if number == 0x2F:
                symbol, count = struct.unpack("<II", value)
                if self.symbols[symbol][0] == kernel:
                    registers = count
        shared = self.sections[".nv.shared." + kernel][5] if ".nv.shared." + kernel in self.sections else 0
        if ".nv.shared.reserved.0" in self.sections:  # then the system's own part is counted in
            shared -= min(shared, SHARED_OF_A_BLOCK)
        for name, section, value in self.symbols:
            if name == kernel + "_shared_bytes" and section == ".nv.global.init":
                shared += struct.unpack_from("<I", self.bytes, self.sections[section][4] + value)[0]
        return {"registers": registers, "shared_bytes": shared, "threads": threads}


# ---- a kernel's code ------------------------------------------------------------------------------------------------


class Instruction:
    def __init__(self, address, predicate, name, operands):
        self.address, self.predicate, self.operands = address, predicate, operands
        self.name, *self.parts = name.split(".")

    def width(self):
        """Bytes of a lane."""
        if self.predicate == "@!PT":  # never: a pause that the assembler puts before asynchronous copies
            return 0
        if self.name in ("LDSM", "STSM"):
            return 4 * int(next((part for part in self.parts if part in "124"), "1"))
        for part, size in (("128", 16), ("64", 8), ("U16", 2), ("S16", 2), ("U8", 1), ("S8", 1)):
            if part in self.parts:
                return size
        return 4

    def flops(self):
        """Of a warp, where it is a tensor core's: HMMA.16816 multiplies 16 x 16 with 16 x 8."""
        shape = next((part for part in self.parts if part.isdigit()), "")
        sizes = {"16816": (16, 8, 16), "1688": (16, 8, 8), "16832": (16, 8, 32)}.get(shape)
        return 2 * sizes[0] * sizes[1] * sizes[2] if self.name in TENSOR and sizes else 0

    def target(self):
        found = re.search(r"0x([0-9a-f]+)\s*$", self.operands)
        return int(found[1], 16) if found else None


def read(listing):
    """The instructions of each function of a listing."""
    functions, current = {}, None
    for line in listing.splitlines():
        line = line.strip()
        if line.startswith("Function : "):
            current = functions.setdefault(line[len("Function : "):].strip(), [])
        elif current is not None and (found := LINE.match(line)):
            address, predicate, name, operands = found.groups()
            current.append(Instruction(int(address, 16), predicate, name, operands.strip()))
    return functions


class Code:
    """A function as blocks of instructions, with the loops that its backward branches make."""

    def __init__(self, instructions, avoided=()):
        # Behind the last exit lie a jump to itself and padding.
        while instructions and instructions[-1].name in ("NOP", "BRA") and instructions[-1].predicate is None:
            instructions = instructions[:-1]
        starts = {instructions[0].address}
        for this, after in zip(instructions, instructions[1:]):
            if this.name in ("BRA", "EXIT", "RET", "BSYNC", "BRX", "JMP"):
                starts.add(after.address)
            if this.name in ("BRA", "BSSY", "JMP") and this.target() is not None:
                starts.add(this.target())
        self.blocks = []
        for one in instructions:
            if one.address in starts:
                self.blocks.append([])
            self.blocks[-1].append(one)
        number = {block[0].address: i for i, block in enumerate(self.blocks)}
        left_out = {number[address] for address in avoided if address in number}
        goals = [self.next_of(i, number) for i in range(len(self.blocks))]
        self.after = [[goal for goal in some if goal not in left_out] for some in goals]
        self.reached, waiting = {0}, [0]
        while waiting:
            more = set(self.after[waiting.pop()]) - self.reached
            self.reached |= more
            waiting.extend(more)
        self.after = [goals if i in self.reached else [] for i, goals in enumerate(self.after)]
        self.given = {}  # how often loops run, by their first block, where the code does not tell
        self.above = self.dominators()
        self.loops = self.find_loops()

    def next_of(self, i, number):
        last = self.blocks[i][-1]
        on = [i + 1] if i + 1 < len(self.blocks) else []
        if "DIV" in last.parts:  # for lanes that stand apart, which these kernels' do not where they exchange values
            return on
        if last.name in ("BRA", "JMP"):
            goal = number.get(last.target())
            goals = [goal] if goal is not None else []
            always = last.predicate is None and not last.operands.startswith(("P", "!P", "UP", "!UP"))
            return goals if always else on + goals
        if last.name == "BSYNC":  # lanes meet where the BSSY of the same barrier says
            barrier = last.operands.strip()
            before = [one for block in self.blocks[:i + 1] for one in block
                      if one.name == "BSSY" and one.operands.split(",")[0].strip() == barrier]
            goal = number.get(before[-1].target()) if before else None
            return ([goal] if goal is not None else on) if last.predicate is None else on + [goal] * (goal is not None)
        if last.name in ("EXIT", "RET", "BRX"):
            return on if last.predicate is not None else []
        return on

    def dominators(self):
        """Of each block the set of those that every way to it goes through, as bits."""
        everything = (1 << len(self.blocks)) - 1
        found, before = [everything] * len(self.blocks), [[] for _ in self.blocks]
        for i, goals in enumerate(self.after):
            for goal in goals:
                before[goal].append(i)
        found[0], changed = 1, True
        while changed:
            changed = False
            for i in range(1, len(self.blocks)):
                meet = everything
                for one in before[i]:
                    meet &= found[one]
                meet |= 1 << i
                if meet != found[i]:
                    found[i], changed = meet, True
        self.before = before
        return found

    def find_loops(self):
        """By first block, the blocks of each loop: those from which a branch back to it can be reached."""
        loops = {}
        for i, goals in enumerate(self.after):
            for head in goals:
                if self.above[i] >> head & 1:
                    body, waiting = loops.setdefault(head, {head}), [i]
                    while waiting:
                        block = waiting.pop()
                        if block not in body:
                            body.add(block)
                            waiting.extend(self.before[block])
        return loops

    def trips(self, head):
        """How often a loop runs, where its only way out compares a counter that goes from 0 in fixed steps with a
        constant."""
        if head in self.given:
            return self.given[head]
        body = self.loops[head]
        ways_out = [i for i in body if any(goal not in body for goal in self.after[i])]
        if len(ways_out) != 1 or self.blocks[ways_out[0]][-1].predicate is None:
            return None
        block = self.blocks[ways_out[0]]
        predicate = block[-1].predicate.lstrip("@!")
        test = next((one for one in reversed(block) if one.operands.split(",")[0] == predicate), None)
        numbers = re.findall(r"(?<=, )0x[0-9a-f]+", test.operands) if test and test.name == "ISETP" else []
        counter = re.search(r"(?<=, )R\d+", test.operands) if numbers else None
        if not counter:
            return None
        inside = [one for i in body for one in self.blocks[i] if one.name in ("IADD3", "VIADD")]
        sums = [re.fullmatch(counter[0] + r", R\d+, (0x[0-9a-f]+)(?:, RZ)?", one.operands) for one in inside]
        steps = {int(found[1], 16) for found in sums if found}
        times, rest = divmod(int(numbers[0], 16), min(steps)) if len(steps) == 1 else (0, 1)
        return times if times and not rest else None

    def hot(self):
        """The first block of the hot loop; None where the kernel is taken as a whole."""
        def held(blocks, measure):
            return sum(measure(one) for i in blocks for one in self.blocks[i])
        everything = range(len(self.blocks))
        for measure in (Instruction.flops, moved):
            whole = held(everything, measure)
            if whole:
                fit = [(len(body), head) for head, body in self.loops.items()
                       if 2 * held(body, measure) >= whole and self.trips(head) is None]
                return min(fit)[1] if fit else None
        return None

    def way(self, head, full):
        """The instructions of one way through a loop, or through the whole kernel, with how often each runs; and the
        loops within it: where they begin, how often they run (None where the code does not tell), and how many
        instructions they have."""
        body = self.loops[head] if head is not None else set(range(len(self.blocks)))
        first = head if head is not None else 0
        ends = {i for i in body if head is not None and head in self.after[i]}
        if head is None:
            ends = {i for i in body if not self.after[i]}
        inner = [h for h, other in self.loops.items() if h != head and other < body]
        # Each inner loop, unless it lies in another, is one step of the way, taken from its first block.
        inner = [h for h in inner if not any(h != o and self.loops[h] < self.loops[o] for o in inner)]
        owner = {i: h for h in inner for i in self.loops[h]}
        worth = {}

        def value(step):
            if step not in worth:
                if step in inner:
                    code, loops = self.way(step, full)
                    times = self.trips(step)
                    own = {"at": self.place(step), "times": times, "instructions": sum(n for _, n in code)}
                    worth[step] = [(one, n * (times or 1)) for one, n in code], [own] + loops
                else:
                    worth[step] = [(one, 1) for one in self.blocks[step]], []
            return worth[step]

        def score(step):
            code = value(step)[0]
            count = sum(n for _, n in code)
            if step in inner and self.trips(step) is None:  # what is left over of whole pieces, mostly
                return 0, 0, 0, count if full else -count
            bytes_of = [(n * moved(one), moved(one)) for one, n in code]
            return (sum(n * one.flops() for one, n in code), sum(moved for moved, each in bytes_of if each == WIDEST),
                    sum(moved for moved, _ in bytes_of), count if full else -count)

        best = {}

        def longest(step):  # (score, next step) from here to an end; None where none is reached
            if step in best:
                return best[step]
            best[step] = None  # a way back that is no loop's leads nowhere
            blocks = self.loops[step] if step in inner else [step]
            found = ((0, 0, 0, 0), None) if any(i in ends for i in blocks) else None
            for i in blocks:
                for goal in self.after[i]:
                    goal = owner.get(goal, goal)
                    if goal in body and goal != step and goal != first:
                        on = longest(goal)
                        if on and (found is None or on[0] > found[0]):
                            found = (on[0], goal)
            if found:
                own = score(step)
                best[step] = (tuple(a + b for a, b in zip(own, found[0])), found[1])
            return best[step]

        sys.setrecursionlimit(10000)
        if longest(first) is None:
            return [], []
        code, loops, step = [], [], first
        while step is not None:
            more, within = value(step)
            code, loops = code + more, loops + within
            step = best[step][1]
        return code, loops

    def place(self, head):
        return f"0x{self.blocks[head][0].address:x}"


def moved(one):
    """Bytes of a lane to or from shared or global memory."""
    known = SHARED_LOADS | SHARED_STORES | GLOBAL_LOADS | GLOBAL_STORES
    return one.width() if one.name in known else 0


# ---- sums ------------------------------------------------------------------------------------------------------------


def kind(name):
    kinds = (("tensor", TENSOR), ("mufu", MUFU), ("fp32", FP32), ("half", HALF), ("fp64", FP64), ("imad", IMAD),
             ("alu", ALU), ("shared_loads", SHARED_LOADS), ("shared_stores", SHARED_STORES), ("local", LOCAL),
             ("global_loads", GLOBAL_LOADS), ("global_stores", GLOBAL_STORES), ("shuffles", {"SHFL"}),
             ("barriers", BARRIERS), ("branches", BRANCHES))
    return next((kind for kind, names in kinds if name in names), "others")


def sums(code, warps):
    """Of one way that each warp of a block goes: counts of a warp, and clocks of a multiprocessor for the whole block,
    its operations, and the bytes that it loads from global memory and stores there."""
    counts = {}
    for one, n in code:
        name = "others" if one.predicate == "@!PT" else kind(one.name)
        counts[name] = counts.get(name, 0) + n
    flops = sum(n * one.flops() for one, n in code)
    path = 0.0  # clocks of the path to shared memory and first-level cache, of a warp
    loaded = stored = 0
    for one, n in code:
        if one.name == "SHFL":
            path += n
        elif moved(one):
            path += n * max(1.0, one.width() * WARP / SHARED_BYTES)
        loaded += n * one.width() * (one.name in GLOBAL_LOADS)
        stored += n * one.width() * (one.name in GLOBAL_STORES)
    each = {name: WARP * counts.get(name, 0) / rate for name, rate in RESULTS.items()}
    clocks = {
        "tensor": flops / (DENSE * MMA_SYNC),
        "mufu": each["mufu"],
        # One half of the lanes that multiply floats also multiplies integers.
        "fma": max(each["imad"], each["imad"] / 2 + each["fp32"] + each["half"]),
        "alu": each["alu"],
        "fp64": each["fp64"],
        "shared": path,
        "issue": sum(n for _, n in code) / SCHEDULERS,
    }
    clocks = {name: round(warps * value, 2) for name, value in clocks.items()}
    return counts, clocks, flops * warps, loaded * WARP * warps, stored * WARP * warps


def occupancy(takes):
    """Blocks that fit a multiprocessor, and what there is too little of for one more."""
    warps = -(-takes["threads"] // WARP)
    each = -(-takes["registers"] * WARP // REGISTER_UNIT) * REGISTER_UNIT
    shared = -(-takes["shared_bytes"] // SHARED_UNIT) * SHARED_UNIT + SHARED_OF_A_BLOCK
    limits = {"registers": REGISTERS // SCHEDULERS // max(each, 1) * SCHEDULERS // warps,
              "shared memory": SHARED // shared, "threads": THREADS // (warps * WARP), "blocks": BLOCKS}
    limit = min(limits, key=limits.get)
    return {"blocks": limits[limit], "warps": limits[limit] * warps, "limit": limit}


def bounds(kernel, instructions, takes, options):
    """Of the hot loop; or of every loop that holds no other."""
    code = Code(instructions, options.avoid)
    heads = [code.hot()]
    if options.times and heads[0] is not None:
        code.given = {head: 1 for head, body in code.loops.items() if heads[0] in body}
        code.given[heads[0]] = options.times
        heads = [None]
    if options.loops:
        heads = sorted(h for h, body in code.loops.items() if not any(other < body for other in code.loops.values()))
    return [bounds_of(kernel, code, head, takes) for head in heads]


def bounds_of(kernel, code, head, takes):
    warps, fits = -(-takes["threads"] // WARP), occupancy(takes)
    report = {"kernel": kernel, **takes, "per_multiprocessor": fits,
              "hot": "the whole kernel" if head is None else f"loop at {code.place(head)}"}
    for name, full in (("lean", False), ("full", True)):
        way, loops = code.way(head, full)
        counts, clocks, flops, loaded, stored = sums(way, warps)
        bound = max(clocks, key=clocks.get)
        most = max(clocks[bound], 1e-9)
        own = {"counts": counts, "loops": loops, "clocks": clocks, "bound": bound, "flops": flops,
               "bytes_loaded": loaded, "bytes_stored": stored}
        if flops:
            own["share_of_dense_peak"] = round(flops / most / DENSE, 4)
        else:
            # All bytes from and to memory: what the pipes leave of its bandwidth.
            rate = {chip: width / MULTIPROCESSORS / CLOCK for chip, width in BANDWIDTH.items()}
            share = {chip: min(1.0, (loaded + stored) / most / each) for chip, each in rate.items()}
            own["share_of_bandwidth"] = {chip: round(value, 4) for chip, value in share.items()}
            own["bytes_asked_for"] = loaded * fits["blocks"]
        report[name] = own
    return report


def told(report):
    fits = report["per_multiprocessor"]
    lines = [f"{report['kernel']}: {report['registers']} registers, {report['shared_bytes']} bytes of shared memory, "
             f"{report['threads']} threads; {fits['blocks']} blocks, {fits['warps']} warps a multiprocessor (bound by "
             f"{fits['limit']}); {report['hot']}"]
    for name in ("lean", "full"):
        own = report[name]
        counts = sorted(own["counts"].items(), key=lambda one: -one[1])
        counts = ", ".join(f"{kind} {count}" for kind, count in counts)
        clocks = sorted(own["clocks"].items(), key=lambda one: -one[1])
        clocks = ", ".join(f"{pipe} {value:.0f}" for pipe, value in clocks if value)
        lines.append(f"  {name}: {counts}")
        loops = [f"{loop['times'] or 'once or more:'} x {loop['instructions']}" for loop in own["loops"]]
        more = f"; loops within, times x instructions: {', '.join(loops)}" if loops else ""
        if "share_of_dense_peak" in own:
            share = f"at best {100 * own['share_of_dense_peak']:.0f} % of the dense peak"
        else:
            shares = own["share_of_bandwidth"].items()
            share = "at best " + ", ".join(f"{100 * one:.0f} % of the {chip}'s bandwidth" for chip, one in shares)
        lines.append(f"    clocks a block: {clocks}; bound by {own['bound']}, {share}{more}")
    return "\n".join(lines)


def from_program(options):
    cuobjdump, reports = tool("cuobjdump"), []
    with tempfile.TemporaryDirectory() as folder:
        folder, found = pathlib.Path(folder), 0
        for number, fatbin in enumerate(fatbins(options.program)):
            found += 1
            own = folder / str(number)
            own.mkdir()
            (own / "module.fatbin").write_bytes(fatbin)
            command = [cuobjdump, "-xelf", f"sm_{options.arch}", "module.fatbin"]
            done = subprocess.run(command, cwd=own, capture_output=True, text=True)
            for path in sorted(own.glob("*.cubin")):
                cubin = Cubin(path)
                wanted = [kernel for kernel in cubin.kernels if options.wants(kernel)]
                if not wanted:
                    continue
                functions = read(ran([cuobjdump, "-sass", str(path)]))
                for kernel in wanted:
                    reports += bounds(kernel, functions[kernel], cubin.takes(kernel), options)
            if done.returncode != 0 and not list(own.glob("*.cubin")) and "No " not in done.stdout + done.stderr:
                fail(f"cuobjdump: {(done.stderr or done.stdout).strip()}")
    if not found:
        fail(f"{options.program} holds no kernels; scripts/cuda-toolchain.sh brings the compiler, then build again")
    return reports


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help="names, or how they begin; all if none is given")
    parser.add_argument("--program", default=ROOT / "target/release/evoke")
    parser.add_argument("--arch", default="90a", help="of the machine code: 90a")
    parser.add_argument("--loops", action="store_true", help="every loop that holds no other, instead of the hot one")
    parser.add_argument("--times", type=int, metavar="N", help="the whole kernel, with its hot loop N times")
    parser.add_argument("--avoid", type=lambda text: [int(one, 16) for one in text.split(",")], default=[],
                        metavar="ADDRESS,...", help="leave out every way through the block that begins there")
    parser.add_argument("--listing", help="what cuobjdump -sass wrote, instead of a program")
    parser.add_argument("--threads", type=int, default=128, help="of a block, for --listing")
    parser.add_argument("--registers", type=int, default=128, help="of a thread, for --listing")
    parser.add_argument("--shared", type=int, default=0, help="bytes of a block, for --listing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.wants = lambda kernel: not options.kernels or kernel.startswith(tuple(options.kernels))
    if options.listing:
        takes = {"registers": options.registers, "shared_bytes": options.shared, "threads": options.threads}
        with open(options.listing) as file:
            functions = read(file.read())
        reports = [report for name, code in functions.items() if options.wants(name)
                   for report in bounds(name, code, takes, options)]
    else:
        reports = from_program(options)
    if not reports:
        fail(f"no kernel is called {' or '.join(options.kernels) or 'anything'} in machine code for sm_{options.arch}")
    if options.json:
        print(json.dumps({"arch": options.arch, "kernels": reports}, indent=2))
    else:
        print("\n".join(told(report) for report in reports))


main()
