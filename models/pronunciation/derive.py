"""Makes pronunciation.onnx of the weights that the PyPI package g2p_en carries. See ORIGIN.md.

    python3 -m venv venv && venv/bin/pip install onnx==1.23.2 numpy==2.4.6
    venv/bin/python models/pronunciation/derive.py g2p_en-2.1.0-py3-none-any.whl models/pronunciation

    letters [N, L] int32  ->  sounds [N, S] int32, S up to 20

A row of letters is 3 to 28 for a to z, 1 for anything else, 2 for the end, and 0 behind it; a row of sounds is lines of sounds.txt counted from 0, and 0
behind its end. A recurrent network reads the letters of a word; another goes on from there and says one sound after the other, until it says the end.
"""
import io
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HIDDEN = 256
MOST_SOUNDS = 20
START, END = 2, 3
VOWELS = ['AA', 'AE', 'AH', 'AO', 'AW', 'AY', 'EH', 'ER', 'EY', 'IH', 'IY', 'OW', 'OY', 'UH', 'UW']
CONSONANTS = ['B', 'CH', 'D', 'DH', 'F', 'G', 'HH', 'JH', 'K', 'L', 'M', 'N', 'NG', 'P', 'R', 'S', 'SH', 'T', 'TH', 'V', 'W', 'Y', 'Z', 'ZH']
# As the network numbers them: ARPAbet in the order of the alphabet, vowels with each stress, and `UW` once without.
SOUNDS = ['<pad>', '<unk>', '<s>', '</s>', *sorted([*CONSONANTS, 'UW', *(vowel + stress for vowel in VOWELS for stress in '012')])]


def gates(weights):
    """From reset, update, new, one above the other, to ONNX's update, reset, new."""
    reset, update, new = np.split(weights, 3)
    return np.concatenate([update, reset, new])


def weights_of(package, name):
    """What a GRU takes, with the axis for directions in front."""
    w, r = gates(package[f'{name}_w_ih']), gates(package[f'{name}_w_hh'])
    b = np.concatenate([gates(package[f'{name}_b_ih']), gates(package[f'{name}_b_hh'])])
    return {f'{name}_w': w[None], f'{name}_r': r[None], f'{name}_b': b[None], f'{name}_table': package[f'{name}_emb']}


def gru(name, inputs, output):
    return helper.make_node('GRU', inputs, ['', output], hidden_size=HIDDEN, linear_before_reset=1, name=name)


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs, [output], **attributes)


def info(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def say_one():
    """One turn of the loop: the sound behind `said`, or 0 where the end has been said."""
    nodes = [
        node('Gather', ['dec_table', 'said'], 'heard'),
        node('Unsqueeze', ['heard', 'zero_axis'], 'heard_step'),
        gru('decoder', ['heard_step', 'dec_w', 'dec_r', 'dec_b', '', 'hidden'], 'hidden_next'),
        node('Squeeze', ['hidden_next', 'zero_axis'], 'hidden_rows'),
        node('Gemm', ['hidden_rows', 'fc_w', 'fc_b'], 'scores', transB=1),
        node('ArgMax', ['scores'], 'likeliest', axis=1, keepdims=0),
        node('Cast', ['likeliest'], 'likeliest_int32', to=TensorProto.INT32),
        node('Equal', ['likeliest_int32', 'end'], 'ends'),
        node('Or', ['over', 'ends'], 'over_next'),
        node('Where', ['over_next', 'nothing', 'likeliest_int32'], 'said_next'),
        node('Cast', ['over_next'], 'over_int32', to=TensorProto.INT32),
        node('ReduceMin', ['over_int32'], 'all_over_int32', keepdims=0),
        node('Cast', ['all_over_int32'], 'all_over', to=TensorProto.BOOL),
        node('Not', ['all_over'], 'goes_on'),
        node('Identity', ['said_next'], 'sound'),
    ]
    return helper.make_graph(
        nodes,
        'say one sound',
        [
            info('turn', TensorProto.INT64, []),
            info('going', TensorProto.BOOL, []),
            info('hidden', TensorProto.FLOAT, [1, None, HIDDEN]),
            info('said', TensorProto.INT32, [None]),
            info('over', TensorProto.BOOL, [None]),
        ],
        [
            info('goes_on', TensorProto.BOOL, []),
            info('hidden_next', TensorProto.FLOAT, [1, None, HIDDEN]),
            info('said_next', TensorProto.INT32, [None]),
            info('over_next', TensorProto.BOOL, [None]),
            info('sound', TensorProto.INT32, [None]),
        ],
    )


def model_of(package):
    weights = {**weights_of(package, 'enc'), **weights_of(package, 'dec'), 'fc_w': package['fc_w'], 'fc_b': package['fc_b']}
    constants = {
        'zero_axis': np.array([0], np.int64),
        'row_axis': np.array([1], np.int64),
        'nothing': np.array(0, np.int32),
        'start': np.array(START, np.int32),
        'end': np.array(END, np.int32),
        'most': np.array(MOST_SOUNDS, np.int64),
        'true': np.array(True),
    }
    halves = [numpy_helper.from_array(values.astype(np.float16), f'{name}_half') for name, values in weights.items()]
    nodes = [
        # Kept in 16 bits, run in 32.
        *(node('Cast', [f'{name}_half'], name, to=TensorProto.FLOAT) for name in weights),
        node('Gather', ['enc_table', 'letters'], 'read'),
        node('Transpose', ['read'], 'read_steps', perm=[1, 0, 2]),
        node('Equal', ['letters', 'nothing'], 'is_behind'),
        node('Not', ['is_behind'], 'is_letter'),
        node('Cast', ['is_letter'], 'letter_counts', to=TensorProto.INT32),
        node('ReduceSum', ['letter_counts', 'row_axis'], 'lengths', keepdims=0),
        gru('encoder', ['read_steps', 'enc_w', 'enc_r', 'enc_b', 'lengths'], 'known'),
        node('Mul', ['lengths', 'nothing'], 'zeros'),
        node('Add', ['zeros', 'start'], 'starts'),
        node('Cast', ['zeros'], 'none_over', to=TensorProto.BOOL),
        helper.make_node('Loop', ['most', 'true', 'known', 'starts', 'none_over'], ['hidden_last', 'said_last', 'over_last', 'sounds_steps'], body=say_one()),
        node('Transpose', ['sounds_steps'], 'sounds', perm=[1, 0]),
    ]
    graph = helper.make_graph(
        nodes,
        'pronunciation',
        [info('letters', TensorProto.INT32, ['words', 'letters'])],
        [info('sounds', TensorProto.INT32, ['words', 'sounds'])],
        [*halves, *(numpy_helper.from_array(values, name) for name, values in constants.items())],
    )
    opsets = [helper.make_opsetid('', 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name='g2p_en, changed by derive.py')
    onnx.checker.check_model(model)
    return model


def main(wheel, target):
    with ZipFile(wheel) as files:
        package = np.load(io.BytesIO(files.read('g2p_en/checkpoint20.npz')))
        onnx.save(model_of(package), target / 'pronunciation.onnx')
    assert len(SOUNDS) == len(package['fc_b'])
    (target / 'sounds.txt').write_text('\n'.join(SOUNDS) + '\n')


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]))
