"""CTK's widgets for numbers: sliders, spin boxes, ranges."""

from PySide6 import QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from ..pythonqt import ctk
from .base import calls, forward, parentIn, prop, row, signals, widget

STEPS = 10000


@widget(ctk)
@signals(
    valueChanged=["valueChanged(double)"],
    decimalsChanged=["decimalsChanged(int)"],
    editingFinished=["editingFinished()"],
)
class ctkDoubleSpinBox(QtWidgets.QWidget):
    valueChanged = Signal(float)
    decimalsChanged = Signal(int)
    editingFinished = Signal()

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._spin = QtWidgets.QDoubleSpinBox()
        row(self, self._spin)
        self._spin.valueChanged.connect(self.valueChanged)
        self._spin.editingFinished.connect(self.editingFinished)

    value = forward(float, "_spin", "value")
    minimum = forward(float, "_spin", "minimum")
    maximum = forward(float, "_spin", "maximum")
    singleStep = forward(float, "_spin", "singleStep")
    suffix = forward(str, "_spin", "suffix")
    prefix = forward(str, "_spin", "prefix")
    readOnly = forward(bool, "_spin", "readOnly")
    frame = forward(bool, "_spin", "frame")
    alignment = forward(Qt.AlignmentFlag, "_spin", "alignment")

    def _putDecimals(self, value):
        if value != self._spin.decimals:
            self._spin.decimals = value
            self.decimalsChanged.emit(value)

    decimals = Property(int, lambda self: self._spin.decimals, _putDecimals)
    cleanText = Property(str, lambda self: self._spin.cleanText)

    def stepUp(self):
        self._spin.stepUp()

    def stepDown(self):
        self._spin.stepDown()


@widget(ctk)
@signals(
    valueChanged=["valueChanged(double)"],
    valueIsChanging=["valueIsChanging(double)"],
    decimalsChanged=["decimalsChanged(int)"],
)
class ctkSliderWidget(QtWidgets.QWidget):
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._slider = QtWidgets.QSlider(Qt.Orientation.Horizontal)
        self._slider.setRange(0, STEPS)
        self._spin = QtWidgets.QDoubleSpinBox()
        self._spin.setRange(0, 99)
        row(self, self._slider, self._spin)
        self._spin.valueChanged.connect(calls(self, "_changed"))
        self._slider.valueChanged.connect(calls(self, "_moved"))

    def _place(self):
        low, high = self._spin.minimum, self._spin.maximum
        self._slider.blockSignals(True)
        self._slider.value = round((self._spin.value - low) / ((high - low) or 1) * STEPS)
        self._slider.blockSignals(False)

    def _changed(self, value):
        self._place()
        self.valueChanged.emit(value)

    def _moved(self, step):
        low, high = self._spin.minimum, self._spin.maximum
        self._spin.value = low + (high - low) * step / STEPS
        self.valueIsChanging.emit(self._spin.value)

    def _limit(name):
        def put(self, value):
            setattr(self._spin, name, value)
            self._place()

        return Property(float, lambda self: getattr(self._spin, name), put)

    value = forward(float, "_spin", "value")
    minimum = _limit("minimum")
    maximum = _limit("maximum")
    singleStep = forward(float, "_spin", "singleStep")
    suffix = forward(str, "_spin", "suffix")
    prefix = forward(str, "_spin", "prefix")
    pageStep = prop(float, 10.0)
    tickInterval = prop(float, 0.0)
    tracking = prop(bool, True)
    popupSlider = prop(bool, False)
    spinBoxVisible = prop(bool, True, "_shown")
    spinBoxAlignment = prop(Qt.AlignmentFlag, Qt.AlignmentFlag.AlignRight)

    def _putDecimals(self, value):
        if value != self._spin.decimals:
            self._spin.decimals = value
            self.decimalsChanged.emit(value)

    decimals = Property(int, lambda self: self._spin.decimals, _putDecimals)

    def _shown(self):
        self._spin.setVisible(self.spinBoxVisible)

    def reset(self):
        self.value = 0.0


@widget(ctk)
@signals(
    valueChanged=["valueChanged(double)"],
    sliderMoved=["sliderMoved(double)"],
    sliderPressed=["sliderPressed()"],
    sliderReleased=["sliderReleased()"],
    rangeChanged=["rangeChanged(double,double)"],
)
class ctkDoubleSlider(QtWidgets.QWidget):
    valueChanged = Signal(float)
    sliderMoved = Signal(float)
    sliderPressed = Signal()
    sliderReleased = Signal()
    rangeChanged = Signal(float, float)

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._low, self._high, self._value = 0.0, 99.0, 0.0
        self._slider = QtWidgets.QSlider(Qt.Orientation.Horizontal)
        self._slider.setRange(0, STEPS)
        row(self, self._slider)
        self._slider.valueChanged.connect(calls(self, "_moved"))
        self._slider.sliderPressed.connect(self.sliderPressed)
        self._slider.sliderReleased.connect(self.sliderReleased)

    def _moved(self, step):
        self.value = self._low + (self._high - self._low) * step / STEPS
        self.sliderMoved.emit(self._value)

    def _put(self, value):
        value = min(max(value, self._low), self._high)
        if value != self._value:
            self._value = value
            self._slider.blockSignals(True)
            width = (self._high - self._low) or 1
            self._slider.value = round((value - self._low) / width * STEPS)
            self._slider.blockSignals(False)
            self.valueChanged.emit(value)

    def _limits(self, low, high):
        self._low, self._high = low, max(low, high)
        self.rangeChanged.emit(self._low, self._high)
        self._put(self._value)

    value = Property(float, lambda self: self._value, _put)
    minimum = Property(float, lambda s: s._low, lambda s, v: s._limits(v, s._high))
    maximum = Property(float, lambda s: s._high, lambda s, v: s._limits(s._low, v))
    singleStep = prop(float, 1.0)
    pageStep = prop(float, 10.0)
    tracking = prop(bool, True)
    orientation = forward(Qt.Orientation, "_slider", "orientation")


class _Range(QtWidgets.QWidget):
    """Two numbers within limits, the first not above the second."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    rangeChanged = Signal(float, float)

    def __init__(self, *args):
        super().__init__(parentIn(args))
        self._low, self._high = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox()
        self._high.value = 99
        row(self, self._low, self._high)
        self._low.valueChanged.connect(calls(self, "_lowChanged"))
        self._high.valueChanged.connect(calls(self, "_highChanged"))

    def _lowChanged(self, value):
        self.minimumValueChanged.emit(value)
        if value > self._high.value:
            self._high.value = value
        self.valuesChanged.emit(self._low.value, self._high.value)

    def _highChanged(self, value):
        self.maximumValueChanged.emit(value)
        if value < self._low.value:
            self._low.value = value
        self.valuesChanged.emit(self._low.value, self._high.value)

    minimumValue = forward(float, "_low", "value")
    maximumValue = forward(float, "_high", "value")
    minimum = Property(float, lambda s: s._low.minimum, lambda s, v: s.setRange(v, s._low.maximum))
    maximum = Property(float, lambda s: s._low.maximum, lambda s, v: s.setRange(s._low.minimum, v))
    singleStep = forward(float, "_low", "singleStep", ["_high"])
    tracking = prop(bool, True)
    symmetricMoves = prop(bool, False)

    def setRange(self, low, high):
        for spin in (self._low, self._high):
            spin.setRange(low, high)
        self.rangeChanged.emit(low, high)

    def setValues(self, low, high):
        self._low.value, self._high.value = low, high


_RANGE = {
    "valuesChanged": ["valuesChanged(double,double)"],
    "minimumValueChanged": ["minimumValueChanged(double)"],
    "maximumValueChanged": ["maximumValueChanged(double)"],
    "rangeChanged": ["rangeChanged(double,double)"],
}


@widget(ctk)
@signals(**_RANGE)
class ctkRangeWidget(_Range):
    decimals = forward(int, "_low", "decimals", ["_high"])
    suffix = forward(str, "_low", "suffix", ["_high"])
    prefix = forward(str, "_low", "prefix", ["_high"])
    autoSpinBoxWidth = prop(bool, True)

    def reset(self):
        self.setValues(self.minimum, self.maximum)


@widget(ctk)
@signals(**_RANGE)
class ctkDoubleRangeSlider(_Range):
    orientation = prop(Qt.Orientation, Qt.Orientation.Horizontal)
