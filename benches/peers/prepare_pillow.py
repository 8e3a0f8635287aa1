"""Times Pillow on what `evoke prepare coco` does to a picture: decode, RGB, upright, crop, resize to one size.

    python benches/peers/prepare_pillow.py ANNOTATIONS.json IMAGES [--size 224] [--processes 2] [--rounds 3]

Prints one JSON line a round. The crop is given to the resize as a box, so nothing outside it is filtered and no
intermediate picture is made: the fastest form that Pillow has. Processes, not threads, as data loaders use them;
they are started and have imported Pillow before the clock starts. Each hands its bytes to the parent, which writes
them to one file, as a prepared data set must be.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time

from PIL import Image, ImageOps


def make(task):
    path, size = task
    with Image.open(path) as picture:
        picture = ImageOps.exif_transpose(picture.convert("RGB"))
        width, height = picture.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return picture.resize((size, size), Image.Resampling.BICUBIC, box=box).tobytes()


def cpu_seconds():
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("annotations")
    parser.add_argument("images")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--processes", type=int, default=2, help="0: in this process")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    with open(args.annotations) as file:
        names = [picture["file_name"] for picture in json.load(file)["images"]]
    tasks = [(os.path.join(args.images, name), args.size) for name in names]
    for _ in range(args.rounds):
        before = cpu_seconds()
        pool = multiprocessing.Pool(args.processes) if args.processes else None
        if pool:
            pool.map(abs, range(args.processes))
        started = time.perf_counter()
        with tempfile.TemporaryFile() as out:
            made = pool.imap(make, tasks, chunksize=4) if pool else map(make, tasks)
            for pixels in made:
                out.write(pixels)
            out.flush()
            os.fsync(out.fileno())
        seconds = time.perf_counter() - started
        if pool:
            pool.close()
            pool.join()
        cpu = cpu_seconds() - before
        figures = {
            "processes": args.processes,
            "pictures": len(tasks),
            "seconds": round(seconds, 4),
            "pictures_per_second": round(len(tasks) / seconds, 1),
            "cpu_ms_per_picture": round(1000 * cpu / len(tasks), 3),
        }
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
