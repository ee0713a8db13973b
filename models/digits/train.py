"""Trains three small models of different kinds on scikit-learn's handwritten digits, and writes them as ONNX. See ORIGIN.md.

    python3 -m venv venv
    venv/bin/pip install scikit-learn==1.9.1 skl2onnx==1.20.0 onnx==1.23.2 numpy==2.4.6
    venv/bin/python models/digits/train.py models/digits

Each takes `pixels` [N, 64] float32, from 0 (paper) to 16 (ink), row by row, and gives `probability` [N, 10] float32. A fifth of the images is kept
from all three and written to held-out.csv: a digit, then its 64 pixels.
"""
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

SEED = 6
MODELS = {
    'linear': make_pipeline(MinMaxScaler(), LogisticRegression(solver='newton-cholesky', tol=1e-10)),
    'network': make_pipeline(StandardScaler(), MLPClassifier((24,), alpha=0.1, max_iter=600, random_state=SEED)),
    'forest': ExtraTreesClassifier(20, min_samples_leaf=4, max_depth=9, random_state=SEED),
}


def as_onnx(name, model):
    """One input, one output: what is not the probabilities goes."""
    converted = convert_sklearn(
        model,
        initial_types=[('pixels', FloatTensorType([None, 64]))],
        options={id(model): {'zipmap': False, 'output_class_labels': False}},
        target_opset={'': 17, 'ai.onnx.ml': 3},
    )
    kept = onnx.utils.Extractor(converted).extract_model(['pixels'], ['probabilities'])
    for node in kept.graph.node:
        node.output[:] = ['probability' if name == 'probabilities' else name for name in node.output]
    del kept.graph.output[:]
    kept.graph.output.append(helper.make_tensor_value_info('probability', onnx.TensorProto.FLOAT, ['rows', 10]))
    kept.graph.input[0].type.tensor_type.shape.dim[0].dim_param = 'rows'
    kept.graph.name = name
    kept.producer_name, kept.producer_version, kept.doc_string = 'models/digits/train.py', '', ''
    onnx.checker.check_model(kept)
    return kept


def main(folder):
    pixels, digits = load_digits(return_X_y=True)
    seen, held, seen_digits, held_digits = train_test_split(pixels, digits, test_size=0.2, stratify=digits, random_state=SEED)
    votes = 0
    for name, model in MODELS.items():
        model.fit(seen, seen_digits)
        if name == 'linear':  # the last digits hang on how the processor adds up
            model[-1].coef_, model[-1].intercept_ = model[-1].coef_.round(4), model[-1].intercept_.round(4)
        votes = votes + model.predict_proba(held)
        print(name, round(float(model.score(held, held_digits)), 4))
        onnx.save(as_onnx(name, model), folder / f'{name}.onnx')
    print('together', round(float(np.mean(votes.argmax(1) == held_digits)), 4), 'of', len(held))
    rows = [','.join(map(str, [digit, *image.astype(int)])) for digit, image in zip(held_digits, held)]
    (folder / 'held-out.csv').write_text('\n'.join(rows) + '\n')


if __name__ == '__main__':
    main(Path(sys.argv[1]))
