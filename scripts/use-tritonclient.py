"""Uses tritonclient.http against a daemon that serves the models of the tests: `use-tritonclient.py HOST:PORT`. Ends with 0 when all is as it should be."""
import sys

import numpy
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

client = http.InferenceServerClient(sys.argv[1], concurrency=8)
done = 0


def expect(what, holds):
    global done
    if not holds:
        sys.exit(f"not so: {what}")
    done += 1


def refused(what, text, call):
    try:
        call()
    except InferenceServerException as error:
        expect(f"{what}: {error}", text in str(error))
    else:
        sys.exit(f"not refused: {what}")


def tensor(name, data, datatype, binary):
    made = http.InferInput(name, list(data.shape), datatype)
    made.set_data_from_numpy(data, binary_data=binary)
    return made


expect("live and ready", client.is_server_live() and client.is_server_ready())
expect("the model is ready", client.is_model_ready("add") and client.is_model_ready("add", "1"))
expect("another is not", not client.is_model_ready("none"))
expect("server metadata", "binary_tensor_data" in client.get_server_metadata()["extensions"])
metadata = client.get_model_metadata("pair")
expect("model metadata", [each["datatype"] for each in metadata["inputs"]] == ["INT64", "BYTES"])
expect("config", client.get_model_config("add")["input"][0]["data_type"] == "TYPE_FP32")
index = client.get_model_repository_index()
expect("the index", {each["name"] for each in index} >= {"add", "pair"} and all(each["state"] == "READY" for each in index))
client.load_model("add")
refused("unload", "as the config file says", lambda: client.unload_model("add"))

DATA = {
    "texts": ("BYTES", numpy.array(["", "é€😀".encode(), b"plain"], dtype=object)),
    "truth": ("BOOL", numpy.array([True, False, True])),
    "doubles": ("FP64", numpy.array([0.1, -1e300])),
    "longs": ("INT64", numpy.array([2**63 - 1, -(2**63)])),
    "ulongs": ("UINT64", numpy.array([2**64 - 1, 0], numpy.uint64)),
    "bytes": ("UINT8", numpy.array([255, 0], numpy.uint8)),
    "half": ("FP16", numpy.array([[1, numpy.inf]], numpy.float16)),
    "free": ("FP32", numpy.zeros((2, 0, 3), numpy.float32)),
    "scalar": ("INT32", numpy.array(7, numpy.int32)),
}
for model, (datatype, data) in DATA.items():
    for binary_in in (True, False):
        for binary_out in (True, False):
            if datatype == "FP16" and not (binary_in and binary_out):
                continue
            outputs = [http.InferRequestedOutput("y", binary_data=binary_out)]
            try:
                given = tensor("x", data, datatype, binary_in)
            except InferenceServerException as error:
                sys.exit(f"{model}: {error}")
            result = client.infer(model, [given], outputs=outputs, request_id=f"{model} 1")
            got = result.as_numpy("y")
            wanted = data
            if datatype == "BYTES":
                as_bytes = lambda items: [item if isinstance(item, bytes) else item.encode() for item in items.tolist()]
                expect(f"{model} {binary_in} {binary_out}", as_bytes(got) == as_bytes(wanted))
            else:
                same = got.shape == wanted.shape and numpy.array_equal(got, wanted)
                expect(f"{model} {binary_in} {binary_out}: {got}", same)
            response = result.get_response()
            expect("the id", response["id"] == f"{model} 1" and response["model_version"] == "1")

x = numpy.array([[1, 2], [3, 4]], numpy.float32)
wanted = x + numpy.array([10, 20], numpy.float32)
for request, response in ((None, None), ("gzip", "gzip"), ("deflate", "deflate")):
    result = client.infer("add", [tensor("x", x, "FP32", True)], request_compression_algorithm=request, response_compression_algorithm=response)
    expect(f"compressed {request}", numpy.array_equal(result.as_numpy("y"), wanted))
big = numpy.ones((4096, 2), numpy.float32)
result = client.infer("add", [tensor("x", big, "FP32", True)], response_compression_algorithm="gzip")
expect("a compressed answer", result.as_numpy("y").sum() == 4096 * 32)
result = client.infer("add", [tensor("x", x, "FP32", True)], model_version="1", priority=1, timeout=5_000_000, parameters={"mine": "a"}, headers={"x-request-id": "r"})
expect("parameters", numpy.array_equal(result.as_numpy("y"), wanted))
pair = [tensor("a", numpy.array([[0, 5]]), "INT64", False), tensor("b", numpy.array(["p"], dtype=object), "BYTES", True)]
result = client.infer("pair", pair)
expect("mixed inputs", result.as_numpy("a3").tolist() == [[False, True]] and result.as_numpy("b2").tolist() == [b"p"])

body, size = http.InferenceServerClient.generate_request_body([tensor("x", x, "FP32", True)])
expect("a body of its own", size is not None and len(body) > size)

asked = [client.async_infer("add", [tensor("x", numpy.full((1, 2), n, numpy.float32), "FP32", True)], request_id=str(n)) for n in range(64)]
for n, each in enumerate(asked):
    expect("asked at once", each.get_result().as_numpy("y").tolist() == [[n + 10, n + 20]])

refused("an unknown model", "not found", lambda: client.infer("none", [tensor("x", x, "FP32", True)]))
refused("an unknown version", "no version", lambda: client.get_model_metadata("add", "9"))
refused("another datatype", "expected FP32", lambda: client.infer("add", [tensor("x", x.astype(numpy.float64), "FP64", True)]))
refused("another name", "expected `inputs[0].name`", lambda: client.infer("add", [tensor("z", x, "FP32", True)]))
refused("too large", "at most", lambda: client.infer("add", [tensor("x", numpy.ones((200_000, 2), numpy.float32), "FP32", True)]))

stats = client.get_inference_statistics("add")["model_stats"][0]
expect("statistics", stats["inference_count"] > stats["execution_count"] > 60 and stats["inference_stats"]["fail"]["count"] == 2)
expect("all statistics", len(client.get_inference_statistics()["model_stats"]) > 5)
print(f"tritonclient: {done} checks passed")
