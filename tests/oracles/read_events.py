"""Reads a folder of event files with TensorBoard's own reader and prints what it found as JSON.

Exits with 77 where the tensorboard package cannot be imported.
"""

import json
import sys

try:
    from tensorboard.backend.event_processing import event_accumulator
except ImportError as error:
    print(f"no tensorboard: {error}", file=sys.stderr)
    sys.exit(77)

events = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
found = {
    "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
    "images": {
        tag: [[e.step, e.height, e.width, e.encoded_image_string.hex()] for e in events.Images(tag)]
        for tag in tags["images"]
    },
    "texts": {},
}
for tag in tags["tensors"]:
    assert events.SummaryMetadata(tag).plugin_data.plugin_name == "text"
    found["texts"][tag] = [[e.step, e.tensor_proto.string_val[0].decode()] for e in events.Tensors(tag)]
json.dump(found, sys.stdout)
