"""Reads an event file as TensorBoard does: `{"folder", "file"}` on stdin, what it found as JSON on stdout."""
import json
import sys

from tensorboard.backend.event_processing import event_accumulator
from tensorboard.compat.proto import event_pb2
from tensorboard.compat.tensorflow_stub import errors
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

request = json.load(sys.stdin)
events = event_accumulator.EventAccumulator(request["folder"], size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
tags = events.Tags()

# Every record once more by itself, its checksums checked.
reader = PyRecordReader_New(request["file"])
kinds = []
while True:
    try:
        reader.GetNext()
    except errors.OutOfRangeError:
        break
    kinds.append(event_pb2.Event.FromString(reader.record()).WhichOneof("what"))

json.dump(
    {
        "kinds": kinds,
        "scalars": {tag: [[e.step, e.wall_time, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
        "texts": {
            tag: [[e.step, e.tensor_proto.string_val[0].decode()] for e in events.Tensors(tag)]
            for tag in tags["tensors"]
        },
        "plugins": {tag: events.SummaryMetadata(tag).plugin_data.plugin_name for tag in tags["tensors"]},
    },
    sys.stdout,
)
